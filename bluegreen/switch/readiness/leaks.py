"""Leaks: what could write through a fence, and what the administrator lacks to put one up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bluegreen import names
from bluegreen.finding import Finding, Level, expect_none, require_unblocked
from bluegreen.postgres import aws_roles
from bluegreen.postgres.queries import Connection, column
from bluegreen.postgres.server import Server
from bluegreen.register import alterable, fence_mode, fenced_roles, register
from bluegreen.register.fenced_roles import FenceSpec
from bluegreen.switch.readiness import strangers
from bluegreen.switch.side import Side

_PREPARED = "SELECT gid FROM pg_prepared_xacts ORDER BY 1"
# AWS's own may have one, but nobody may fence those; a role without LOGIN can't use it.
_OWN_READ_ONLY = """\
SELECT r.rolname || coalesce(' in ' || d.datname, '')
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
  LEFT JOIN pg_database d ON d.oid = s.setdatabase
 WHERE r.rolcanlogin AND r.rolname <> ALL (%s)
   AND EXISTS (SELECT FROM unnest(s.setconfig) c WHERE c LIKE 'default_transaction_read_only=%%'
        AND NOT split_part(c, '=', 2)::boolean)
 ORDER BY 1"""


@dataclass(frozen=True, slots=True)
class Leaks:
    """What passes the fence, or prevents the administrator from putting it up."""

    prepared: list[str]
    own_read_only: list[str]
    not_ours: list[str]
    """Databases that the administrator can't close, on either side."""
    superusers: list[str]
    """Sessions that only a superuser may end, if the administrator is none."""
    of_our_roles: list[str]
    """Other clients' sessions as the administrator, or as the role that replicates."""
    logging_in: list[str]
    """Logins that do not end, which the fence has to wait for."""
    slipped: list[str]
    """Writes that came to the new writer after it had been left, and are nowhere else."""
    roles: dict[str, fenced_roles.RoleFacts]
    """By cluster, the old writer's first."""
    fence_spec: FenceSpec


def require_none(old: Side, new: Side, fence_spec: FenceSpec) -> None:
    """Raise `Refused` for what could write through the fence: a switch's own last check.

    The report may be old by then, and a program that calls the library may not have read one.
    """
    found = inspect((old.server, old.databases), (new.server, new.databases), fence_spec)
    require_unblocked(judge(found), old.server)


def inspect(
    old: tuple[Server, Mapping[str, Connection]],
    new: tuple[Server, Mapping[str, Connection]],
    fence_spec: FenceSpec,
) -> Leaks:
    """Inspect both environments: each a server and connections to the databases that move."""
    first, other = next(iter(old[1].values())), next(iter(new[1].values()))
    return Leaks(
        prepared=column(first, _PREPARED),
        own_read_only=column(first, _OWN_READ_ONLY, list(aws_roles.LOGINS)),
        not_ours=[
            *map(str, alterable.denied_databases(first)),
            *(f"{one} on {new[0]}" for one in alterable.denied_databases(other)),
        ],
        superusers=strangers.of_superusers(first),
        of_our_roles=strangers.of_our_roles(
            first, list(fenced_roles.own(first, old[0])), list(old[1])
        ),
        logging_in=strangers.logging_in(first),
        slipped=_slipped(new[0]),
        roles={
            str(server): fenced_roles.inspect(conns, server, fence_spec)
            for server, conns in (old, new)
        },
        fence_spec=fence_spec,
    )


def _slipped(server: Server) -> list[str]:
    with server.connect(names.TOOL_DATABASE) as conn:
        count = register.slipped(conn)
    return [f"{count} write(s)"] if count else []


def judge(leaks: Leaks) -> list[Finding]:
    """Judge what was found."""
    return [
        *chosen(leaks.fence_spec),
        *_passing(leaks),
        *_sessions(leaks),
        *_slipped_writes(leaks),
        *_settings(next(iter(leaks.roles.values()))),
        *(one for cluster, roles in leaks.roles.items() for one in _administrator(cluster, roles)),
    ]


def _passing(leaks: Leaks) -> list[Finding]:
    """Judge what a fence doesn't stop, and databases that it can't be put on."""
    return [
        expect_none(
            "prepared transactions",
            leaks.prepared,
            "COMMIT PREPARED passes any fence: commit or roll them back",
        ),
        expect_none(
            "roles with a read-write default of their own",
            leaks.own_read_only,
            "it would beat the fence: ALTER ROLE ... RESET default_transaction_read_only",
        ),
        expect_none(
            "databases of others",
            leaks.not_ours,
            "the fence needs their owners' privileges: GRANT owner TO admin, or ALTER DATABASE"
            " ... OWNER TO admin",
        ),
    ]


def _sessions(leaks: Leaks) -> list[Finding]:
    """Judge the sessions that the fence can't end."""
    return [
        expect_none(
            "sessions of superusers",
            leaks.superusers,
            "only a superuser may end them, and they can write through the fence: end them",
        ),
        expect_none(
            "sessions of others as the tool's roles",
            leaks.of_our_roles,
            "these keep LOGIN, so BEGIN READ WRITE would pass the fence: end them, and give the"
            " application a role of its own",
        ),
        expect_none(
            "logins that do not end",
            leaks.logging_in,
            "the fence waits for them until authentication_timeout where it may not end them: find"
            " their clients",
            Level.WARN,
        ),
    ]


def _slipped_writes(leaks: Leaks) -> list[Finding]:
    """Judge late writes that an earlier switch left on the old side."""
    return [
        expect_none(
            f"after it had been left, writes on {list(leaks.roles)[1]}",
            leaks.slipped,
            "they are nowhere else: bring them over, then set register.slipped to 0 in its database"
            " bluegreen",
        )
    ]


def _settings(roles: fenced_roles.RoleFacts) -> list[Finding]:
    """Judge which roles the settings fence on the old writer."""
    return [
        expect_none(
            "switch.roles and switch.spare_roles",
            roles.problems,
            "leave it out, or fix its name",
        ),
        expect_none(
            "roles that keep LOGIN and may write",
            roles.keepers,
            "BEGIN READ WRITE would pass the fence, and write on the old side: take them off"
            " switch.spare_roles, name them in switch.roles, or REVOKE (from PUBLIC too)",
        ),
    ]


def _administrator(cluster: str, roles: fenced_roles.RoleFacts) -> list[Finding]:
    """Judge what the administrator may do on one side."""
    return [
        expect_none(
            f"roles that the administrator can't alter on {cluster}",
            roles.unalterable,
            "LOGIN is taken from them on the old side: CREATEROLE, and from 16 on GRANT role"
            " TO admin WITH ADMIN OPTION; one of AWS's own belongs in switch.spare_roles",
        ),
        expect_none(
            f"what the administrator lacks on {cluster}",
            roles.lacking,
            "to end sessions, to see them, and to read the slot: GRANT pg_signal_backend,"
            " pg_monitor TO admin, ALTER ROLE admin REPLICATION (Aurora: GRANT rds_superuser)",
        ),
    ]


def chosen(fence_spec: FenceSpec) -> list[Finding]:
    """Return what the settings permit on purpose."""
    found = []
    if fence_spec.fence == "read-only":
        found.append(Finding(Level.WARN, "switch.fence", "is read-only", fence_mode.WARNING))
    if fence_spec.old_side == "readable":
        found.append(
            Finding(
                Level.WARN,
                "switch.old_side",
                "is readable",
                "who says BEGIN READ WRITE there afterwards writes rows that are nowhere else;"
                " closed takes LOGIN",
            )
        )
    return found
