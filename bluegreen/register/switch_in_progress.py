"""Is a switch under way on an environment? Nothing else may move the environments meanwhile."""

from __future__ import annotations

from bluegreen.postgres.server import Server
from bluegreen.register import register, tool_database


def has_register(server: Server) -> bool:
    """Return whether the tool's database exists; raises `Retry` when the server is out of reach."""
    return tool_database.exists(server)


def attempt(server: Server) -> str | None:
    """Return the live attempt in words; None when there is none, or no register at all."""
    return register.live_attempt(server) if has_register(server) else None
