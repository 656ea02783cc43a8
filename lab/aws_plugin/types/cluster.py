"""aws:rds/cluster:Cluster: made empty, as a clone, or as a secondary of a global database."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from lab.aws_plugin import rules
from lab.aws_plugin.errors import code, doing, message
from lab.aws_plugin.spec import Aws, Made, PluginError, Spec, names
from lab.aws_plugin.types import tagging
from lab.aws_plugin.values import Props, is_empty

# Property to request parameter.
_SENT = {
    "allowMajorVersionUpgrade": "AllowMajorVersionUpgrade",
    "availabilityZones": "AvailabilityZones",
    "backupRetentionPeriod": "BackupRetentionPeriod",
    "copyTagsToSnapshot": "CopyTagsToSnapshot",
    "databaseInsightsMode": "DatabaseInsightsMode",
    "databaseName": "DatabaseName",
    "dbClusterParameterGroupName": "DBClusterParameterGroupName",
    "dbInstanceParameterGroupName": "DBInstanceParameterGroupName",
    "dbSubnetGroupName": "DBSubnetGroupName",
    "deletionProtection": "DeletionProtection",
    "enableGlobalWriteForwarding": "EnableGlobalWriteForwarding",
    "enableHttpEndpoint": "EnableHttpEndpoint",
    "enableLocalWriteForwarding": "EnableLocalWriteForwarding",
    "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
    "engine": "Engine",
    "engineMode": "EngineMode",
    "engineVersion": "EngineVersion",
    "globalClusterIdentifier": "GlobalClusterIdentifier",
    "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
    "kmsKeyId": "KmsKeyId",
    "masterPassword": "MasterUserPassword",
    "masterUsername": "MasterUsername",
    "monitoringInterval": "MonitoringInterval",
    "monitoringRoleArn": "MonitoringRoleArn",
    "networkType": "NetworkType",
    "performanceInsightsEnabled": "EnablePerformanceInsights",
    "performanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
    "performanceInsightsRetentionPeriod": "PerformanceInsightsRetentionPeriod",
    "port": "Port",
    "preferredBackupWindow": "PreferredBackupWindow",
    "preferredMaintenanceWindow": "PreferredMaintenanceWindow",
    "storageEncrypted": "StorageEncrypted",
    "storageType": "StorageType",
    "vpcSecurityGroupIds": "VpcSecurityGroupIds",
}
_RESTORE = names(
    """copyTagsToSnapshot dbClusterParameterGroupName dbSubnetGroupName deletionProtection
    enabledCloudwatchLogsExports iamDatabaseAuthenticationEnabled kmsKeyId networkType port
    storageType vpcSecurityGroupIds"""
)
# A restore does not take these, so the official plugin sends them in a second request.
_AFTER_RESTORE = names(
    "backupRetentionPeriod masterPassword preferredBackupWindow preferredMaintenanceWindow"
)
_MODIFIED = names(
    """allowMajorVersionUpgrade backupRetentionPeriod copyTagsToSnapshot databaseInsightsMode
    dbClusterParameterGroupName dbInstanceParameterGroupName deletionProtection
    enableGlobalWriteForwarding enableLocalWriteForwarding engineVersion
    iamDatabaseAuthenticationEnabled masterPassword monitoringInterval monitoringRoleArn networkType
    performanceInsightsEnabled performanceInsightsKmsKeyId performanceInsightsRetentionPeriod port
    preferredBackupWindow preferredMaintenanceWindow storageType vpcSecurityGroupIds"""
)

# What goes on while the official plugin waits; any other status ends the wait at once. `promoting`
# is the lab's, where a secondary leaves a global database.
_PENDING = names(
    """backing-up configuring-enhanced-monitoring configuring-iam-database-auth creating migrating
    modifying preparing-data-migration promoting rebooting renaming resetting-master-credentials
    scaling-compute upgrading"""
)


class _Cluster:
    def create(self, aws: Aws, news: Props, made: Made) -> None:
        rds, identifier = aws.client("rds", news.get("region")), news["clusterIdentifier"]
        restore = news.get("restoreToPointInTime")
        common = {"DBClusterIdentifier": identifier, "Tags": tagging.as_list(news)}
        if restore:
            wanted = {
                "SourceDBClusterIdentifier": restore.get("sourceClusterIdentifier"),
                "SourceDbClusterResourceId": restore.get("sourceClusterResourceId"),
                "RestoreType": restore.get("restoreType"),
                "UseLatestRestorableTime": restore.get("useLatestRestorableTime"),
            }
            wanted = {key: value for key, value in wanted.items() if value}
            with doing(f"creating RDS Cluster (restore to point-in-time) ({identifier})"):
                rds.restore_db_cluster_to_point_in_time(
                    **common, **wanted, **_sent(news, _RESTORE & news.keys())
                )
        else:
            source = news.get("sourceRegion")
            with doing(f"creating RDS Cluster ({identifier})"):
                rds.create_db_cluster(
                    **common,
                    **_sent(news, _SENT.keys() & news.keys()),
                    **({"SourceRegion": source} if source else {}),
                )
        made(identifier)
        self._wait(aws, rds, identifier, "create")
        after = _sent(news, _AFTER_RESTORE & news.keys()) if restore else {}
        if after:
            self._modify(aws, rds, identifier, after, at_once=True)
            self._wait(aws, rds, identifier, "update")

    def read(self, aws: Aws, identity: str, known: Props) -> Props | None:
        rds = aws.client("rds", known.get("region"))
        try:
            found = rds.describe_db_clusters(DBClusterIdentifier=identity)["DBClusters"][0]
        except ClientError as error:
            if code(error) == "DBClusterNotFoundFault":
                return None
            raise
        wish = [{"Name": "db-cluster-id", "Values": [found["DBClusterArn"]]}]
        groups = rds.describe_global_clusters(Filters=wish)["GlobalClusters"]
        live = {
            "allocatedStorage": found.get("AllocatedStorage", 1),
            "arn": found["DBClusterArn"],
            "availabilityZones": found["AvailabilityZones"],
            "backupRetentionPeriod": found["BackupRetentionPeriod"],
            "clusterIdentifier": found["DBClusterIdentifier"],
            "clusterMembers": [m["DBInstanceIdentifier"] for m in found["DBClusterMembers"]],
            "clusterResourceId": found["DbClusterResourceId"],
            "copyTagsToSnapshot": bool(found.get("CopyTagsToSnapshot")),
            "databaseName": found.get("DatabaseName", ""),
            "dbClusterParameterGroupName": found["DBClusterParameterGroup"],
            "dbSubnetGroupName": found["DBSubnetGroup"],
            "deletionProtection": bool(found.get("DeletionProtection")),
            "enabledCloudwatchLogsExports": found.get("EnabledCloudwatchLogsExports", []),
            "endpoint": found["Endpoint"],
            "engine": found["Engine"],
            "engineMode": found["EngineMode"],
            "engineVersion": found["EngineVersion"],
            "engineVersionActual": found["EngineVersion"],
            "globalClusterIdentifier": groups[0]["GlobalClusterIdentifier"] if groups else "",
            "hostedZoneId": found["HostedZoneId"],
            "iamDatabaseAuthenticationEnabled": bool(found.get("IAMDatabaseAuthenticationEnabled")),
            "kmsKeyId": found.get("KmsKeyId") or "",
            "masterUsername": found.get("MasterUsername", ""),
            "networkType": found.get("NetworkType", ""),
            "port": found["Port"],
            "preferredBackupWindow": found["PreferredBackupWindow"],
            "preferredMaintenanceWindow": found["PreferredMaintenanceWindow"],
            "readerEndpoint": found["ReaderEndpoint"],
            "region": found["DBClusterArn"].split(":")[3],
            "storageEncrypted": bool(found.get("StorageEncrypted")),
            "storageType": found.get("StorageType") or "",
            "vpcSecurityGroupIds": [
                group["VpcSecurityGroupId"] for group in found.get("VpcSecurityGroups", [])
            ],
        }
        return live | tagging.as_map(aws, found.get("TagList", []), known)

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        changed = {
            name
            for name in _MODIFIED & news.keys()
            if news[name] != olds.get(name) and not (is_empty(news[name]) and not olds.get(name))
        }
        if changed - {"allowMajorVersionUpgrade"}:
            sent = _sent(news, changed)
            self._modify(aws, rds, identity, sent, at_once=bool(news.get("applyImmediately")))
            self._wait(aws, rds, identity, "update")
        self._leave(aws, rds, identity, olds, news)
        tagging.update(rds, olds.get("arn") or "", olds, news)

    def _modify(self, aws: Aws, rds: Any, identity: str, sent: Props, *, at_once: bool) -> None:
        with doing(f"updating RDS Cluster ({identity})"):
            aws.patiently(
                lambda: rds.modify_db_cluster(
                    DBClusterIdentifier=identity, ApplyImmediately=at_once, **sent
                ),
                lambda error: code(error) == "InvalidDBClusterStateFault",
                minutes=5,
            )

    def _leave(self, aws: Aws, rds: Any, identity: str, olds: Props, news: Props) -> None:
        """Leave a global cluster; a cluster that lives can't join one."""
        old, new = olds.get("globalClusterIdentifier"), news.get("globalClusterIdentifier")
        if (old or "") == (new or ""):
            return
        if not old:
            raise PluginError(
                "existing RDS Clusters cannot be added to an existing RDS Global Cluster"
            )
        if new:
            raise PluginError(
                "existing RDS Clusters cannot be migrated between existing RDS Global Clusters"
            )
        leave(rds, old, olds["arn"], identity)
        self._wait(aws, rds, identity, "update")

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        # By what the state says of it, not by what it has become since.
        group = olds.get("globalClusterIdentifier")
        if group and olds.get("arn") and leave(rds, group, olds["arn"], identity):
            self._wait(aws, rds, identity, "update")
        request: dict[str, Any] = {
            "SkipFinalSnapshot": bool(olds.get("skipFinalSnapshot")),
            "DeleteAutomatedBackups": bool(olds.get("deleteAutomatedBackups", True)),
        }
        if not request["SkipFinalSnapshot"]:
            final = olds.get("finalSnapshotIdentifier")
            if not final:
                raise PluginError(
                    "RDS Cluster final_snapshot_identifier is required when skip_final_snapshot is"
                    " false"
                )
            request["FinalDBSnapshotIdentifier"] = final
        try:
            aws.patiently(
                lambda: rds.delete_db_cluster(DBClusterIdentifier=identity, **request),
                _may_be_deleted_later,
                minutes=2,
            )
        except ClientError as error:
            if code(error) == "DBClusterNotFoundFault":
                return
            with doing(f"deleting RDS Cluster ({identity})"):
                raise
        aws.wait(f"RDS Cluster ({identity}) delete", lambda: self.read(aws, identity, olds) is None)

    def _wait(self, aws: Aws, rds: Any, identifier: str, what: str) -> None:
        def available() -> bool:
            found = rds.describe_db_clusters(DBClusterIdentifier=identifier)["DBClusters"][0]
            return settled(found["Status"], _PENDING, f"RDS Cluster ({identifier}) {what}")

        aws.wait(f"RDS Cluster ({identifier}) {what}", available)


def settled(status: str, pending: frozenset[str], what: str) -> bool:
    """Return whether a wait is over; raise where no waiting ends it well."""
    if status != "available" and status not in pending:
        raise PluginError(
            f"waiting for {what}: unexpected state '{status}', wanted target 'available'"
        )
    return status == "available"


def leave(rds: Any, group: str, arn: str, identity: str) -> bool:
    """Take a cluster out of its global cluster; return False for one that has left already."""
    try:
        rds.remove_from_global_cluster(GlobalClusterIdentifier=group, DbClusterIdentifier=arn)
    except ClientError as error:
        gone = code(error) == "GlobalClusterNotFoundFault"
        if gone or "is not found in global cluster" in message(error):
            return False
        with doing(f"removing RDS Cluster ({identity}) from RDS Global Cluster ({group})"):
            raise
    return True


def _may_be_deleted_later(error: Exception) -> bool:
    if code(error) == "InvalidParameterCombination":
        return "disable deletion protection" in message(error)
    # What leaves a global database is busy for a while.
    return code(error) == "InvalidDBClusterStateFault"


def _sent(props: Props, chosen: Any) -> dict[str, Any]:
    return {_SENT[name]: props[name] for name in sorted(chosen) if props[name] is not None}


SPEC = Spec(
    operations=_Cluster(),
    required=names("engine"),
    optional=(frozenset(_SENT) - {"engine"})
    | names(
        """applyImmediately caCertificateIdentifier clusterIdentifier clusterIdentifierPrefix
        deleteAutomatedBackups finalSnapshotIdentifier manageMasterUserPassword
        replicationSourceIdentifier restoreToPointInTime serverlessv2ScalingConfiguration
        skipFinalSnapshot snapshotIdentifier sourceRegion"""
    ),
    computed=names(
        """availabilityZones backupRetentionPeriod caCertificateIdentifier clusterIdentifier
        clusterIdentifierPrefix databaseInsightsMode databaseName dbClusterParameterGroupName
        dbSubnetGroupName engineVersion kmsKeyId masterUsername monitoringInterval networkType
        performanceInsightsKmsKeyId performanceInsightsRetentionPeriod port preferredBackupWindow
        preferredMaintenanceWindow storageEncrypted storageType vpcSecurityGroupIds"""
    ),
    outputs=names(
        """allocatedStorage arn clusterMembers clusterResourceId endpoint engineVersionActual
        hostedZoneId readerEndpoint"""
    ),
    replaces=names(
        """availabilityZones clusterIdentifier clusterIdentifierPrefix databaseName
        dbSubnetGroupName engine engineMode kmsKeyId masterUsername restoreToPointInTime
        snapshotIdentifier sourceRegion storageEncrypted"""
    ),
    sets=names("availabilityZones enabledCloudwatchLogsExports vpcSecurityGroupIds"),
    secrets=names("masterPassword"),
    defaults={"deleteAutomatedBackups": True, "engineMode": "provisioned"},
    imported={"skipFinalSnapshot": True},
    rules=(
        rules.engine,
        rules.identifier("clusterIdentifier"),
        rules.apart("clusterIdentifier", "clusterIdentifierPrefix"),
        rules.apart("manageMasterUserPassword", "masterPassword"),
        rules.snapshot_identifier("finalSnapshotIdentifier"),
        # guessed, as all bounds of numbers are
        rules.one_of(
            "engineMode", "global", "multimaster", "parallelquery", "provisioned", "serverless"
        ),
        rules.whole_number("backupRetentionPeriod", most=35),
        rules.whole_number("monitoringInterval"),
        rules.whole_number("port"),
    ),
)
