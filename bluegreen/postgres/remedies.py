"""What to grant when the server says that a privilege is missing: the one list of remedies.

PostgreSQL says which object was refused; the statement that grants it is added here. Aurora
grants its own roles where community PostgreSQL needs an attribute that only a superuser may give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql

from bluegreen.errors import Refused

REPLICATE = "GRANT rds_replication TO {role} (outside RDS: ALTER ROLE {role} REPLICATION)"

# The server's own objects belong to its superuser, who on RDS is AWS.
_SUPERUSERS = (
    "on RDS nobody can grant that: run bluegreen probe and report what it says; elsewhere a "
    "superuser can: "
)

# Messages of 14 to 18; the first that matches counts. `{name}` is what the pattern caught.
_REMEDIES = (
    (
        "permission denied to create subscription",
        "GRANT pg_create_subscription TO {role} (on Aurora rds_superuser has it)",
    ),
    (
        "pg_(show_)?replication_origin_status",
        _SUPERUSERS + "GRANT SELECT ON pg_catalog.pg_replication_origin_status TO {role}; GRANT "
        "EXECUTE ON FUNCTION pg_catalog.pg_show_replication_origin_status() TO {role}",
    ),
    (
        "function pg_replication_origin_advance",
        _SUPERUSERS + "GRANT EXECUTE ON FUNCTION "
        "pg_catalog.pg_replication_origin_advance(text, pg_lsn) TO {role}",
    ),
    ("must be superuser to (create|add or set)", "on Aurora: GRANT rds_superuser TO {role}"),
    ("replication slots", REPLICATE),
    # The writer sends heartbeats, the standby reads them, and either may become the other.
    ("table heartbeat$", "GRANT SELECT, INSERT, UPDATE ON bluegreen.heartbeat TO {role}"),
    # Names that begin so are the server's own.
    (
        "denied for function (?P<name>pg_.+)",
        _SUPERUSERS + "GRANT EXECUTE ON FUNCTION pg_catalog.{name} TO {role}",
    ),
    (
        "denied for (table|view) (?P<name>pg_.+)",
        _SUPERUSERS + "GRANT SELECT ON pg_catalog.{name} TO {role}",
    ),
    ("denied for function (?P<name>.+)", "GRANT EXECUTE ON FUNCTION {name} TO {role}"),
    ("denied for database ", "GRANT CREATE ON DATABASE {database} TO {role}"),
    ("denied for schema (?P<name>.+)", "GRANT USAGE ON SCHEMA {name} TO {role}"),
    ("denied for (table|view) (?P<name>.+)", "GRANT SELECT ON {name} TO {role}"),
    (
        "must be owner of schema bluegreen",
        "grant its owner's role to {role}, or ALTER SCHEMA bluegreen OWNER TO {role}",
    ),
    (
        "must be owner of",
        "use the master user, or grant its owner's role to {role}, or change its owner",
    ),
    ("", "use the master user, or grant it to {role}"),
)


@contextmanager
def explained(conn: psycopg.Connection[Any], what: str) -> Iterator[None]:
    """Turn a missing privilege of `conn`'s role into `Refused`, with who needs it and its GRANT."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        said = " ".join(
            text for text in (error.diag.message_primary, error.diag.message_detail) if text
        )
        cure = remedy(said, conn.info.user, conn.info.dbname)
        raise Refused(f"{what}: {said.rstrip('.')}; {cure}") from None


def remedy(said: str, role: str, database: str) -> str:
    """Return what gives `role` the privilege that the server's message names."""
    found, cure = next(
        (match, cure) for words, cure in _REMEDIES if (match := re.search(words, said))
    )
    name = found.groupdict().get("name", "")
    return cure.format(name=quoted(name), role=quoted(role), database=quoted(database))


def statement(privileges: str, on: str, role: str) -> str:
    """Return the GRANT of `privileges` on what `on` names, quoted already."""
    return f"GRANT {privileges} ON {on} TO {quoted(role)}"


def quoted(name: str) -> str:
    """Return a name as statements write it."""
    return sql.Identifier(name).as_string()
