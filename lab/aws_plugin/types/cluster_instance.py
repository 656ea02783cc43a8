"""aws:rds/clusterInstance:ClusterInstance."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from lab.aws_plugin import rules
from lab.aws_plugin.errors import code, doing
from lab.aws_plugin.spec import Aws, Made, Spec, names
from lab.aws_plugin.types import tagging
from lab.aws_plugin.types.cluster import settled
from lab.aws_plugin.values import Props

_SENT = {
    "autoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
    "availabilityZone": "AvailabilityZone",
    "caCertIdentifier": "CACertificateIdentifier",
    "clusterIdentifier": "DBClusterIdentifier",
    "copyTagsToSnapshot": "CopyTagsToSnapshot",
    "customIamInstanceProfile": "CustomIamInstanceProfile",
    "dbParameterGroupName": "DBParameterGroupName",
    "dbSubnetGroupName": "DBSubnetGroupName",
    "engine": "Engine",
    "engineVersion": "EngineVersion",
    "instanceClass": "DBInstanceClass",
    "monitoringInterval": "MonitoringInterval",
    "monitoringRoleArn": "MonitoringRoleArn",
    "performanceInsightsEnabled": "EnablePerformanceInsights",
    "performanceInsightsKmsKeyId": "PerformanceInsightsKMSKeyId",
    "performanceInsightsRetentionPeriod": "PerformanceInsightsRetentionPeriod",
    "preferredBackupWindow": "PreferredBackupWindow",
    "preferredMaintenanceWindow": "PreferredMaintenanceWindow",
    "promotionTier": "PromotionTier",
    "publiclyAccessible": "PubliclyAccessible",
}
_MODIFIED = names(
    """autoMinorVersionUpgrade caCertIdentifier copyTagsToSnapshot dbParameterGroupName
    instanceClass monitoringInterval monitoringRoleArn performanceInsightsEnabled
    performanceInsightsKmsKeyId performanceInsightsRetentionPeriod preferredBackupWindow
    preferredMaintenanceWindow promotionTier publiclyAccessible"""
)

# What goes on while the official plugin waits; any other status ends the wait at once.
_PENDING = names(
    """backing-up configuring-enhanced-monitoring configuring-iam-database-auth
    configuring-log-exports creating maintenance modifying rebooting renaming
    resetting-master-credentials starting stopping storage-config-upgrade storage-full
    storage-optimization upgrading"""
)


class _Instance:
    def create(self, aws: Aws, news: Props, made: Made) -> None:
        rds, identifier = aws.client("rds", news.get("region")), news["identifier"]
        # The version is the cluster's; the API takes it only for other engines.
        chosen = (_SENT.keys() & news.keys()) - {"engineVersion"}
        with doing(f"creating RDS Cluster Instance ({identifier})"):
            rds.create_db_instance(
                DBInstanceIdentifier=identifier,
                Tags=tagging.as_list(news),
                **({"PromotionTier": 0} | {_SENT[name]: news[name] for name in sorted(chosen)}),
            )
        made(identifier)
        self._wait(aws, rds, identifier, "create")

    def read(self, aws: Aws, identity: str, known: Props) -> Props | None:
        rds = aws.client("rds", known.get("region"))
        try:
            found = rds.describe_db_instances(DBInstanceIdentifier=identity)["DBInstances"][0]
        except ClientError as error:
            if code(error) in ("DBInstanceNotFound", "DBInstanceNotFoundFault"):
                return None
            raise
        cluster = rds.describe_db_clusters(DBClusterIdentifier=found["DBClusterIdentifier"])
        members = cluster["DBClusters"][0]["DBClusterMembers"]
        groups = found.get("DBParameterGroups") or [{}]
        live = {
            "arn": found["DBInstanceArn"],
            "autoMinorVersionUpgrade": bool(found.get("AutoMinorVersionUpgrade")),
            "availabilityZone": found.get("AvailabilityZone", ""),
            "caCertIdentifier": found.get("CACertificateIdentifier", ""),
            "clusterIdentifier": found["DBClusterIdentifier"],
            "dbParameterGroupName": groups[0].get("DBParameterGroupName", ""),
            "dbSubnetGroupName": found.get("DBSubnetGroup", {}).get("DBSubnetGroupName", ""),
            "dbiResourceId": found["DbiResourceId"],
            "endpoint": found["Endpoint"]["Address"],
            "engine": found["Engine"],
            "engineVersion": found["EngineVersion"],
            "engineVersionActual": found["EngineVersion"],
            "identifier": found["DBInstanceIdentifier"],
            "instanceClass": found["DBInstanceClass"],
            "networkType": found.get("NetworkType", ""),
            "port": found["Endpoint"]["Port"],
            "preferredBackupWindow": found.get("PreferredBackupWindow", ""),
            "preferredMaintenanceWindow": found.get("PreferredMaintenanceWindow", ""),
            "promotionTier": found.get("PromotionTier", 0),
            "publiclyAccessible": bool(found.get("PubliclyAccessible")),
            "region": found["DBInstanceArn"].split(":")[3],
            "storageEncrypted": bool(found.get("StorageEncrypted")),
            "writer": any(
                member["IsClusterWriter"]
                for member in members
                if member["DBInstanceIdentifier"] == identity
            ),
        }
        return live | tagging.as_map(aws, found.get("TagList", []), known)

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        changed = [n for n in sorted(_MODIFIED & news.keys()) if news[n] != olds.get(n)]
        if changed:
            with doing(f"updating RDS Cluster Instance ({identity})"):
                rds.modify_db_instance(
                    DBInstanceIdentifier=identity,
                    ApplyImmediately=bool(news.get("applyImmediately")),
                    **{_SENT[name]: news[name] for name in changed},
                )
            self._wait(aws, rds, identity, "update")
        tagging.update(rds, olds.get("arn") or "", olds, news)

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        if self.read(aws, identity, olds) is None:
            return
        with doing(f"deleting RDS Cluster Instance ({identity})"):
            rds.delete_db_instance(DBInstanceIdentifier=identity, SkipFinalSnapshot=True)
        aws.wait(
            f"RDS Cluster Instance ({identity}) delete",
            lambda: self.read(aws, identity, olds) is None,
        )

    def _wait(self, aws: Aws, rds: Any, identifier: str, what: str) -> None:
        def available() -> bool:
            found = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]
            about = f"RDS Cluster Instance ({identifier}) {what}"
            return settled(found["DBInstanceStatus"], _PENDING, about)

        aws.wait(f"RDS Cluster Instance ({identifier}) {what}", available)


SPEC = Spec(
    operations=_Instance(),
    required=names("clusterIdentifier engine instanceClass"),
    optional=(frozenset(_SENT) | names("applyImmediately forceDestroy identifier identifierPrefix"))
    - names("clusterIdentifier engine instanceClass"),
    computed=names(
        """availabilityZone caCertIdentifier dbParameterGroupName dbSubnetGroupName engineVersion
        identifier identifierPrefix monitoringInterval monitoringRoleArn performanceInsightsEnabled
        performanceInsightsKmsKeyId performanceInsightsRetentionPeriod preferredBackupWindow
        preferredMaintenanceWindow publiclyAccessible"""
    ),
    outputs=names(
        """arn dbiResourceId endpoint engineVersionActual networkType port storageEncrypted
        writer"""
    ),
    replaces=names(
        """availabilityZone clusterIdentifier customIamInstanceProfile dbSubnetGroupName engine
        identifier identifierPrefix"""
    ),
    defaults={"autoMinorVersionUpgrade": True},
    rules=(
        rules.engine,
        rules.identifier("identifier"),
        rules.apart("identifier", "identifierPrefix"),
        rules.whole_number("promotionTier", 0, 15),
        rules.one_of("monitoringInterval", 0, 1, 5, 10, 15, 30, 60),  # guessed
    ),
)
