"""What stops a major version upgrade, looked for before AWS is asked for one.

AWS refuses most of these too, after a snapshot and some minutes, in a log file of the cluster.
Sources: the Aurora user guide's list of checks before a major version upgrade, and pg_upgrade.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from psycopg.rows import class_row

from bluegreen import fence
from bluegreen.errors import Refused
from bluegreen.server import Server

_SERVER = """
SELECT ARRAY(SELECT pg_catalog.format('%%s in %%s', gid, database)
               FROM pg_catalog.pg_prepared_xacts ORDER BY 1) AS prepared,
       ARRAY(SELECT datname::text FROM pg_catalog.pg_database
              WHERE datconnlimit = -2 ORDER BY 1) AS invalid_databases,
       ARRAY(SELECT slot_name::text FROM pg_catalog.pg_replication_slots
              WHERE slot_type = 'logical' ORDER BY 1) AS slots,
       ARRAY(SELECT pg_catalog.format('%%s in %%s', subname, datname)
               FROM pg_catalog.pg_subscription
               JOIN pg_catalog.pg_database d ON d.oid = subdbid ORDER BY 1) AS subscriptions,
       ARRAY(SELECT DISTINCT pg_catalog.format('%%s in %%s', usename, datname)
               FROM pg_catalog.pg_stat_activity
              WHERE backend_type = 'client backend' AND usename <> ALL (%s)
                AND datname = ANY (%s) ORDER BY 1) AS sessions
"""

# Types that hold an object's number, which the upgrade changes; pg_upgrade allows the other three
# (regclass, regrole, regtype), since it keeps those numbers.
_NUMBERED = """
SELECT pg_catalog.format('%I.%I.%I (%s)', n.nspname, c.relname, a.attname, t.typname)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace AND tn.nspname = 'pg_catalog'
 WHERE t.typname IN ('regcollation', 'regconfig', 'regdictionary', 'regnamespace',
                     'regoper', 'regoperator', 'regproc', 'regprocedure')
   AND c.relkind IN ('r', 'm', 'i')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class _Row:
    prepared: list[str]
    invalid_databases: list[str]
    slots: list[str]
    subscriptions: list[str]
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
    """Roles of others connected to the databases that are served."""
    numbered_columns: tuple[str, ...] = ()


def look(server: Server, databases: Collection[str]) -> Obstacles:
    """Return what would stop a major upgrade of `server`, or what it would stop itself."""
    with server.connect("postgres") as conn:
        closed = fence.is_closed(conn, sorted(databases))
        me = conn.info.user
        with conn.cursor(row_factory=class_row(_Row)) as cursor:
            row = cursor.execute(_SERVER, ([me, "rdsadmin"], sorted(databases))).fetchone()
        assert row is not None  # a SELECT without FROM has one row
    columns: list[str] = []
    for database in sorted(databases):
        with server.connect(database) as conn:
            columns += [f"{name} in {database}" for (name,) in conn.execute(_NUMBERED).fetchall()]
    return Obstacles(
        cluster=server.cluster,
        open_to_writers=not closed,
        prepared=tuple(row.prepared),
        invalid_databases=tuple(row.invalid_databases),
        slots=tuple(row.slots),
        subscriptions=tuple(row.subscriptions),
        sessions=tuple(row.sessions),
        numbered_columns=tuple(columns),
    )


def reason(found: Obstacles) -> str | None:
    """Return why the major upgrade can't be, None when it can; the first obstacle only."""
    for names, what, mend in (
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
            found.numbered_columns,
            "has columns whose type holds object numbers",
            "change their type to text or drop them",
        ),
    ):
        if names:
            return f"cluster {found.cluster}: {what} ({', '.join(names)}); {mend}"
    return None


def require_none(server: Server, databases: Collection[str]) -> None:
    """Raise `Refused` with the first obstacle to a major upgrade."""
    found = reason(look(server, databases))
    if found:
        raise Refused(found)
