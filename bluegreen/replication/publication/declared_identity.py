"""Replica identities that a deployment declares: set while tables are published, undone later.

The tables' earlier identities are remembered on the server, in the comment of the tool's schema: it
survives an interrupted update, and a clone inherits it together with the identities themselves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg import errors

from bluegreen.errors import Refused, Retry
from bluegreen.postgres import open_transactions, owned
from bluegreen.postgres.table_names import TableName, shown, table_name
from bluegreen.replication.publication.replica_identity import (
    Identity,
    TableIdentity,
    resolve,
    statement,
)

log = logging.getLogger(__name__)

_LOCK_TIMEOUT_MS = 2000


def in_force(conn: psycopg.Connection[Any], declared: Mapping[str, str]) -> dict[str, str]:
    """Return `declared` as the server has it: a table or partition that differs shows its own."""
    found = {}
    for text, desired in declared.items():
        try:
            resolved = resolve(conn, {text: desired})
        except Refused:
            continue  # the table or its index is gone, and so is its declaration
        other = [table for table, identity in resolved.values() if table.identity != identity]
        found[text] = str(other[0].identity) if other else desired
    return found


def remembered(conn: psycopg.Connection[Any]) -> dict[TableName, Identity]:
    """Return what the tables had before `declare` changed them."""
    return _identities(owned.remembered(conn))


def _identities(memory: owned.Memory) -> dict[TableName, Identity]:
    try:
        entries = memory.get("replica_identity", {}).items()
        return {table_name(key): Identity.parse(text) for key, text in entries}
    except (ValueError, AttributeError):
        return {}  # somebody else's comment: it remembers nothing of ours


def _note(conn: psycopg.Connection[Any], table: TableName, before: Identity | None) -> None:
    """Remember what a table had, unless that is remembered already; None forgets it."""

    def change(memory: owned.Memory) -> owned.Memory:
        known = _identities(memory)
        if before is None:
            known.pop(table, None)
        else:
            known.setdefault(table, before)
        entries = {shown(one): str(identity) for one, identity in sorted(known.items())}
        return {"replica_identity": entries}

    owned.change_memory(conn, change)


def declare(
    conn: psycopg.Connection[Any],
    desired: Mapping[TableName, tuple[TableIdentity, Identity]],
    *,
    deadline: float,
) -> None:
    """Give each table its identity, in a transaction that also remembers the earlier one."""
    for key, (table, identity) in desired.items():
        if table.identity == identity:
            continue
        _alter(conn, key, identity, before=table.identity, deadline=deadline)
        log.info("table %s: replica identity %s, was %s", shown(key), identity, table.identity)


def undo(conn: psycopg.Connection[Any], tables: Iterable[TableName], *, deadline: float) -> None:
    """Give `tables` back the identities that they had before `declare`; leave others alone."""
    before = remembered(conn)
    for key in tables:
        if key not in before:
            continue
        _alter(conn, key, before[key], before=None, deadline=deadline)
        log.info("table %s: replica identity %s again", shown(key), before[key])


def _alter(
    conn: psycopg.Connection[Any],
    table: TableName,
    identity: Identity,
    *,
    before: Identity | None,
    deadline: float,
) -> None:
    """Alter one table; `before` is remembered, and None forgets what was remembered.

    The lock timeout is short: waiting for AccessExclusiveLock makes everybody else queue behind it.
    """
    while True:
        try:
            with conn.transaction():
                _note(conn, table, before)
                conn.execute(
                    "SELECT set_config('lock_timeout', %s, true)", (str(_LOCK_TIMEOUT_MS),)
                )
                conn.execute(statement(table, identity))
            return
        except (errors.UndefinedTable, errors.UndefinedObject):
            if before is not None:
                raise
            log.warning("table %s: gone or without its index, identity left", shown(table))
            _note(conn, table, None)
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            if time.monotonic() > deadline:
                who = open_transactions.words(open_transactions.inspect(conn, writing=False))
                raise Retry(
                    f"table {shown(table)}: no lock to set its replica identity: {who}; try again"
                ) from None
