"""Publishing: publications made, altered and dropped on a server.

A publication is altered in place or not at all. If it were dropped and recreated while a slot still
has to decode, 16 would fail for ever and 18 would skip the rows between without an error (measured
on 16.14 and 18.4).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import errors, sql

from bluegreen.errors import CloneAgain, Refused, Retry
from bluegreen.names import TOOL_SCHEMA
from bluegreen.postgres import open_transactions, owned, publications, remedies, slots, versions
from bluegreen.postgres.publications import Publication
from bluegreen.postgres.table_names import TableName
from bluegreen.postgres.versions import Feature
from bluegreen.replication import heartbeat
from bluegreen.replication.publication import declared_identity, replica_identity
from bluegreen.replication.publication.definition import begun, difference, statements
from bluegreen.replication.publication.replica_identity import Identity, TableIdentity

T = TypeVar("T")
log = logging.getLogger(__name__)

_LOCK_TIMEOUT_MS = 2000
_KIND = "PUBLICATION"

# What reads a publication stands in the sender's own command.
_COMMANDS = """
SELECT pid, query FROM pg_catalog.pg_stat_activity WHERE starts_with(query, 'START_REPLICATION')
"""


def ensure(
    conn: psycopg.Connection[Any],
    desired: Publication,
    identities: Mapping[str, str],
    *,
    alter: bool,
    deadline: float,
) -> Publication:
    """Make the server's publication equal to `desired`, in place; return it as the server has it.

    `identities` declares tables' replica identities, `{"schema.table": "full" | "index NAME"}`;
    without `alter` an existing one is taken over only when it is equal. `deadline` is in seconds of
    `time.monotonic()`. Raises `Refused`, with nothing changed, where writes would break or another
    one has the name, `CloneAgain` when it is gone while a slot reads it, `Retry` for held locks.
    """
    with remedies.explained(conn, f"publication {desired.name!r}"):
        _require_features(conn, desired)
        have = publications.inspect(conn, desired.name)
        _require_there(conn, have, desired)
        if not alter:
            owned.require_marked(conn, _KIND, desired.name)
        if have is not None and not alter and have.all_tables != desired.all_tables:
            raise Refused(_other(have, desired))
        declared = replica_identity.resolve(conn, identities)
        rehearsed = _patiently(
            conn, desired.name, deadline, lambda: _rehearse(conn, desired, declared)
        )
        planned, have = rehearsed.planned, rehearsed.have
        if have is not None and not alter and have != planned:
            raise Refused(_other(have, planned))
        replica_identity.require_none(desired.name, rehearsed.problems)
        reading = readers(conn, desired.name)
        if have is not None and reading:
            _require_nothing_begun(have, planned, reading)
        heartbeat.ensure(conn)
        declared_identity.declare(conn, declared, deadline=deadline)
        if have is not None and not owned.is_marked(conn, _KIND, desired.name):
            owned.mark(
                conn, _KIND, desired.name
            )  # made by a version before marks: the state knows it
        if have != planned:
            count = _patiently(conn, desired.name, deadline, lambda: _apply(conn, desired, reading))
            log.info("publication %s: %d statement(s) committed", desired.name, count)
        stale = declared_identity.remembered(conn).keys() - declared.keys()
        declared_identity.undo(conn, stale, deadline=deadline)
    return planned


def _require_there(
    conn: psycopg.Connection[Any], have: Publication | None, desired: Publication
) -> None:
    if have is None and (reading := readers(conn, desired.name)):
        raise CloneAgain(
            f"publication {desired.name!r}: gone while slot {', '.join(reading)} reads it; "
            "recreated, the rows in between would be lost without an error; clone again"
        )


def _require_nothing_begun(have: Publication, planned: Publication, reading: Sequence[str]) -> None:
    """Raise `Refused` for what would be whole from now on, and lack what was left out before."""
    found = begun(have, planned)
    if found:
        raise Refused(
            f"publication {have.name!r}: would begin to send {', '.join(found)} while slot"
            f" {', '.join(reading)} reads it; what it has left out so far would be missing on the"
            " other side without an error: take the table out, pulumi up, TRUNCATE it there, and"
            " put it in again (it is copied); for operations, destroy the deployment and stand it"
            " up anew"
        )


def _other(have: Publication, desired: Publication) -> str:
    return (
        f"publication {desired.name!r}: exists and differs: {difference(have, desired)}; drop it "
        "by hand if nothing reads it, or declare what it has"
    )


def require_publishable(
    conn: psycopg.Connection[Any],
    desired: Publication,
    identities: Mapping[str, str],
    *,
    deadline: float,
) -> list[TableName]:
    """Raise what `ensure` would refuse, and change nothing; return the tables it would send."""
    with remedies.explained(conn, f"publication {desired.name!r}"):
        _require_features(conn, desired)
        owned.require_marked(conn, _KIND, desired.name)
        declared = replica_identity.resolve(conn, identities)
        rehearsed = _patiently(
            conn, desired.name, deadline, lambda: _rehearse(conn, desired, declared)
        )
        replica_identity.require_none(desired.name, rehearsed.problems)
    return rehearsed.sent


def drop(conn: psycopg.Connection[Any], name: str, *, deadline: float) -> None:
    """Drop the publication with heartbeat and declared identities; a missing one is fine.

    Raises `Refused` while a slot reads it, and where somebody else made it, or something that
    depends on the heartbeats.
    """
    owned.require_marked(conn, _KIND, name)
    if reading := readers(conn, name):
        raise Refused(
            f"publication {name!r}: slot {', '.join(reading)} still reads it; drop the slot first"
        )
    statement = sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name))
    with remedies.explained(conn, f"publication {name!r}"):
        _patiently(conn, name, deadline, lambda: _rehearse_drop(conn, statement))
        _patiently(conn, name, deadline, lambda: conn.execute(statement))
        if not _heartbeat_elsewhere(conn):
            declared_identity.undo(conn, declared_identity.remembered(conn), deadline=deadline)
            heartbeat.drop(conn)
    log.info("publication %s: dropped", name)


def _rehearse_drop(conn: psycopg.Connection[Any], statement: sql.Composed) -> None:
    """Raise what prevents dropping everything, before anything is dropped."""
    with conn.transaction(force_rollback=True):
        _limit_lock_wait(conn)
        conn.execute(statement)
        if not _heartbeat_elsewhere(conn):
            heartbeat.drop(conn)


def readers(conn: psycopg.Connection[Any], name: str) -> list[str]:
    """Return the slots of this database that read publication `name`, or will.

    A slot that nobody reads now is recognised by its name only.
    """
    quoted = sql.Identifier(name).as_string()
    commands: dict[int | None, str] = dict(conn.execute(_COMMANDS).fetchall())
    return [
        slot.name
        for slot in slots.logical(conn)
        if slot.database == conn.info.dbname
        and slot.plugin == slots.PLUGIN
        and (slot.name.startswith(f"{name}_") or quoted in commands.get(slot.active_pid, ""))
    ]


def _require_features(conn: psycopg.Connection[Any], desired: Publication) -> None:
    what, major = f"publication {desired.name!r}", versions.major(conn)
    if desired.schemas:
        versions.require(major, Feature.SCHEMA_PUBLICATION, what)
    if any(one.where is not None for one in desired.tables):
        versions.require(major, Feature.ROW_FILTER, what)
    if any(one.columns is not None for one in desired.tables):
        versions.require(major, Feature.COLUMN_LIST, what)


@dataclass(frozen=True, slots=True)
class _Rehearsed:
    planned: Publication
    have: Publication | None
    problems: dict[TableName, str]
    """Tables whose writes would break, each with the reason."""
    sent: list[TableName]
    """What it would send."""


def _rehearse(
    conn: psycopg.Connection[Any],
    desired: Publication,
    declared: Mapping[TableName, tuple[TableIdentity, Identity]],
) -> _Rehearsed:
    """Return what the server would make of `desired`.

    This happens in a transaction that is rolled back, so nobody else sees it: only the server knows
    which tables a scope means, partitions and inheritance included, and how it spells a filter.
    """
    with conn.transaction(force_rollback=True):
        _limit_lock_wait(conn)
        heartbeat.ensure(conn)
        have = publications.inspect(conn, desired.name)
        for statement in statements(have, desired):
            _execute(conn, statement)
        planned = publications.inspect(conn, desired.name)
        assert planned is not None
        tables = replica_identity.published(conn, desired.name)
        sent = list(publications.sent_tables(conn, [desired.name]))
        restored = declared_identity.remembered(conn)
    problems = {}
    for table in tables:
        identity = table.identity
        if table.key in declared:
            identity = declared[table.key][1]
        elif table.key in restored:
            identity = restored[table.key]
        if (why := replica_identity.problem(table, identity)) is not None:
            problems[table.key] = why
    return _Rehearsed(planned, have, problems, sent)


def _apply(conn: psycopg.Connection[Any], desired: Publication, reading: Sequence[str]) -> int:
    """Make it so; what a slot's reader has to take in is noted in the same transaction."""
    with conn.transaction():
        _limit_lock_wait(conn)
        have = publications.inspect(conn, desired.name)
        sent = set(publications.sent_tables(conn, [desired.name]))
        todo = statements(have, desired)
        for statement in todo:
            _execute(conn, statement)
        if have is None:
            owned.mark(conn, _KIND, desired.name)
        elif reading:
            later = set(publications.sent_tables(conn, [desired.name])) - sent
            owned.note_added(conn, desired.name, later)
    return len(todo)


def _execute(conn: psycopg.Connection[Any], statement: sql.Composed) -> None:
    try:
        # The extended protocol takes one statement: a filter can't smuggle in another.
        conn.execute(statement, binary=True)
    except (
        errors.UndefinedTable,
        errors.UndefinedColumn,
        errors.InvalidSchemaName,
        errors.SyntaxError,
        errors.FeatureNotSupported,
        errors.InvalidParameterValue,
        errors.InvalidObjectDefinition,
        errors.InvalidColumnReference,
        errors.DatatypeMismatch,
        errors.UndefinedFunction,
        errors.DuplicateObject,
    ) as error:
        detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
        raise Refused(
            f"publication: the server refuses it: {error.diag.message_primary}{detail}; "
            "nothing was changed; fix its scope"
        ) from None


def _limit_lock_wait(conn: psycopg.Connection[Any]) -> None:
    conn.execute("SELECT set_config('lock_timeout', %s, true)", (str(_LOCK_TIMEOUT_MS),))


def _patiently(
    conn: psycopg.Connection[Any], name: str, deadline: float, act: Callable[[], T]
) -> T:
    """Return `act()`, repeated while somebody else's lock is in the way."""
    while True:
        try:
            return act()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            who = open_transactions.words(open_transactions.inspect(conn, writing=False))
            if time.monotonic() > deadline:
                raise Retry(
                    f"publication {name!r}: no lock on its tables: {who}; try again"
                ) from None
            log.info("publication %s: waiting for a lock on its tables: %s", name, who)


def _heartbeat_elsewhere(conn: psycopg.Connection[Any]) -> bool:
    """Return whether another publication of the tool still sends the heartbeat."""
    senders = publications.sending(conn, (TOOL_SCHEMA, "heartbeat"))
    return any(name.startswith("bg_") for name in senders)
