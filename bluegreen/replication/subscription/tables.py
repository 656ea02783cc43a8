"""Which tables a subscription takes rows for, kept equal to what its publications send."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from psycopg import sql

from bluegreen.errors import Refused
from bluegreen.postgres import owned
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.server import Server, secret_login
from bluegreen.postgres.table_names import TableName, shown
from bluegreen.replication import coverage
from bluegreen.replication.coverage import Coverage, names_of
from bluegreen.replication.subscription import copying_role
from bluegreen.replication.subscription.options import Wanted

log = logging.getLogger(__name__)

# A parent without ONLY has its children's rows; a partitioned table with ONLY has none.
_PARTITIONED = """
SELECT c.relkind = 'p' FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE (n.nspname, c.relname) = (%s, %s)
"""


_FILLED = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})")
_FILLED_TREE = sql.SQL("SELECT EXISTS (SELECT FROM {})")


def refresh(
    subscriber: Connection, publisher: Connection, source: Server, wanted: Wanted, *, enabled: bool
) -> None:
    """Take in tables that were published since, and let go of those that no longer are.

    New ones must exist here, and be empty and readable whole if they are to be copied: else
    `Refused` before anything is changed. A disabled subscription can't be refreshed; what is new
    waits until it is `enabled`.
    """
    found = coverage.inspect(publisher, subscriber, wanted.publications, wanted.name)
    require_none_put_back(wanted, found.put_back)
    if not found.outdated:
        return
    for table in found.missing:
        raise Refused(
            f"{wanted}: table {shown(table)} is published but not here; create it on the"
            " subscriber, then try again"
        )
    new = found.unsubscribed
    if wanted.copy_new_tables and new:
        _require_empty(subscriber, wanted, new)
        role, _ = secret_login(source.credentials.replication_secret_arn, source.region)
        copying_role.require_readable(publisher, str(wanted), role, new)
    if not enabled:
        log.info("%s: disabled, so %d table(s) wait", wanted, len(new) + len(found.withdrawn))
        return
    # Before: interrupted in between, they are new all the same, and copied by the next one.
    owned.forget_added(publisher, wanted.publications, new)
    subscriber.execute(
        sql.SQL("ALTER SUBSCRIPTION {} REFRESH PUBLICATION WITH (copy_data = {})").format(
            sql.Identifier(wanted.name),
            sql.SQL("true") if wanted.copy_new_tables else sql.SQL("false"),
        )
    )
    _tell(wanted, found)


def require_none_put_back(wanted: Wanted, tables: Collection[TableName]) -> None:
    """Raise `Refused` for tables that would count as whole, and lack what was written before."""
    if tables:
        raise Refused(
            f"{wanted}: {', '.join(map(shown, sorted(tables)))} put into the publication while its"
            f" slot was there already; {coverage.COPY_AGAIN}"
        )


def _tell(wanted: Wanted, found: Coverage) -> None:
    if found.unsubscribed:
        how = "copied" if wanted.copy_new_tables else "not copied"
        log.info("%s: %s taken in, %s", wanted, ", ".join(names_of(found.unsubscribed)), how)
    if found.withdrawn:
        log.info("%s: %s let go", wanted, ", ".join(names_of(found.withdrawn)))


def _require_empty(conn: Connection, wanted: Wanted, tables: Sequence[TableName]) -> None:
    for table in tables:
        partitioned = conn.execute(_PARTITIONED, table).fetchone() == (True,)
        query = _FILLED_TREE if partitioned else _FILLED
        if conn.execute(query.format(sql.Identifier(*table))).fetchone() == (True,):
            raise Refused(
                f"{wanted}: table {shown(table)} was published later and has rows here, so it can't"
                " be copied; truncate it on the subscriber, or set copy_new_tables to false if it"
                " has all"
            )
