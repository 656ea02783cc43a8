"""Both environments of a deployment at once: who is the writer now, who is to be, and connections.

What looks at both takes this: the readiness report opens the connections for it, a switch hands in
its own.
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
    """Of the replication that runs now, from `old` to `new`; the other one is the way back."""
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
        """Return the publication that runs now."""
        return names.publication(self.deployment, self.direction)

    def subscription(self) -> str:
        """Return the subscription that runs now."""
        return names.subscription(self.deployment, self.direction)

    def slot(self, database: str) -> str:
        """Return the slot that runs now."""
        return names.slot(self.deployment, self.direction, database)
