"""The role that replicates, as the master user makes it."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
from psycopg import sql


def make(conn: psycopg.Connection[Any], user: str, password: str) -> None:
    """Make a role that may log in and replicate; `conn` is the master user's."""
    conn.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(user), sql.Literal(password)
        )
    )
    allow(conn, user)


def allow(conn: psycopg.Connection[Any], user: str) -> None:
    """Let a role replicate: on Aurora a membership is what it takes, elsewhere an attribute."""
    _change(conn, user, "ALTER ROLE {} REPLICATION", "GRANT rds_replication TO {}")


def forbid(conn: psycopg.Connection[Any], user: str) -> None:
    """Take from a role what `allow` has given."""
    _change(conn, user, "ALTER ROLE {} NOREPLICATION", "REVOKE rds_replication FROM {}")


def _change(
    conn: psycopg.Connection[Any], user: str, elsewhere: LiteralString, on_aurora: LiteralString
) -> None:
    superuser = conn.execute("SHOW is_superuser").fetchone() == ("on",)
    statement = elsewhere if superuser else on_aurora
    conn.execute(sql.SQL(statement).format(sql.Identifier(user)))
