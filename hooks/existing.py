"""A cluster that is to be made must not exist: then it is left over, or would be replaced."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pulumi

from bluegreen.aws import cluster
from bluegreen.errors import BlueGreenError


@dataclass(frozen=True, slots=True)
class Absent:
    """Checks that AWS has no cluster of a name, before one is made and at preview."""

    identifier: str
    region: str
    stack: str

    async def before(self, args: pulumi.ResourceHookArgs) -> None:
        """Raise when the cluster exists."""
        try:
            found = await asyncio.to_thread(
                cluster.find, self.region, self.identifier, account=None
            )
        except BlueGreenError as error:
            raise RuntimeError(str(error)) from None
        if found is not None:
            raise RuntimeError(existing_problem(found, self.stack, args.urn))


def existing_problem(found: cluster.Cluster, stack: str, urn: str) -> str:
    """Return what to do about a cluster that exists and is to be made."""
    return (
        f"cluster {found.identifier}: is to be made, and exists in {found.region} "
        f"({found.status}); if an update that was ended has left it, run: pulumi refresh -s {stack}"
        f" --import-pending-creates '{urn}' --import-pending-creates {found.identifier}; or delete "
        "it, or name another by environment.cluster_identifier"
    )
