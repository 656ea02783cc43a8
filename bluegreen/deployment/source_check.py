"""Can a cluster be cloned, and replicated from? It is inspected once, then decided."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from psycopg import sql
from psycopg.rows import class_row

from bluegreen import names
from bluegreen.errors import Refused
from bluegreen.names import TOOL_DATABASE, Direction
from bluegreen.postgres import capacity, slot_limits, slots, subscriptions, versions
from bluegreen.postgres.capacity import Capacity
from bluegreen.postgres.server import Role, Server, secret_login
from bluegreen.postgres.slot_limits import SlotLimits
from bluegreen.postgres.versions import Feature
from bluegreen.register import alterable, closing
from bluegreen.register.alterable import DeniedDatabase
from bluegreen.replication import session_timeouts

log = logging.getLogger(__name__)

# Databases of the service and of the tool; they hold no user's data.
_NOT_THE_USERS = frozenset({TOOL_DATABASE, "postgres", "rdsadmin"})

_SERVER = """
SELECT pg_catalog.current_setting('wal_level') AS wal_level,
       ARRAY(SELECT datname::text FROM pg_catalog.pg_database
              WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2
              ORDER BY 1) AS databases
"""

# Nobody reads the forward slot while the clone is made and upgraded, and it keeps all WAL that is
# written meanwhile: about an hour, for some clusters several.
_LEAST_KEPT_MB = 1024
_LEAST_IDLE_SECONDS = 24 * 3600

# rds_replication is Aurora's role, since nobody there may grant the attribute REPLICATION.
_ROLE = """
SELECT rolcanlogin AS can_login,
       rolreplication OR rolsuper OR EXISTS (
           SELECT FROM pg_catalog.pg_roles g
            WHERE g.rolname = 'rds_replication'
              AND pg_catalog.pg_has_role(r.oid, g.oid, 'MEMBER')) AS can_replicate
  FROM pg_catalog.pg_roles r WHERE rolname = %s
"""

_HAS_RDS_ROLE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rds_replication')"


@dataclass(frozen=True, slots=True)
class _ServerRow:
    wal_level: str
    databases: list[str]


@dataclass(frozen=True, slots=True)
class _RoleRow:
    can_login: bool
    can_replicate: bool


@dataclass(frozen=True, slots=True)
class ReplicationRole:
    """The role that subscriptions log in as, on the server that they read from."""

    name: str
    exists: bool
    can_login: bool
    can_replicate: bool
    rds_role_exists: bool

    def problem(self) -> str | None:
        """Return what the role lacks and the statements that fix it; None when it lacks nothing."""
        name = sql.Identifier(self.name).as_string()
        statements = []
        if not self.exists:
            found = "doesn't exist"
            attributes = "LOGIN" if self.rds_role_exists else "LOGIN REPLICATION"
            statements.append(f"CREATE ROLE {name} {attributes} PASSWORD '(that of the secret)'")
            if self.rds_role_exists:
                statements.append(f"GRANT rds_replication TO {name}")
        else:
            lacks = []
            if not self.can_login:
                lacks.append("LOGIN")
                statements.append(f"ALTER ROLE {name} LOGIN")
            if not self.can_replicate:
                lacks.append("the right to replicate")
                statements.append(
                    f"GRANT rds_replication TO {name}"
                    if self.rds_role_exists
                    else f"ALTER ROLE {name} REPLICATION"
                )
            found = "lacks " + " and ".join(lacks)
        if not statements:
            return None
        return f"replication role {self.name!r} {found}; run: {'; '.join(statements)};"


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What cloning or replicating from a cluster depends on."""

    cluster: str
    wal_level: str
    capacity: Capacity
    databases: frozenset[str]
    """Those that allow connections, are valid, and are no templates."""
    subscriptions: tuple[str, ...]
    """`name in database`, with those of others."""
    slots: frozenset[str]
    """Logical ones."""
    origins: tuple[str, ...]
    """Replication origins without a subscription, where rows written under one are not sent on."""
    closed: bool
    role: ReplicationRole
    slot_limits: SlotLimits = field(default_factory=SlotLimits)
    admin: str = ""
    """The administrator's role."""
    unclosable: tuple[DeniedDatabase, ...] = ()
    """Databases that the administrator can't close: no clone is closed, and no fence put up."""
    consumers: tuple[str, ...] = ()
    """Others' slots, each in words."""


def inspect(source: Server, databases: Collection[str]) -> SourceFacts:
    """Return what `source` is like now; raises `Retry` when it can't be reached."""
    user, _ = secret_login(source.credentials.replication_secret_arn, source.region)
    # A connection to a desired database would fail with a poorer message if that didn't exist.
    with source.connect("postgres") as conn:
        with conn.cursor(row_factory=class_row(_ServerRow)) as cursor:
            row = cursor.execute(_SERVER, ()).fetchone()
        assert row is not None  # a SELECT without FROM has one row
        with conn.cursor(row_factory=class_row(_RoleRow)) as cursor:
            role = cursor.execute(_ROLE, (user,)).fetchone()
        has_rds_role = conn.execute(_HAS_RDS_ROLE).fetchone()
        room = capacity.inspect(conn)
        limits = slot_limits.inspect(conn)
        there = slots.logical(conn)
        admin, unclosable = conn.info.user, tuple(alterable.denied_databases(conn))
        applying = tuple(str(one) for one in subscriptions.inspect_all(conn))
        filtered = versions.supports(
            conn, Feature.ORIGIN_NONE
        )  # and the target is no older than that
        origins = tuple(subscriptions.foreign_origins(conn)) if filtered else ()
        existing = sorted(set(databases) & set(row.databases))
        closed = closing.is_closed(conn, existing) if existing else False
    return SourceFacts(
        cluster=source.cluster,
        wal_level=row.wal_level,
        capacity=room,
        databases=frozenset(row.databases),
        subscriptions=applying,
        slots=frozenset(one.name for one in there),
        origins=origins,
        closed=closed,
        role=ReplicationRole(
            name=user,
            exists=role is not None,
            can_login=role is not None and role.can_login,
            can_replicate=role is not None and role.can_replicate,
            rds_role_exists=bool(has_rds_role and has_rds_role[0]),
        ),
        slot_limits=limits,
        admin=admin,
        unclosable=unclosable,
        consumers=tuple(
            one.in_words for one in there if not (one.temporary or one.name.startswith("bg_"))
        ),
    )


def cloning_problem(found: SourceFacts, databases: Collection[str]) -> str | None:
    """Return why the source can't be cloned, None when it can."""
    missing = sorted(set(databases) - found.databases)
    if missing:
        return (
            f"databases: {', '.join(missing)} not found on {found.cluster}; "
            f"it has {', '.join(sorted(found.databases - _NOT_THE_USERS)) or 'none'}"
        )
    if found.closed:
        return (
            f"source {found.cluster}: is closed to writers, expected the writer; "
            "finish or destroy the deployment that it takes part in, or name the writer as source"
        )
    if found.subscriptions:
        # Enabled ones start when the clone boots and take their publisher's rows away from the
        # source (measured); a disabled one may be enabled between this check and the clone.
        return (
            f"source {found.cluster}: is a subscriber itself ({', '.join(found.subscriptions)}); "
            "a clone would steal its rows: drop the subscription first"
        )
    return None


def replicating_problem(
    found: SourceFacts, databases: Collection[str], deployment: str
) -> str | None:
    """Return why the source can't be replicated from for `deployment`, None when it can."""
    if found.wal_level != "logical":
        return (
            f"source {found.cluster}: wal_level is {found.wal_level}, expected logical; set "
            "rds.logical_replication to 1 in its cluster parameter group and reboot its writer"
        )
    ours = {names.slot(deployment, direction, d) for direction in Direction for d in databases}
    others = sorted(name for name in found.slots - ours if name.startswith("bg_"))
    if others:
        return (
            f"source {found.cluster}: another deployment replicates from it "
            f"({', '.join(others)}); finish or destroy that one first"
        )
    if found.origins:
        return (
            f"source {found.cluster}: has replication origins of others"
            f" ({', '.join(found.origins)}); {subscriptions.ORIGINS_REMEDY}"
        )
    if found.unclosable:
        # All of them, listed or not: a clone of the whole cluster would go on writing there.
        first = found.unclosable[0]
        return (
            f"source {found.cluster}: {', '.join(map(str, found.unclosable))} can't be closed by "
            f"{found.admin!r}, so neither a clone nor the old side could be; "
            f"{first.remedy(found.admin)}"
        )
    needed = {names.slot(deployment, Direction.FORWARD, d) for d in databases} - found.slots
    # The way back makes it a subscriber. That can't be prepared later: a reboot is an outage.
    lacking = capacity.publishing_problem(
        found.capacity, slots=len(needed), senders=len(needed)
    ) or capacity.subscribing_problem(found.capacity, subscriptions=len(needed))
    if lacking is not None:
        return f"source {found.cluster}: {lacking}"
    limits = found.slot_limits
    if 0 <= limits.keep_mb < _LEAST_KEPT_MB:
        return (
            f"source {found.cluster}: max_slot_wal_keep_size is {limits.keep_mb} MB, so the "
            "slots would be lost while the clone is made; set it to -1, or to what is written in "
            "some hours"
        )
    if 0 < limits.idle_seconds < _LEAST_IDLE_SECONDS:
        return (
            f"source {found.cluster}: idle_replication_slot_timeout is {limits.idle_seconds} "
            "s, so the slots would be lost while the clone is made; set it to 0"
        )
    missing = found.role.problem()
    return f"source {found.cluster}: {missing}" if missing else None


def require_clonable(found: SourceFacts, databases: Collection[str]) -> None:
    """Raise `Refused` unless the source can be cloned; log what will not be replicated."""
    reason = cloning_problem(found, databases)
    if reason:
        raise Refused(reason)
    left = sorted(found.databases - set(databases) - _NOT_THE_USERS)
    if left:
        log.warning(
            "source %s: not in databases, so the target keeps them as they were when cloned: %s",
            found.cluster,
            ", ".join(left),
        )


def require_replicable(
    source: Server, found: SourceFacts, databases: Collection[str], deployment: str
) -> None:
    """Raise `Refused` unless the source can be replicated from; try the role's login."""
    reason = replicating_problem(found, databases, deployment)
    if reason:
        raise Refused(reason)
    if found.consumers:
        log.warning(
            "source %s: others read from it by slots: %s; a clone has none of these, and after the "
            "cutover they get nothing more: plan how each consumer goes on from the new writer",
            found.cluster,
            ", ".join(found.consumers),
        )
    for database in sorted(databases):
        # A wrong password or a missing CONNECT would otherwise show in an hour, in a worker's log.
        logins: tuple[Role, ...] = ("replication", "admin")
        for login in logins:
            with source.connect(database, role=login) as conn:
                role, major = conn.info.user, versions.major(conn)
            # The clone inherits roles: its apply workers run as the administrator unless set.
            session_timeouts.require_none(source, database, role, login, major)
