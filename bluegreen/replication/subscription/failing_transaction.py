"""Which transaction a stopped subscription can't apply, read from the slot it waits behind.

The reason itself is in the subscriber's log only, which Aurora shows outside of SQL. But the next
transaction in the slot is the one that failed, so it is known where it finishes (the LSN that the
log names, and that `ALTER SUBSCRIPTION ... SKIP` takes) and which tables it writes. No row is ever
decoded into text.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from bluegreen.lsn import Lsn

# A large transaction is decoded as a whole: no answer is better than a late one.
_LIMIT_MS = 3000

# Asked for one change, the server stops after the first transaction that is not empty. Transactions
# that were applied already come first, since the slot's confirmed position is late.
_PEEK = """
SELECT CASE WHEN pg_catalog.substr(c.data, 1, 1) IN ('B', 'R') THEN c.data
            ELSE pg_catalog.substr(c.data, 1, 5) END
  FROM pg_catalog.pg_logical_slot_peek_binary_changes(
    %s, NULL, %s, 'proto_version', '1', 'publication_names', %s) c
 WHERE pg_catalog.substr(c.data, 1, 1) IN ('B', 'R', 'I', 'U', 'D')
"""
# Names may hold any bytes there, which the server could not turn into UTF-8.
_AS_IT_IS = """
SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', true)
 WHERE pg_catalog.current_setting('server_encoding') = 'SQL_ASCII'
"""
_MOST_CHANGES = 10_000


@dataclass(frozen=True, slots=True)
class FailingTransaction:
    """The first transaction after a subscription's position."""

    xid: int
    finished_at: Lsn
    """The LSN that the server's log calls `finished at`."""
    tables: tuple[str, ...]

    def __str__(self) -> str:
        tables = ", ".join(self.tables) or "no table"
        return f"transaction {self.xid}, finished at {self.finished_at}, which writes {tables}"


def find(
    publisher: psycopg.Connection[Any],
    slot: str,
    publications: Sequence[str],
    position: Lsn | None,
) -> FailingTransaction | None:
    """Return the next transaction in `slot` after `position`; None when it isn't known now.

    Without a position it isn't: what was applied already may be the first in the slot.

    The slot is only peeked at, which isn't possible while a worker reads it.
    """
    if position is None:
        return None
    names = ",".join('"' + name.replace('"', '""') + '"' for name in publications)
    try:
        with publisher.transaction():
            publisher.execute(
                "SELECT pg_catalog.set_config('statement_timeout', %s, true)", (str(_LIMIT_MS),)
            )
            publisher.execute(_AS_IT_IS)
            rows = publisher.execute(_PEEK, (slot, _MOST_CHANGES, names)).fetchall()
    except (
        errors.ObjectInUse,
        errors.QueryCanceled,
        errors.UndefinedObject,
        errors.ObjectNotInPrerequisiteState,
        errors.InsufficientPrivilege,
    ):
        return None
    return first_after(position, (bytes(data) for (data,) in rows))


def first_after(position: Lsn, messages: Iterable[bytes]) -> FailingTransaction | None:
    """Return the first transaction of pgoutput's `messages` that is not applied at `position`.

    `B` is a begin: finish LSN, time, xid. `R` gives a table's number and name, once for all
    transactions; `I`, `U` and `D`, an insert, update and delete, begin with the table's number.
    """
    found: tuple[int, Lsn] | None = None
    names: dict[bytes, str] = {}
    written: dict[str, None] = {}
    for message in messages:
        if message[:1] == b"B":
            if found is not None:
                break
            finish, _time, xid = struct.unpack_from("!QqI", message, 1)
            if finish >= position:
                found = (xid, Lsn(finish))
        elif message[:1] == b"R":
            # In the session's encoding, UTF-8; only SQL_ASCII sends whatever bytes it was given.
            schema, table = (
                part.decode(errors="backslashreplace") for part in message[5:].split(b"\0")[:2]
            )
            names[message[1:5]] = f"{schema or 'pg_catalog'}.{table}"
        elif found is not None:
            written[names[message[1:5]]] = None
    return None if found is None else FailingTransaction(found[0], found[1], tuple(written))
