"""The seam between clone and replication: where a clone's copy of the source ends.

The LSN is read before anything else. Then the server is proved to be a fresh clone, the LSN is
stored, and only then is anything changed. A clone that somebody wrote to gives an LSN that is too
high, and the rows between would be missing without any error (measured). That is noticed where the
source has not come so far yet, and where a heartbeat lies between: each check leaves one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors, sql

from bluegreen import names
from bluegreen.aws.cluster import Cluster
from bluegreen.errors import CloneAgain, Refused, Retry
from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE, TOOL_SCHEMA, Direction
from bluegreen.postgres import owned, queries, remedies, slots, subscriptions, wal
from bluegreen.postgres.connection import said
from bluegreen.postgres.queries import require_writer
from bluegreen.postgres.server import Server
from bluegreen.register import closing, fenced_roles, register
from bluegreen.register.fenced_roles import FenceSpec
from bluegreen.replication import counterparts, heartbeat, slot
from bluegreen.replication.subscription import dropping

log = logging.getLogger(__name__)

_TABLE = sql.Identifier(TOOL_SCHEMA, "clone_origin")
# to_regclass() fails where the role lacks USAGE on the schema.
_CRON = """
SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'cron' AND c.relname = 'job'
"""
_JOBS = "SELECT jobid::text FROM cron.job WHERE active ORDER BY jobid"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a clone starts to differ from its source."""

    resource_id: str
    """AWS's id of the clone; another cluster under the same name has another id."""
    lsn: Lsn
    finished: bool
    """Whether the clone was cleaned; it is never cleaned again, since its own data follows."""


@dataclass(frozen=True, slots=True)
class SourceSlot:
    """A slot that was made on the source before the clone."""

    database: str
    name: str


@dataclass(frozen=True, slots=True)
class SourceSide:
    """What the source shows of the seam, read when the clone exists."""

    now: Lsn
    slots: dict[str, Lsn]
    """Every forward slot's name with its consistent point."""
    subscriptions: list[str]
    """Enabled subscriptions: their copies on the clone would take rows meant for the source."""


def ensure(
    clone: Server,
    source: Server,
    *,
    databases: Sequence[str],
    deployment: str,
    slots: Sequence[SourceSlot],
    deadline: float,
    resource_id: str | None = None,
    fence_spec: FenceSpec | None = None,
) -> Origin:
    """Return the clone's origin; if that is new, read, check and store it, and clean the clone.

    Raises `Refused` when `clone` is no fresh clone of `source`, `CloneAgain` when a slot no longer
    fits it; then nothing was changed. `deadline` is in seconds of `time.monotonic()`.
    `resource_id` is AWS's id of the clone that the caller means, if known; `fence_spec` says which
    roles lose LOGIN there.
    """
    with clone.connect(TOOL_DATABASE) as conn, remedies.explained(conn, f"clone {clone}"):
        lsn = _read_volume_lsn(conn)  # nothing may come before this statement
        itself = clone.get_cluster()
        if resource_id is not None and itself.resource_id != resource_id:
            raise Refused(
                f"clone {clone}: is cluster {itself.resource_id}, expected {resource_id}; it was "
                "recreated meanwhile: refresh and try again"
            )
        stored = find(conn, itself.resource_id)
        if stored is not None and stored.finished:
            return stored
        require_this_cluster(itself, source.get_cluster())
        require_writer(conn, f"clone {clone}")
        found = stored.lsn if stored is not None else _required(lsn, clone)
        with source.connect(databases[0]) as there, clone.connect(databases[0]) as here:
            # A copy of the volume holds all that its source wrote before.
            skipped = heartbeat.skipped(there, here, found, since=Lsn(0))
            if skipped is None:
                # If the LSN is too high, the next check finds these missing. None is left
                # where it is known to be: later ones would hide it.
                heartbeat.leave_marker(there)
            require_no_gap(clone.cluster, found, inspect_source(there, source, slots))
            skipped = skipped or heartbeat.skipped(there, here, found, since=Lsn(0))
            if skipped is not None:
                raise CloneAgain(
                    f"clone {clone}: {skipped}; its LSN is too high, since it was written to: "
                    "clone again"
                )
        if stored is None:
            _require_unused(conn, clone, source)
            _store(conn, Origin(itself.resource_id, found, finished=False))
            log.info("clone %s: its copy of %s ends at %s", clone, source, found)
        _close(conn, clone, fence_spec or FenceSpec(), deadline=deadline)
        _clean(conn, clone, databases, deployment, deadline=deadline)
        done = Origin(itself.resource_id, found, finished=True)
        _store(conn, done)
    return done


def _read_volume_lsn(conn: psycopg.Connection[Any]) -> Lsn | None:
    try:
        row = conn.execute("SELECT pg_catalog.aurora_volume_logical_start_lsn()::text").fetchone()
    except errors.UndefinedFunction:
        return None
    return Lsn.parse(row[0]) if row and row[0] else None


def _required(lsn: Lsn | None, clone: Server) -> Lsn:
    if lsn is None:
        raise Refused(
            f"clone {clone}: has no aurora_volume_logical_start_lsn(); expected Aurora PostgreSQL "
            "of a version that has it, and a clone that was not upgraded before this"
        )
    return lsn


def find(conn: psycopg.Connection[Any], resource_id: str) -> Origin | None:
    """Return what is stored about the cluster `resource_id`; `conn` is to its tool database.

    A clone inherits its source's origin, which is of another cluster and so isn't found.
    """
    if not _table_exists(conn):
        return None
    row = conn.execute(
        sql.SQL("SELECT lsn::text, finished FROM {} WHERE resource_id = %s").format(_TABLE),
        (resource_id,),
    ).fetchone()
    return None if row is None else Origin(resource_id, Lsn.parse(row[0]), row[1])


def _table_exists(conn: psycopg.Connection[Any]) -> bool:
    return bool(
        queries.value(conn, "SELECT pg_catalog.to_regclass(%s) IS NOT NULL", _TABLE.as_string())
    )


def _store(conn: psycopg.Connection[Any], origin: Origin) -> None:
    with conn.transaction():
        conn.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(TOOL_SCHEMA)))
        conn.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (resource_id text PRIMARY KEY, lsn pg_lsn NOT NULL,"
                " finished boolean NOT NULL, stored_at timestamptz NOT NULL DEFAULT now())"
            ).format(_TABLE)
        )
        conn.execute(
            sql.SQL("DELETE FROM {} WHERE resource_id <> %s").format(_TABLE), (origin.resource_id,)
        )
        conn.execute(
            sql.SQL(
                "INSERT INTO {} (resource_id, lsn, finished) VALUES (%s, %s::pg_lsn, %s)"
                " ON CONFLICT (resource_id) DO UPDATE SET finished = excluded.finished"
            ).format(_TABLE),
            (origin.resource_id, str(origin.lsn), origin.finished),
        )


def require_this_cluster(clone: Cluster, source: Cluster) -> None:
    """Raise `Refused` unless AWS describes `clone` as another cluster, cloned from `source`."""
    if clone.resource_id == source.resource_id:
        raise Refused(
            f"clone {clone.identifier}: is the source itself ({source.resource_id}); expected "
            "another cluster, a clone of it"
        )
    if clone.clone_group_id is None or clone.clone_group_id != source.clone_group_id:
        raise Refused(
            f"clone {clone.identifier}: shares no volume with {source.identifier} (clone groups "
            f"{clone.clone_group_id} and {source.clone_group_id}); expected its copy-on-write clone"
        )
    if clone.created_at < source.created_at:
        raise Refused(
            f"clone {clone.identifier}: is older than {source.identifier}, so it is no clone of it"
        )


def inspect_source(
    conn: psycopg.Connection[Any], source: Server, made: Sequence[SourceSlot]
) -> SourceSide:
    """Return the source's side; raises `CloneAgain` when a slot is gone, `Refused` when in use."""
    positions = {}
    for earlier in made:
        have = slot.require_readable(conn, earlier.name, str(source))
        if have.active_pid is not None:
            raise Refused(
                f"slot {have.name} on {source}: already read by pid {have.active_pid} "
                f"({have.reader!r}); end that subscription first"
            )
        positions[have.name] = have.confirmed
    enabled = [one.name for one in subscriptions.inspect_all(conn) if one.enabled]
    wal.flush(conn)
    return SourceSide(wal.position(conn), positions, enabled)


def require_no_gap(clone: str, lsn: Lsn, source: SourceSide) -> None:
    """Raise unless every slot's consistent point <= `lsn` <= where the source is now."""
    if source.subscriptions:
        raise Refused(
            f"clone {clone}: its source has subscription {', '.join(source.subscriptions)}, whose "
            "copy starts on the clone by itself and takes the source's rows; disable it, make sure "
            "that the source misses none, and clone again"
        )
    for name, consistent in source.slots.items():
        if consistent > lsn:
            raise CloneAgain(
                f"clone {clone}: ends at {lsn}, before slot {name} begins at {consistent}; rows "
                "between would be missing: clone again, after the slot"
            )
    if lsn > source.now:
        raise Refused(
            f"clone {clone}: ends at {lsn}, later than its source is now ({source.now}); it was "
            "written to, or is no clone of it: clone again"
        )


def _require_unused(conn: psycopg.Connection[Any], clone: Server, source: Server) -> None:
    """Refuse a clone that was used: it has switches or subscriptions that the source lacks.

    Its LSN is past what it had of the source, and cleaning it would end a replication in use.
    """
    with source.connect(TOOL_DATABASE) as origin_conn:
        switches = _switch_records(conn) - _switch_records(origin_conn)
        own = _subscriptions(conn) - _subscriptions(origin_conn)
    if switches:
        raise Refused(
            f"clone {clone}: has {len(switches)} record(s) of switches that {source} lacks, so it "
            "was used since; expected a fresh clone: clone again"
        )
    if own:
        listed = ", ".join(f"{name} in {database}" for database, name in sorted(own))
        raise Refused(
            f"clone {clone}: has subscription {listed} that {source} lacks, so it was used since; "
            "expected a fresh clone: clone again"
        )


def _subscriptions(conn: psycopg.Connection[Any]) -> set[tuple[str, str]]:
    return {(one.database, one.name) for one in subscriptions.inspect_all(conn)}


def _switch_records(conn: psycopg.Connection[Any]) -> set[str]:
    tables = conn.execute(
        "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relname IN ('register', 'opening') AND c.relkind = 'r'"
    ).fetchall()
    records = set()
    for schema, table in tables:
        query = sql.SQL("SELECT pg_catalog.to_jsonb(t)::text FROM {} t")
        rows = conn.execute(query.format(sql.Identifier(schema, table))).fetchall()
        records |= {f"{table} {row}" for (row,) in rows}
    return records


def _close(
    conn: psycopg.Connection[Any], clone: Server, fence_spec: FenceSpec, *, deadline: float
) -> None:
    """Let nobody write there: a client that reaches the clone may say READ WRITE.

    The clone has been open since it was made, so all earlier sessions are ended.
    """
    closed = fence_spec.old_side == "closed"
    closing.close_all(conn, fenced_roles.closable(conn, clone, fence_spec) if closed else [])
    if not closing.end_earlier(conn, deadline=deadline):
        raise Retry(f"clone {clone}: sessions from before it was closed do not end")


def _clean(
    conn: psycopg.Connection[Any],
    clone: Server,
    databases: Sequence[str],
    deployment: str,
    *,
    deadline: float,
) -> None:
    """Remove what a closed clone inherited; each step may be repeated."""
    _drop_subscriptions(conn, clone, deadline=deadline)
    _drop_slots(conn, clone, deadline=deadline)
    _roll_back_prepared(conn, clone)
    _name_jobs(conn, clone)
    publications = [names.publication(deployment, direction) for direction in Direction]
    for database in databases:
        with clone.connect(database) as own:
            for name in publications:
                own.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))
            owned.forget_slots(own)
            counterparts.note_clone(own)
    register.clear(clone)


def _drop_subscriptions(conn: psycopg.Connection[Any], clone: Server, *, deadline: float) -> None:
    for database, name in sorted(_subscriptions(conn)):
        with clone.connect(database) as own:
            # Copy slots on the publisher belong to the source, which uses the same names.
            dropping.drop(own, name, deadline=deadline)
        log.info("clone %s: inherited subscription %s of %s dropped", clone, name, database)


def _drop_slots(conn: psycopg.Connection[Any], clone: Server, *, deadline: float) -> None:
    for have in slots.logical(conn):
        if not have.temporary:
            slot.drop(conn, have.name, where=str(clone), deadline=deadline)


def _roll_back_prepared(conn: psycopg.Connection[Any], clone: Server) -> None:
    """Roll back prepared transactions: replication brings their commits, and would wait for them.

    On the source they stay as they are.
    """
    found = conn.execute("SELECT database, gid FROM pg_catalog.pg_prepared_xacts").fetchall()
    for database, gid in found:
        with clone.connect(database) as own:
            own.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
        log.info("clone %s: inherited prepared transaction %s rolled back", clone, gid)


def _name_jobs(conn: psycopg.Connection[Any], clone: Server) -> None:
    """Log which jobs of pg_cron the clone has inherited: they are the source's and stay.

    They fail while the clone is closed and run once it is opened, when the source's fail.
    """
    found = conn.execute(
        "SELECT datname::text FROM pg_catalog.pg_database"
        " WHERE datallowconn AND datconnlimit <> -2 AND NOT datistemplate"
        "   AND datname <> 'rdsadmin' AND pg_catalog.has_database_privilege(oid, 'CONNECT')"
        " ORDER BY 1"
    ).fetchall()
    for (database,) in found:
        with clone.connect(database) as own:
            if own.execute(_CRON).fetchone() is None:
                continue
            try:
                jobs = own.execute(_JOBS).fetchall()
            except errors.InsufficientPrivilege as error:
                log.warning(
                    "clone %s: database %s has pg_cron, and its jobs can't be read: %s; they fail"
                    " while it is closed to writers, and run from the switch on",
                    clone,
                    database,
                    said(error),
                )
                continue
        if jobs:
            log.warning(
                "clone %s: database %s has active pg_cron job(s) %s; they fail while it is closed "
                "to writers, and run from the switch on",
                clone,
                database,
                ", ".join(job for (job,) in jobs),
            )
