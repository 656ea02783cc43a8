"""What prevents a major version upgrade, checked before AWS is asked for one.

AWS refuses most of these too, after a snapshot and some minutes, in a log file of the cluster.
Sources: the Aurora user guide's list of checks before a major version upgrade, and pg_upgrade.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace

from psycopg.rows import class_row

from bluegreen.errors import Refused
from bluegreen.postgres import slots, subscriptions, versions
from bluegreen.postgres.queries import column
from bluegreen.postgres.server import Server
from bluegreen.postgres.versions import Feature
from bluegreen.register import closing
from bluegreen.upgrade import obstacles_sql

log = logging.getLogger(__name__)

_SERVER = """
SELECT ARRAY(SELECT pg_catalog.format('%%s in %%s', gid, database)
               FROM pg_catalog.pg_prepared_xacts ORDER BY 1) AS prepared,
       ARRAY(SELECT datname::text FROM pg_catalog.pg_database
              WHERE datconnlimit = -2 ORDER BY 1) AS invalid_databases,
       ARRAY(SELECT DISTINCT pg_catalog.format('%%s in %%s', usename, datname)
               FROM pg_catalog.pg_stat_activity
              WHERE backend_type = 'client backend' AND usename <> ALL (%s)
                AND datname = ANY (%s) ORDER BY 1) AS sessions
"""


@dataclass(frozen=True, slots=True)
class _Row:
    prepared: list[str]
    invalid_databases: list[str]
    sessions: list[str]


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What was found on the server, by name."""

    cluster: str
    open_to_writers: bool
    prepared: tuple[str, ...] = ()
    invalid_databases: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    """Other roles that are connected to the served databases."""
    unconnectable_databases: tuple[str, ...] = ()
    open_template0: tuple[str, ...] = ()
    unstorable_columns: tuple[str, ...] = ()
    """Columns of any database whose type's stored form the upgrade can't keep."""
    looser_children: tuple[str, ...] = ()
    """Columns of children that take NULL where their parent doesn't, for a target from 18 on."""


def inspect(server: Server, databases: Collection[str], *, to_major: int) -> Obstacles:
    """Return what would prevent an upgrade of `server` to `to_major`, or be interrupted by it."""
    with server.connect("postgres") as conn:
        closed = closing.is_closed(conn, sorted(databases))
        me = conn.info.user
        with conn.cursor(row_factory=class_row(_Row)) as cursor:
            row = cursor.execute(_SERVER, ([me, "rdsadmin"], sorted(databases))).fetchone()
        assert row is not None  # a SELECT without FROM has one row
        sending = tuple(one.name for one in slots.logical(conn))
        applying = tuple(str(one) for one in subscriptions.inspect_all(conn))
        # One that is not there is refused here by the server's words: AWS would upgrade all the
        # same, and only what comes behind would notice.
        absent = column(conn, obstacles_sql.ABSENT, sorted(databases))
        every = conn.execute(obstacles_sql.EVERY_DATABASE).fetchall()
        unconnectable = column(conn, obstacles_sql.UNCONNECTABLE)
        open_template0 = column(conn, obstacles_sql.OPEN_TEMPLATE0)
    unstorable: list[str] = []
    looser: list[str] = []
    for database, may_connect in [*((name, True) for name in absent), *every]:
        if not may_connect and database not in databases:
            log.warning(
                "cluster %s: database %s is not checked for what stops an upgrade: GRANT "
                "CONNECT on it to the administrator",
                server.cluster,
                database,
            )
            continue
        with server.connect(database) as conn:
            unstorable += _in(database, column(conn, obstacles_sql.UNSTORABLE))
            inherits = versions.has(to_major, Feature.NOT_NULL_CONSTRAINTS)
            if inherits and not versions.supports(conn, Feature.NOT_NULL_CONSTRAINTS):
                looser += _in(database, column(conn, obstacles_sql.LOOSER_CHILDREN))
    return Obstacles(
        cluster=server.cluster,
        open_to_writers=not closed,
        prepared=tuple(row.prepared),
        invalid_databases=tuple(row.invalid_databases),
        slots=sending,
        subscriptions=applying,
        sessions=tuple(row.sessions),
        unconnectable_databases=tuple(unconnectable),
        open_template0=tuple(open_template0),
        unstorable_columns=tuple(unstorable),
        looser_children=tuple(looser),
    )


def _in(database: str, names: list[str]) -> list[str]:
    return [f"{name} in {database}" for name in names]


def problem(found: Obstacles) -> str | None:
    """Return the first obstacle to the major upgrade, None without one."""
    for names, what, remedy in (
        (
            found.sessions if found.open_to_writers else (),
            "serves clients",
            "a major upgrade in place would stop them for minutes: stand a deployment up with "
            "this stack as source instead",
        ),
        (
            found.subscriptions,
            "has subscriptions",
            "they don't survive a major upgrade: destroy this deployment and stand it up again "
            "with the new version",
        ),
        (found.slots, "has logical slots", "drop them with pg_drop_replication_slot"),
        (
            found.prepared,
            "has prepared transactions",
            "COMMIT PREPARED or ROLLBACK PREPARED each",
        ),
        (found.invalid_databases, "has invalid databases", "drop them"),
        (
            found.unconnectable_databases,
            "has databases that allow no connections",
            "ALTER DATABASE ... ALLOW_CONNECTIONS true, or drop them",
        ),
        (
            found.open_template0,
            "has a template that must allow no connections",
            "ALTER DATABASE template0 ALLOW_CONNECTIONS false",
        ),
        (
            found.unstorable_columns,
            "has columns whose stored form a major upgrade can't keep",
            "change their type to text or drop them",
        ),
        (
            found.looser_children,
            "has columns that take NULL though their parent's don't",
            "ALTER TABLE ... ALTER COLUMN ... SET NOT NULL on each",
        ),
    ):
        if names:
            return f"cluster {found.cluster}: {what} ({', '.join(names)}); {remedy}"
    return None


def require_none(server: Server, databases: Collection[str], *, to_major: int) -> None:
    """Raise `Refused` with the first obstacle to an upgrade to `to_major`."""
    found = problem(inspect(server, databases, to_major=to_major))
    if found:
        raise Refused(found)


def require_clone_upgradable(source: Server, databases: Collection[str], *, to_major: int) -> None:
    """Raise `Refused` for what a clone of `source` would inherit and its upgrade would refuse.

    A source serves clients and has slots; its clone is cleaned of those before its upgrade.
    """
    found = inspect(source, databases, to_major=to_major)
    inherited = replace(found, open_to_writers=False, slots=(), subscriptions=(), prepared=())
    if (why := problem(inherited)) is not None:
        raise Refused(f"{why}; found before the clone is made, whose upgrade would fail")
