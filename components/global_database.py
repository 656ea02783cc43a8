"""What comes once the cluster is as it shall be: readers, and the other Regions."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.primary import ENGINE, INSTANCE_IGNORES, Primary
from components.stack import Stack, within
from hooks import cluster_hooks
from settings import SecondaryRegion

# The last three are decided when the cluster is made: another value would replace it.
SECONDARY_IGNORES = [
    "engineVersion",
    "replicationSourceIdentifier",
    "dbClusterParameterGroupName",
    "kmsKeyId",
    "storageEncrypted",
    "sourceRegion",
]


class GlobalDatabase(pulumi.ComponentResource):
    """Readers, the global cluster of the primary, and a secondary cluster for each other Region.

    A clone can't join its source's global database, and a global database can't be upgraded member
    by member: so a clone gets its own, after its upgrade.
    """

    def __init__(self, stack: Stack, primary: Primary, after: Sequence[pulumi.Resource]) -> None:
        super().__init__(
            "bluegreen:index:GlobalDatabase",
            "global-database",
            opts=pulumi.ResourceOptions(depends_on=list(after)),
        )
        self._stack, self._primary = stack, primary
        environment = stack.settings.environment
        for number in range(2, environment.instances + 1):
            aws.rds.ClusterInstance(
                f"reader-{number - 1}",
                identifier=f"{stack.cluster_identifier}-{number}",
                cluster_identifier=primary.cluster.id,
                engine=ENGINE,
                instance_class=environment.instance_class,
                promotion_tier=1,
                apply_immediately=True,
                opts=self._instance_options(),
            )
        self.global_cluster: aws.rds.GlobalCluster | None = None
        self.secondaries: list[aws.rds.Cluster] = []
        if environment.secondary_regions:
            self.global_cluster = aws.rds.GlobalCluster(
                "global",
                global_cluster_identifier=f"{stack.cluster_identifier}-global",
                source_db_cluster_identifier=primary.cluster.arn,
                force_destroy=True,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    ignore_changes=["engineVersion", "sourceDbClusterIdentifier"],
                    custom_timeouts=within(environment.cluster_timeout_minutes),
                ),
            )
            self.secondaries = [
                self._secondary(self.global_cluster, secondary)
                for secondary in environment.secondary_regions
            ]
        self.register_outputs({})

    def _instance_options(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(
            parent=self,
            ignore_changes=INSTANCE_IGNORES,
            custom_timeouts=within(self._stack.settings.environment.instance_timeout_minutes),
        )

    def _secondary(
        self, global_cluster: aws.rds.GlobalCluster, secondary: SecondaryRegion
    ) -> aws.rds.Cluster:
        stack, region = self._stack, secondary.region
        environment = stack.settings.environment
        name = f"{stack.cluster_identifier}-{region}"
        child = pulumi.ResourceOptions(parent=self)
        subnets = aws.rds.SubnetGroup(
            f"{region}-subnets",
            name=f"{name}-subnets",
            subnet_ids=secondary.subnet_ids,
            region=region,
            opts=child,
        )
        cluster = aws.rds.Cluster(
            f"{region}-cluster",
            cluster_identifier=name,
            engine=ENGINE,
            engine_version=global_cluster.engine_version,
            global_cluster_identifier=global_cluster.id,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=secondary.security_group_ids,
            storage_encrypted=True,
            kms_key_id=secondary.kms_key_arn or self._key_of_aws(region),
            source_region=stack.region,
            iam_database_authentication_enabled=stack.settings.iam_authentication or None,
            deletion_protection=environment.deletion_protection,
            skip_final_snapshot=True,
            apply_immediately=True,
            region=region,
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=SECONDARY_IGNORES,
                hooks=cluster_hooks(identifier=name, region=region),
                custom_timeouts=within(environment.cluster_timeout_minutes),
            ),
        )
        for number in range(1, secondary.instances + 1):
            aws.rds.ClusterInstance(
                f"{region}-instance-{number}",
                identifier=f"{name}-{number}",
                cluster_identifier=cluster.id,
                engine=ENGINE,
                instance_class=secondary.instance_class or environment.instance_class,
                apply_immediately=True,
                region=region,
                opts=self._instance_options(),
            )
        return cluster

    def _key_of_aws(self, region: str) -> pulumi.Output[str]:
        """Return the key that AWS keeps for RDS in a Region: an encrypted secondary must name one.

        Not looked up before the primary is declared: an error of what comes first is then the only
        one that the user reads.
        """
        alias = self._primary.cluster.cluster_identifier.apply(lambda _: "alias/aws/rds")
        return aws.kms.get_key_output(key_id=alias, region=region).arn
