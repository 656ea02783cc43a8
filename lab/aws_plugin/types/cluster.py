"""aws:rds/cluster:Cluster: made empty, as a clone, or as a secondary of a global database."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from lab.aws_plugin.clients import code
from lab.aws_plugin.spec import Aws, PluginError, Spec, names
from lab.aws_plugin.types import tagging
from lab.aws_plugin.values import Props, is_empty

# Property to request parameter.
_SENT = {
    "allowMajorVersionUpgrade": "AllowMajorVersionUpgrade",
    "availabilityZones": "AvailabilityZones",
    "backupRetentionPeriod": "BackupRetentionPeriod",
    "copyTagsToSnapshot": "CopyTagsToSnapshot",
    "databaseName": "DatabaseName",
    "dbClusterParameterGroupName": "DBClusterParameterGroupName",
    "dbInstanceParameterGroupName": "DBInstanceParameterGroupName",
    "dbSubnetGroupName": "DBSubnetGroupName",
    "deletionProtection": "DeletionProtection",
    "enableGlobalWriteForwarding": "EnableGlobalWriteForwarding",
    "enabledCloudwatchLogsExports": "EnableCloudwatchLogsExports",
    "engine": "Engine",
    "engineMode": "EngineMode",
    "engineVersion": "EngineVersion",
    "globalClusterIdentifier": "GlobalClusterIdentifier",
    "iamDatabaseAuthenticationEnabled": "EnableIAMDatabaseAuthentication",
    "kmsKeyId": "KmsKeyId",
    "masterPassword": "MasterUserPassword",
    "masterUsername": "MasterUsername",
    "port": "Port",
    "preferredBackupWindow": "PreferredBackupWindow",
    "preferredMaintenanceWindow": "PreferredMaintenanceWindow",
    "storageEncrypted": "StorageEncrypted",
    "storageType": "StorageType",
    "vpcSecurityGroupIds": "VpcSecurityGroupIds",
}
_RESTORE = names(
    """copyTagsToSnapshot dbClusterParameterGroupName dbSubnetGroupName deletionProtection
    enabledCloudwatchLogsExports iamDatabaseAuthenticationEnabled kmsKeyId port storageType
    vpcSecurityGroupIds"""
)
# A restore does not take these, so the official plugin sends them in a second request.
_AFTER_RESTORE = names(
    "backupRetentionPeriod masterPassword preferredBackupWindow preferredMaintenanceWindow"
)
_MODIFIED = names(
    """allowMajorVersionUpgrade backupRetentionPeriod copyTagsToSnapshot
    dbClusterParameterGroupName dbInstanceParameterGroupName deletionProtection
    enableGlobalWriteForwarding engineVersion iamDatabaseAuthenticationEnabled masterPassword port
    preferredBackupWindow preferredMaintenanceWindow storageType vpcSecurityGroupIds"""
)


class _Cluster:
    def create(self, aws: Aws, news: Props) -> str:
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
            rds.restore_db_cluster_to_point_in_time(
                **common, **wanted, **_sent(news, _RESTORE & news.keys())
            )
            self._wait(aws, rds, identifier)
            after = _sent(news, _AFTER_RESTORE & news.keys())
            if after:
                rds.modify_db_cluster(
                    DBClusterIdentifier=identifier, ApplyImmediately=True, **after
                )
        else:
            source = news.get("sourceRegion")
            rds.create_db_cluster(
                **common,
                **_sent(news, _SENT.keys() & news.keys()),
                **({"SourceRegion": source} if source else {}),
            )
        self._wait(aws, rds, identifier)
        return str(identifier)

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
        return live | tagging.as_map(found.get("TagList", []))

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        group = olds.get("globalClusterIdentifier")
        if group and not news.get("globalClusterIdentifier"):
            rds.remove_from_global_cluster(
                GlobalClusterIdentifier=group, DbClusterIdentifier=olds["arn"]
            )
        changed = {
            name
            for name in _MODIFIED & news.keys()
            if news[name] != olds.get(name) and not (is_empty(news[name]) and name not in olds)
        }
        if changed - {"allowMajorVersionUpgrade"}:
            rds.modify_db_cluster(
                DBClusterIdentifier=identity,
                ApplyImmediately=bool(news.get("applyImmediately")),
                **_sent(news, changed),
            )
            self._wait(aws, rds, identity)
        tagging.update(rds, olds["arn"], olds, news)

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        final = olds.get("finalSnapshotIdentifier")
        if not olds.get("skipFinalSnapshot") and not final:
            raise PluginError(
                "RDS Cluster final_snapshot_identifier is required when skip_final_snapshot is"
                " false"
            )
        live = self.read(aws, identity, olds)
        if live is None:
            return
        if live["globalClusterIdentifier"]:
            rds.remove_from_global_cluster(
                GlobalClusterIdentifier=live["globalClusterIdentifier"],
                DbClusterIdentifier=live["arn"],
            )
            self._wait(aws, rds, identity)
        request: dict[str, Any] = {
            "SkipFinalSnapshot": bool(olds.get("skipFinalSnapshot")),
            "DeleteAutomatedBackups": bool(olds.get("deleteAutomatedBackups", True)),
        }
        if not request["SkipFinalSnapshot"]:
            request["FinalDBSnapshotIdentifier"] = final
        try:
            rds.delete_db_cluster(DBClusterIdentifier=identity, **request)
        except ClientError as error:
            if code(error) == "DBClusterNotFoundFault":
                return
            raise PluginError(f"deleting RDS Cluster ({identity}): {error}") from None
        aws.wait(f"RDS Cluster ({identity}) delete", lambda: self.read(aws, identity, olds) is None)

    def _wait(self, aws: Aws, rds: Any, identifier: str) -> None:
        def available() -> bool:
            found = rds.describe_db_clusters(DBClusterIdentifier=identifier)["DBClusters"][0]
            if found["Status"] == "failed":
                raise PluginError(
                    f"waiting for RDS Cluster ({identifier}): unexpected state 'failed', wanted"
                    " target 'available'"
                )
            return bool(found["Status"] == "available")

        aws.wait(f"RDS Cluster ({identifier}) to be available", available)


def _sent(props: Props, chosen: Any) -> dict[str, Any]:
    return {_SENT[name]: props[name] for name in sorted(chosen) if props[name] is not None}


SPEC = Spec(
    operations=_Cluster(),
    optional=frozenset(_SENT)
    | names(
        """applyImmediately clusterIdentifier deleteAutomatedBackups finalSnapshotIdentifier
        performanceInsightsEnabled replicationSourceIdentifier restoreToPointInTime
        serverlessv2ScalingConfiguration skipFinalSnapshot snapshotIdentifier sourceRegion"""
    ),
    computed=names(
        """availabilityZones backupRetentionPeriod clusterIdentifier databaseName
        dbClusterParameterGroupName dbSubnetGroupName engineVersion kmsKeyId masterUsername port
        preferredBackupWindow preferredMaintenanceWindow storageEncrypted storageType
        vpcSecurityGroupIds"""
    ),
    outputs=names(
        """allocatedStorage arn clusterMembers clusterResourceId endpoint engineVersionActual
        hostedZoneId readerEndpoint"""
    ),
    replaces=names(
        """availabilityZones clusterIdentifier databaseName dbSubnetGroupName engine engineMode
        kmsKeyId masterUsername restoreToPointInTime snapshotIdentifier sourceRegion
        storageEncrypted"""
    ),
    sets=names("availabilityZones enabledCloudwatchLogsExports vpcSecurityGroupIds"),
    secrets=names("masterPassword"),
    defaults={"deleteAutomatedBackups": True, "engineMode": "provisioned"},
)
