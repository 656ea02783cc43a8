"""Timeouts that interrupt replication, read as replication's own sessions get them.

A worker takes settings from its server, its database and its role, like any session, and can't be
given others. `transaction_timeout` (from 17 on) applies to an apply worker and to a sender: each
handles a transaction within one of its own, so a large one is begun again and again, for ever.
`lock_timeout` ends an apply worker that waits for somebody's lock.
"""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from bluegreen.errors import Refused, Retry
from bluegreen.finding import Finding, expect_none
from bluegreen.postgres import subscriptions, versions
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.remedies import quoted
from bluegreen.postgres.server import Role, Server, secret_login
from bluegreen.postgres.versions import Feature

# The narrowest setting holds. The server's own is what this session has, which sets none of the
# tool's values, unless this session's role has its own: then the server's can't be determined.
_EFFECTIVE = """
WITH mine AS (
    SELECT r.rolname, pg_catalog.split_part(o, '=', 2) AS value, s.setrole, s.setdatabase
      FROM pg_catalog.pg_db_role_setting s
     CROSS JOIN pg_catalog.unnest(s.setconfig) o
      LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
     WHERE pg_catalog.split_part(o, '=', 1) = %(name)s
       AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
                                  WHERE datname = pg_catalog.current_database()))
)
SELECT coalesce(
    (SELECT value FROM mine WHERE setrole = 0 OR rolname = %(role)s
      ORDER BY setrole = 0, setdatabase = 0 LIMIT 1),
    CASE WHEN NOT EXISTS (SELECT FROM mine WHERE rolname = session_user)
         THEN pg_catalog.current_setting(%(name)s, true) END)
"""


def effective(server: Server, database: str, name: str, role: str, login: Role) -> str | None:
    """Return the value of timeout `name` in sessions of `role`, None where there is none.

    A session of `login` asks, which is `role` or can read the catalogs for it.
    """
    try:
        with psycopg.connect(
            server.conninfo(database, login),
            autocommit=True,
            connect_timeout=10,
            client_encoding="UTF8",
        ) as conn:
            row = conn.execute(_EFFECTIVE, {"name": name, "role": role}).fetchone()
    except psycopg.OperationalError as error:
        said = error.diag.message_primary or "can't connect"
        raise Retry(f"database {database!r} on {server}: {said}; try again") from None
    value = row[0] if row else None
    return value if value and value.lstrip("0").strip("msinhd ") else None


def transaction_limit(
    server: Server, database: str, role: str, login: Role, major: int
) -> str | None:
    """Return why transactions of `role`'s workers would be ended, None when they wouldn't."""
    if not versions.has(major, Feature.TRANSACTION_TIMEOUT):
        return None
    value = effective(server, database, "transaction_timeout", role, login)
    if value is None:
        return None
    return (
        f"transaction_timeout is {value} for role {role!r}, so a longer transaction would be "
        f"replicated again and again; ALTER ROLE {quoted(role)} SET transaction_timeout = 0"
    )


def require_none(server: Server, database: str, role: str, login: Role, major: int) -> None:
    """Raise `Refused` where transactions of `role`'s workers would be ended."""
    why = transaction_limit(server, database, role, login, major)
    if why is not None:
        raise Refused(f"database {database!r} on {server}: {why}")


def check(
    old: tuple[Server, Mapping[str, Connection]],
    new: tuple[Server, Mapping[str, Connection]],
    subscription: str,
) -> list[Finding]:
    """Judge the timeouts of the sender on the writer and of the apply worker on the standby."""
    writer, olds = old
    sender, _ = secret_login(writer.credentials.replication_secret_arn, writer.region)
    found = []
    for name, there in olds.items():
        here = new[1][name]
        own = (
            s.owner for s in subscriptions.inspect_all(here, [subscription]) if s.database == name
        )
        owner = next(own, here.info.user)
        limits = (
            transaction_limit(writer, name, sender, "replication", versions.major(there)),
            transaction_limit(new[0], name, owner, "admin", versions.major(here)),
        )
        items = [limit for limit in limits if limit is not None]
        found.append(
            expect_none(
                f"{name}: timeouts of replication",
                items,
                "workers that run take it up with ALTER SUBSCRIPTION ... DISABLE and ENABLE",
            )
        )
    return found
