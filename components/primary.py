"""The environment's cluster in its primary Region, with its writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pulumi
import pulumi_aws as aws

from bluegreen.aws.account import account_of
from components.parameter_groups import ParameterGroups
from components.parameters import family_of
from components.source import Source
from components.stack import Stack, within
from dynamic_providers.parameter_apply import ParameterApply
from hooks import cluster_hooks

ENGINE = aws.rds.EngineType.AURORA_POSTGRESQL

# The same in every life of a stack, whether or not it has a source: what a clone is made with, what
# the global database fills in, and what EngineUpgrade and ParameterApply bring about on the living
# cluster. A difference there would replace or restart production.
CLUSTER_IGNORES = [
    "restoreToPointInTime",
    "globalClusterIdentifier",
    "engineVersion",
    "dbClusterParameterGroupName",
    "dbInstanceParameterGroupName",
    # Both are as they were when the cluster was made: another name for each life of it.
    "finalSnapshotIdentifier",
    "deleteAutomatedBackups",
    # Of a cluster that is there these only could replace it: another order of `databases`, another
    # user in the secret, another key.
    "databaseName",
    "masterUsername",
    "kmsKeyId",
    "storageEncrypted",
]
INSTANCE_IGNORES = ["engineVersion", "dbParameterGroupName"]


class Primary(pulumi.ComponentResource):
    """The cluster, made empty or as a clone, and the writer instance."""

    def __init__(
        self,
        stack: Stack,
        groups: ParameterGroups,
        source: Source | None,
        after: Sequence[pulumi.Resource],
    ) -> None:
        super().__init__(
            "bluegreen:index:Primary",
            "primary",
            opts=pulumi.ResourceOptions(depends_on=list(after)),
        )
        environment = stack.settings.environment
        name = stack.cluster_identifier
        child = pulumi.ResourceOptions(parent=self)
        self.subnets = aws.rds.SubnetGroup(
            "subnets", name=f"{name}-subnets", subnet_ids=environment.subnet_ids, opts=child
        )
        username, password = _master_login(stack, source)
        self.cluster = aws.rds.Cluster(
            "cluster",
            cluster_identifier=name,
            engine=ENGINE,
            engine_version=environment.engine_version if source is None else source.engine_version,
            database_name=environment.databases[0],
            master_username=username,
            master_password=password,
            db_subnet_group_name=self.subnets.name,
            vpc_security_group_ids=environment.security_group_ids,
            db_cluster_parameter_group_name=groups.first,
            backup_retention_period=environment.backup_retention_days,
            storage_encrypted=True,
            kms_key_id=environment.kms_key_arn,
            copy_tags_to_snapshot=True,
            iam_database_authentication_enabled=stack.settings.iam_authentication or None,
            deletion_protection=environment.deletion_protection,
            skip_final_snapshot=not environment.final_snapshot,
            final_snapshot_identifier=final_snapshot(name, datetime.now(UTC)),
            delete_automated_backups=False,
            apply_immediately=True,
            restore_to_point_in_time=_restore(source),
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=CLUSTER_IGNORES,
                hooks=cluster_hooks(identifier=name, region=stack.region),
                custom_timeouts=within(environment.cluster_timeout_minutes),
            ),
        )
        self.writer = aws.rds.ClusterInstance(
            "writer",
            identifier=f"{name}-1",
            cluster_identifier=self.cluster.id,
            engine=ENGINE,
            instance_class=environment.instance_class,
            db_parameter_group_name=groups.instance.name if source is None else None,
            promotion_tier=0,
            apply_immediately=True,
            opts=pulumi.ResourceOptions(
                parent=self,
                ignore_changes=INSTANCE_IGNORES,
                custom_timeouts=within(environment.instance_timeout_minutes),
            ),
        )
        self.server: pulumi.Output[Mapping[str, Any]] = pulumi.Output.from_input(
            {
                "cluster": name,
                "region": stack.region,
                "host": self.cluster.endpoint,
                "port": self.cluster.port,
                "credentials": stack.credentials,
                "account": self.cluster.arn.apply(account_of),
            }
        )
        self._stack, self._source, self._groups = stack, source, groups
        self.register_outputs({})

    def apply_parameters(self, after: Sequence[pulumi.Resource]) -> ParameterApply:
        """Declare that static parameters are in force; of a clone once its LSN has been read.

        A clone that is closed serves nobody and may be restarted: its parameter group was
        made seconds before it, and AWS asks for minutes before the first use of one.
        """
        groups, source, settings = self._groups, self._source, self._stack.settings
        # What only the target's version knows comes into force with a clone's upgrade.
        static: pulumi.Input[Mapping[str, str]] = groups.parameters.static()
        if source is not None:
            static = source.engine_version.apply(
                lambda version: groups.parameters.static_of(family_of(version))
            )
        return ParameterApply(
            "parameters",
            server=self.server,
            parameters=static,
            allow_reboot=settings.environment.allow_reboot,
            standby_databases=[] if source is None else self._stack.databases,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )


def final_snapshot(cluster: str, made_at: datetime) -> str:
    """Return the name of the last snapshot: AWS takes each once, so every life has another."""
    suffix = f"-final-{made_at:%Y%m%d-%H%M%S}"
    return cluster[: 63 - len(suffix)].rstrip("-") + suffix  # AWS takes no longer one


def _restore(source: Source | None) -> aws.rds.ClusterRestoreToPointInTimeArgs | None:
    """Return what makes the cluster a copy-on-write clone of the source."""
    if source is None:
        return None
    return aws.rds.ClusterRestoreToPointInTimeArgs(
        source_cluster_identifier=source.cluster_identifier,
        restore_type="copy-on-write",
        use_latest_restorable_time=True,
    )


def _master_login(
    stack: Stack, source: Source | None
) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
    """Return the master user's name and password from the admin secret; encrypted in the state."""
    arn = pulumi.Output.from_input(stack.settings.credentials.admin_secret_arn)
    if source is not None:
        # Not before the source is known to be there: the engine cuts off a call that is under way
        # when it refuses a stack reference, and the user would read about that instead.
        wanted = arn
        arn = source.server.apply(lambda _: wanted)
    version = aws.secretsmanager.get_secret_version_output(secret_id=arn)
    login = pulumi.Output.json_loads(pulumi.Output.secret(version.secret_string))
    username = pulumi.Output.unsecret(login.apply(lambda found: str(found["username"])))
    return username, login.apply(lambda found: str(found["password"]))
