"""What to grant when the server says that a privilege is missing: one line, with the statement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql

from bluegreen.errors import Refused


@contextmanager
def explained(conn: psycopg.Connection[Any], what: str) -> Iterator[None]:
    """Turn a missing privilege into `Refused`, naming `what` needs it and what grants it."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        said = " ".join(
            text for text in (error.diag.message_primary, error.diag.message_detail) if text
        )
        cure = remedy(said, conn.info.user, conn.info.dbname)
        raise Refused(f"{what}: {said.rstrip('.')}; {cure}") from None


def remedy(said: str, user: str, database: str) -> str:
    """Return what gives `user` the privilege that the server's words ask for.

    The words are those of 14 to 18. Aurora grants its own roles where community PostgreSQL needs
    an attribute that only a superuser may give.
    """
    role = sql.Identifier(user).as_string()
    if "permission denied for database" in said:
        return f"run: GRANT CREATE ON DATABASE {sql.Identifier(database).as_string()} TO {role};"
    if "must be superuser to create" in said or "must be superuser to add or set" in said:
        return f"only rds_superuser may; run: GRANT rds_superuser TO {role};"
    if "replication slots" in said:
        return (
            f"run: GRANT rds_replication TO {role}; (outside RDS: ALTER ROLE {role} REPLICATION;)"
        )
    if "must be owner of" in said:
        return f"grant its owner's role to {role}, or change its owner"
    return f"grant it to {role}"
