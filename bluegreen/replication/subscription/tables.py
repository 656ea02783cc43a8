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
from bluegreen.replication.subscription.options import SubscriptionSpec

log = logging.getLogger(__name__)

# Without ONLY a parent shows its children's rows; with ONLY a partitioned table shows none.
_PARTITIONED = """
SELECT c.relkind = 'p' FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE (n.nspname, c.relname) = (%s, %s)
"""


_FILLED = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})")
_FILLED_TREE = sql.SQL("SELECT EXISTS (SELECT FROM {})")


def refresh(
    subscriber: Connection,
    publisher: Connection,
    source: Server,
    desired: SubscriptionSpec,
    *,
    enabled: bool,
) -> None:
    """Add tables that were published since, and remove those that no longer are.

    New ones must exist here, and be empty and fully readable if they are to be copied; otherwise
    this raises `Refused` before anything is changed. A disabled subscription can't be refreshed;
    new tables wait until it is `enabled`.
    """
    found = coverage.inspect(publisher, subscriber, desired.publications, desired.name)
    require_none_put_back(desired, found.put_back)
    if not found.outdated:
        return
    for table in found.missing:
        raise Refused(
            f"{desired}: table {shown(table)} is published but not here; create it on the"
            " subscriber, then try again"
        )
    new = found.unsubscribed
    if desired.copy_new_tables and new:
        _require_empty(subscriber, desired, new)
        role, _ = secret_login(source.credentials.replication_secret_arn, source.region)
        copying_role.require_readable(publisher, str(desired), role, new)
    if not enabled:
        log.info("%s: disabled, so %d table(s) wait", desired, len(new) + len(found.withdrawn))
        return
    # Before: interrupted in between, they are new all the same, and copied by the next one.
    owned.forget_added(publisher, desired.publications, new)
    subscriber.execute(
        sql.SQL("ALTER SUBSCRIPTION {} REFRESH PUBLICATION WITH (copy_data = {})").format(
            sql.Identifier(desired.name),
            sql.SQL("true") if desired.copy_new_tables else sql.SQL("false"),
        )
    )
    _report(desired, found)


def require_none_put_back(desired: SubscriptionSpec, tables: Collection[TableName]) -> None:
    """Raise `Refused` for tables that would count as whole, and lack what was written before."""
    if tables:
        raise Refused(
            f"{desired}: {', '.join(map(shown, sorted(tables)))} put into the publication while its"
            f" slot was there already; {coverage.COPY_AGAIN}"
        )


def _report(desired: SubscriptionSpec, found: Coverage) -> None:
    if found.unsubscribed:
        how = "copied" if desired.copy_new_tables else "not copied"
        log.info("%s: %s taken in, %s", desired, ", ".join(names_of(found.unsubscribed)), how)
    if found.withdrawn:
        log.info("%s: %s let go", desired, ", ".join(names_of(found.withdrawn)))


def _require_empty(
    conn: Connection, desired: SubscriptionSpec, tables: Sequence[TableName]
) -> None:
    for table in tables:
        partitioned = conn.execute(_PARTITIONED, table).fetchone() == (True,)
        query = _FILLED_TREE if partitioned else _FILLED
        if conn.execute(query.format(sql.Identifier(*table))).fetchone() == (True,):
            raise Refused(
                f"{desired}: table {shown(table)} was published later and has rows here, so it"
                " can't be copied; truncate it on the subscriber, or set copy_new_tables to false"
                " if it has all"
            )
