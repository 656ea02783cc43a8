"""Parameter groups: logical replication on, and sized for a deployment."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.parameters import Group, Parameters, family_of
from components.source import Source
from components.stack import Stack


class ParameterGroups(pulumi.ComponentResource):
    """The cluster's and the instances' groups of the engine's family.

    A clone has a group of the source's family until it is upgraded, which leaves out what would
    write there before it is closed; it goes with the way back, so that removing `source` later
    changes nothing on AWS.
    """

    def __init__(
        self,
        stack: Stack,
        parameters: Parameters,
        source: Source | None,
        after: Sequence[pulumi.Resource],
    ) -> None:
        super().__init__(
            "bluegreen:index:ParameterGroups",
            "parameter-groups",
            opts=pulumi.ResourceOptions(depends_on=list(after)),
        )
        self.parameters = parameters
        family = family_of(stack.settings.environment.engine_version)
        name = stack.cluster_identifier
        self.cluster = self._cluster_group(
            "cluster-parameters", f"{name}-{family[-2:]}", family, parameters.group()
        )
        self.instance = aws.rds.ParameterGroup(
            "instance-parameters",
            name=f"{name}-instance-{family[-2:]}",
            family=family,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.clone = None
        if source is not None and stack.settings.rollback:
            its_family = source.engine_version.apply(family_of)
            self.clone = self._cluster_group(
                "clone-parameters",
                f"{name}-clone",
                its_family,
                its_family.apply(parameters.group_of),
            )
        self.register_outputs({})

    @property
    def first(self) -> pulumi.Output[str]:
        """Return the group that the cluster is made with."""
        return (self.clone or self.cluster).name

    def _cluster_group(
        self, logical: str, name: str, family: pulumi.Input[str], parameters: pulumi.Input[Group]
    ) -> aws.rds.ClusterParameterGroup:
        return aws.rds.ClusterParameterGroup(
            logical,
            name=name,
            family=family,
            parameters=parameters,
            opts=pulumi.ResourceOptions(parent=self),
        )
