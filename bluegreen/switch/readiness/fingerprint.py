"""Fingerprints: all of one side that an application or replication relies on, as plain facts.

A fingerprint takes one query for a cluster and one for each of its databases; `comparison` finds
how two of them differ. It holds no passwords: only a superuser may see those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres import versions
from bluegreen.postgres.queries import Connection, column
from bluegreen.postgres.server import Server
from bluegreen.switch.readiness.fingerprint_sql import CLOSED, CLUSTER, DATABASE

# With JIT each expression would be compiled: 0.7 s before the first row.
_PLAIN = "SET jit = off; SET search_path = pg_catalog"


class Fact(NamedTuple):
    """One thing that exists."""

    kind: str
    name: str
    """Quoted as SQL needs it."""
    whole: str
    """What it is a part of, as `kind name`; empty when it stands alone."""
    about: str
    """What else it needs, as `kind name`: the role of a privilege, the table of a default."""
    definition: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The facts of a cluster or of one of its databases."""

    major: int
    facts: dict[tuple[str, str], Fact]


def of_cluster(server: Server) -> Fingerprint:
    """Return roles and databases as they are when no role is closed; raises `Retry`."""
    with server.connect(TOOL_DATABASE) as conn:
        return _read(conn, CLUSTER, {"closed": column(conn, CLOSED)})


def of_database(conn: Connection) -> Fingerprint:
    """Return what the database of `conn` holds."""
    return _read(conn, DATABASE, {})


def _read(conn: Connection, query: str, values: dict[str, list[str]]) -> Fingerprint:
    with conn.transaction():
        conn.execute(_PLAIN.replace("SET ", "SET LOCAL "))
        rows = conn.execute(query, values).fetchall()
    facts = [Fact(*row) for row in rows]
    return Fingerprint(versions.major(conn), {(one.kind, one.name): one for one in facts})
