"""Which tables a subscription takes rows for, kept equal to what its publications send."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
from psycopg import sql

from bluegreen.errors import Refused
from bluegreen.subscription_options import Wanted
from bluegreen.subscription_state import PublisherSide, Subscription, unpublished, unsubscribed

log = logging.getLogger(__name__)

_HERE = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = pg_catalog.to_regclass(%s)
"""


def refresh(
    conn: psycopg.Connection[Any], have: Subscription, side: PublisherSide, wanted: Wanted
) -> None:
    """Take in tables that were published since, and let go of those that no longer are.

    New ones must exist here, and be empty if they are to be copied: else `Refused` before anything
    is changed. A disabled subscription can't be refreshed; what is new waits until it is enabled.
    """
    new, old = unsubscribed(have, side), unpublished(have, side)
    if not new and not old:
        return
    for table in new:
        _refuse_unfit(conn, table, wanted)
    if not have.enabled:
        log.info("%s: disabled, so %d table(s) wait", wanted, len(new) + len(old))
        return
    conn.execute(
        sql.SQL("ALTER SUBSCRIPTION {} REFRESH PUBLICATION WITH (copy_data = {})").format(
            sql.Identifier(wanted.name),
            sql.SQL("true") if wanted.copy_new_tables else sql.SQL("false"),
        )
    )
    if new:
        how = "copied" if wanted.copy_new_tables else "not copied"
        log.info("%s: %s taken in, %s", wanted, ", ".join(new), how)
    if old:
        log.info("%s: %s let go", wanted, ", ".join(old))


def _refuse_unfit(conn: psycopg.Connection[Any], table: str, wanted: Wanted) -> None:
    row = conn.execute(_HERE, (table,)).fetchone()
    if row is None:
        raise Refused(
            f"{wanted}: table {table} is published but not here; create it on the subscriber, then "
            "try again"
        )
    if not wanted.copy_new_tables:
        return
    query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(row[0], row[1]))
    filled = conn.execute(query).fetchone()
    if filled is not None and filled[0]:
        raise Refused(
            f"{wanted}: table {table} was published later and has rows here, so it can't be "
            "copied; truncate it on the subscriber, or set copy_new_tables to false if it has all"
        )
