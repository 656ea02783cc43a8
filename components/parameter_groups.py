"""Parameter groups: logical replication on, and sized for a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from components.source import Source
from components.stack import Stack

# A slot, a sender and a worker for each database in each direction, with room for others' and for
# table copies. Above Aurora's own defaults only where those are too small.
_SLOTS = 20
_STATIC = (
    "rds.logical_replication",
    "max_replication_slots",
    "max_wal_senders",
    "max_logical_replication_workers",
    "max_worker_processes",
)


class ParameterGroups(pulumi.ComponentResource):
    """The cluster's and the instances' groups of the engine's family.

    A clone of another major version needs a group of the source's family until it is upgraded; it
    goes with the way back, so that removing `source` later changes nothing on AWS.
    """

    def __init__(
        self, stack: Stack, source: Source | None, after: Sequence[pulumi.Resource]
    ) -> None:
        super().__init__(
            "bluegreen:index:ParameterGroups",
            "parameter-groups",
            opts=pulumi.ResourceOptions(depends_on=list(after)),
        )
        self._stack = stack
        environment = stack.settings.environment
        self.parameters = logical_replication(len(environment.databases)) | environment.parameters
        family = family_of(environment.engine_version)
        name = stack.cluster_identifier
        self.cluster = self._cluster_group("cluster-parameters", f"{name}-{family[-2:]}", family)
        self.instance = aws.rds.ParameterGroup(
            "instance-parameters",
            name=f"{name}-instance-{family[-2:]}",
            family=family,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.clone = None
        if source is not None and stack.settings.rollback:
            self.clone = self._cluster_group(
                "clone-parameters",
                f"{name}-clone",
                source.engine_version.apply(family_of),
            )
        self.register_outputs({})

    @property
    def first(self) -> pulumi.Output[str]:
        """Return the group that the cluster is made with."""
        return (self.clone or self.cluster).name

    def static(self) -> Mapping[str, str]:
        """Return the parameters that only a restart brings into force."""
        return {name: self.parameters[name] for name in _STATIC if name in self.parameters}

    def _cluster_group(
        self, logical: str, name: str, family: pulumi.Input[str]
    ) -> aws.rds.ClusterParameterGroup:
        return aws.rds.ClusterParameterGroup(
            logical,
            name=name,
            family=family,
            parameters=[
                aws.rds.ClusterParameterGroupParameterArgs(
                    name=key,
                    value=value,
                    apply_method="pending-reboot" if key in _STATIC else "immediate",
                )
                for key, value in sorted(self.parameters.items())
            ],
            opts=pulumi.ResourceOptions(parent=self),
        )


def family_of(engine_version: str) -> str:
    """Return the parameter group family of an engine version."""
    return f"aurora-postgresql{engine_version.partition('.')[0]}"


def logical_replication(databases: int) -> dict[str, str]:
    """Return the parameters that a deployment of so many databases needs.

    The sizes follow AWS's guide for logical replication on Aurora: workers for all subscriptions
    and as many for parallel apply, and background workers for these beside autovacuum's and
    parallel queries'.
    """
    slots = max(_SLOTS, 4 * databases)
    workers = max(16, 4 * databases)
    return {
        "rds.logical_replication": "1",
        "max_replication_slots": str(slots),
        "max_wal_senders": str(slots),
        "max_logical_replication_workers": str(workers),
        "max_worker_processes": str(workers + 16),
        # A broken connection is noticed in 10 s instead of a minute.
        "wal_sender_timeout": "10000",
        "wal_receiver_timeout": "10000",
    }
