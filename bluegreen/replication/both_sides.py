"""Both environments of a deployment at once: the writer now, the writer to be, and connections.

Checks of both sides take this: the readiness report opens the connections, a switch hands in its
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bluegreen import names
from bluegreen.names import Direction
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.server import Server


@dataclass(frozen=True, slots=True)
class BothSides:
    """The writer `old` and the standby `new`, with a connection to each database that moves."""

    deployment: str
    direction: Direction
    """Of the replication that runs now, from `old` to `new`; the opposite one is the way back."""
    old: Server
    new: Server
    olds: Mapping[str, Connection]
    news: Mapping[str, Connection]

    @property
    def databases(self) -> list[str]:
        """Return the databases that move, sorted."""
        return sorted(self.olds)

    @property
    def old_cluster(self) -> Connection:
        """Return a connection for what all databases of the writer share."""
        return self.olds[self.databases[0]]

    @property
    def new_cluster(self) -> Connection:
        """Return a connection for what all databases of the standby share."""
        return self.news[self.databases[0]]

    @property
    def back(self) -> Direction:
        """Return the direction of the way back."""
        return Direction.REVERSE if self.direction is Direction.FORWARD else Direction.FORWARD

    def publication(self) -> str:
        """Return the name of the publication in use."""
        return names.publication(self.deployment, self.direction)

    def subscription(self) -> str:
        """Return the name of the subscription that runs."""
        return names.subscription(self.deployment, self.direction)

    def slot(self, database: str) -> str:
        """Return the name of the slot in use."""
        return names.slot(self.deployment, self.direction, database)
