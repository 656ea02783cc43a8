"""Is a switch under way on an environment? Nothing else may move the environments meanwhile."""

from __future__ import annotations

from bluegreen import register
from bluegreen.names import TOOL_DATABASE
from bluegreen.server import Server

_HAS_REGISTER = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = %s)"


def has_register(server: Server) -> bool:
    """Return whether the tool's database is there; raises `Retry` when out of reach."""
    with server.connect("postgres") as conn:
        row = conn.execute(_HAS_REGISTER, (TOOL_DATABASE,)).fetchone()
    return bool(row and row[0])


def attempt(server: Server) -> str | None:
    """Return the live attempt in words, None when there is none, or no register at all."""
    return register.live_attempt(server) if has_register(server) else None
