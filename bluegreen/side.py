"""One of the two environments during a switch: its connections, opened before the outage."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import psycopg

from bluegreen.errors import Refused
from bluegreen.names import TOOL_DATABASE
from bluegreen.server import Server

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Side:
    """Connections to the tool's database and to every database that moves."""

    server: Server
    tool: Connection
    databases: dict[str, Connection]

    @classmethod
    def connect(cls, server: Server, databases: Sequence[str], stack: ExitStack) -> Self:
        """Connect; `stack` closes. Raises `Refused` for a reader's endpoint."""
        tool = stack.enter_context(server.connect(TOOL_DATABASE))
        row = tool.execute("SELECT pg_is_in_recovery()").fetchone()
        if row == (True,):
            raise Refused(f"{server}: is in recovery, expected the cluster's writer endpoint")
        return cls(
            server,
            tool,
            {name: stack.enter_context(server.connect(name)) for name in databases},
        )

    def pids(self) -> list[int]:
        """Return the process ids of these connections, which the fence must spare."""
        return [conn.info.backend_pid for conn in (self.tool, *self.databases.values())]

    def limit(self, seconds: float) -> None:
        """Let every statement take at most `seconds`; 0 lifts the limit.

        Behind the fence nothing may wait for somebody else's lock longer than the deadline.
        """
        for conn in (self.tool, *self.databases.values()):
            conn.execute(
                "SELECT set_config('statement_timeout', %s, false)", (f"{seconds * 1000:.0f}ms",)
            )
