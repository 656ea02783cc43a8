"""Fenced roles: which roles lose LOGIN on the old side, and what prevents that.

Without `switch.roles` these are all that applications can log in as; `switch.spare_roles` keep it.
A role that keeps LOGIN and may write would be a second writer on the old side, by `BEGIN READ
WRITE`. So it is found beforehand (`keepers`), and so is what the administrator lacks: after the
opening it is too late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from bluegreen.postgres import aws_roles
from bluegreen.postgres.queries import Connection, column, value
from bluegreen.postgres.server import Server, secret_login
from bluegreen.register import alterable, keepers
from bluegreen.register.fence_mode import DEFAULT_FENCE, DEFAULT_OLD_SIDE, FenceMode, OldSide

# On Aurora nobody has the attribute REPLICATION: who may replicate was put into rds_replication.
# Directly, since rds_superuser is in it too, and with it many an application's role.
_BY_DEFAULT = """\
SELECT rolname::text FROM pg_roles r
 WHERE rolcanlogin AND NOT rolreplication
   AND NOT EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                    WHERE m.member = r.oid AND g.rolname = 'rds_replication')
   AND (NOT rolsuper OR current_setting('is_superuser') = 'on')
   AND rolname <> ALL ({kept}::text[]) AND rolname <> current_user
 ORDER BY 1"""
_UNKNOWN = """\
SELECT name FROM unnest(%s::text[]) name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) ORDER BY 1"""
# What needs no words besides the remedy.
_LACK = ("permission denied", "must be ")
_LACKING = """\
SELECT name FROM unnest(ARRAY['pg_signal_backend', 'pg_read_all_stats']) name
 WHERE NOT pg_has_role(name::name, 'USAGE')
UNION ALL
SELECT 'REPLICATION'
 WHERE NOT EXISTS (SELECT FROM pg_roles r
        WHERE r.rolname = current_user AND (r.rolsuper OR r.rolreplication))
   AND NOT EXISTS (SELECT FROM pg_roles r
        WHERE r.rolname = 'rds_replication' AND pg_has_role(r.oid, 'USAGE'))"""


@dataclass(frozen=True, slots=True)
class FenceSpec:
    """Which roles the settings fence, and when these lose LOGIN."""

    roles: tuple[str, ...] | None = None
    spared: tuple[str, ...] = ()
    fence: FenceMode = DEFAULT_FENCE
    old_side: OldSide = DEFAULT_OLD_SIDE

    @property
    def taken(self) -> bool:
        """Return whether anything takes LOGIN from roles at all."""
        return self.fence == "no-login" or self.old_side == "closed"

    def problems(self, own: Mapping[str, str], unknown: list[str]) -> list[str]:
        """Return the entries that make no sense; `own` are the tool's roles, each with why."""
        found = [f"{name} is {own[name]}" for name in self.roles or () if name in own]
        return found + [f"{name} does not exist" for name in unknown]


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """What was found about the roles of one environment."""

    problems: list[str]
    """Entries of `switch.roles` and `switch.spare_roles` that make no sense."""
    keepers: list[str]
    """Roles that keep LOGIN though they may write, each with what it may write."""
    unalterable: list[str]
    """Roles that the administrator can't take LOGIN from, or give it back to."""
    lacking: list[str]
    """What the administrator lacks to see sessions, to end them, and to read a slot."""


def roles_to_fence(conn: Connection, server: Server, spec: FenceSpec) -> list[str]:
    """Return the roles that lose LOGIN where applications must not log in; never the tool's."""
    return list(value(conn, sql.SQL("SELECT {}").format(_choice(conn, server, spec))))


def chosen(conn: Connection, server: Server, spec: FenceSpec) -> sql.Composable:
    """Return the roles that lose LOGIN under the fence, as an expression of SQL.

    It is evaluated when the fence is put up, so it includes a role that was made just before.
    """
    if spec.fence != "no-login":
        return sql.SQL("'{}'::text[]")
    return _choice(conn, server, spec)


def _choice(conn: Connection, server: Server, spec: FenceSpec) -> sql.Composable:
    ours = own(conn, server)
    if spec.roles is not None:
        names = [name for name in spec.roles if name not in spec.spared and name not in ours]
        return sql.SQL("{}::text[]").format(sql.Literal(names))
    kept = [*ours, *spec.spared, *aws_roles.LOGINS]
    return sql.SQL("ARRAY({})").format(sql.SQL(_BY_DEFAULT).format(kept=sql.Literal(kept)))


def closable(conn: Connection, server: Server, spec: FenceSpec) -> list[str]:
    """Return which of these can lose LOGIN; readiness names the others."""
    fenced = roles_to_fence(conn, server, spec)
    denied = alterable.denied_roles(conn, fenced)
    return [name for name in fenced if name not in denied]


def inspect(databases: Mapping[str, Connection], server: Server, spec: FenceSpec) -> RoleFacts:
    """Inspect one environment; `databases` are connections to those that move."""
    conn = next(iter(databases.values()))
    ours = own(conn, server)
    lacking = column(conn, _LACKING)
    if not spec.taken:
        return RoleFacts([], [], [], lacking)
    fenced = roles_to_fence(conn, server, spec)
    unknown = column(conn, _UNKNOWN, [*(spec.roles or ()), *spec.spared])
    found = {
        keeper: None
        for one in databases.values()
        for keeper in keepers.find(one, [*fenced, conn.info.user], own=list(ours))
    }
    unalterable = [
        name if said.startswith(_LACK) else f"{name} ({said})"
        for name, said in alterable.denied_roles(conn, fenced).items()
    ]
    return RoleFacts(spec.problems(ours, unknown), list(found), unalterable, lacking)


def own(conn: Connection, server: Server) -> dict[str, str]:
    """Return the tool's roles, each with what it is."""
    replication, _ = secret_login(server.credentials.replication_secret_arn, server.region)
    return {conn.info.user: "the administrator", replication: "the role that replicates"}
