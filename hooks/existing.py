"""A cluster that is to be made must not exist: then it is left over, or would be replaced."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC

import pulumi

from bluegreen.aws import cluster
from bluegreen.errors import BlueGreenError


@dataclass(frozen=True, slots=True)
class Absent:
    """Checks that AWS has no cluster of a name, before one is made and at preview."""

    identifier: str
    region: str

    async def before(self, _args: pulumi.ResourceHookArgs) -> None:
        """Raise when the cluster exists."""
        try:
            found = await asyncio.to_thread(
                cluster.find, self.region, self.identifier, account=None
            )
        except BlueGreenError as error:
            raise RuntimeError(str(error)) from None
        if found is not None:
            raise RuntimeError(existing_problem(found))


def existing_problem(found: cluster.Cluster) -> str:
    """Return what to do about a cluster that exists and is to be made.

    `pulumi refresh --import-pending-creates` would be the way to take it in, but with the engine
    3.259 it only forgets the pending creation: seen after an update that was killed.
    """
    made = f"{found.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f"cluster {found.identifier}: is to be made, and exists in {found.region} since {made} "
        f"({found.status}, {len(found.members)} instances); if an update that was killed then has "
        "left it, remove it in AWS and run pulumi up; if it is in use, leave it: name another by "
        "environment.cluster_identifier, or see why this stack's state lacks it"
    )
