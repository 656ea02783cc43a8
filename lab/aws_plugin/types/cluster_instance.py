"""aws:rds/clusterInstance:ClusterInstance."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from lab.aws_plugin.clients import code
from lab.aws_plugin.spec import Aws, Spec, names
from lab.aws_plugin.types import tagging
from lab.aws_plugin.values import Props

_SENT = {
    "autoMinorVersionUpgrade": "AutoMinorVersionUpgrade",
    "availabilityZone": "AvailabilityZone",
    "caCertIdentifier": "CACertificateIdentifier",
    "clusterIdentifier": "DBClusterIdentifier",
    "dbParameterGroupName": "DBParameterGroupName",
    "dbSubnetGroupName": "DBSubnetGroupName",
    "engine": "Engine",
    "engineVersion": "EngineVersion",
    "instanceClass": "DBInstanceClass",
    "monitoringInterval": "MonitoringInterval",
    "performanceInsightsEnabled": "EnablePerformanceInsights",
    "preferredMaintenanceWindow": "PreferredMaintenanceWindow",
    "promotionTier": "PromotionTier",
    "publiclyAccessible": "PubliclyAccessible",
}
_MODIFIED = names(
    """autoMinorVersionUpgrade caCertIdentifier dbParameterGroupName instanceClass
    monitoringInterval performanceInsightsEnabled preferredMaintenanceWindow promotionTier
    publiclyAccessible"""
)


class _Instance:
    def create(self, aws: Aws, news: Props) -> str:
        rds, identifier = aws.client("rds", news.get("region")), news["identifier"]
        # The version is the cluster's; the API takes it only for other engines.
        chosen = (_SENT.keys() & news.keys()) - {"engineVersion"}
        rds.create_db_instance(
            DBInstanceIdentifier=identifier,
            Tags=tagging.as_list(news),
            **({"PromotionTier": 0} | {_SENT[name]: news[name] for name in sorted(chosen)}),
        )
        self._wait(aws, rds, identifier)
        return str(identifier)

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
            "port": found["Endpoint"]["Port"],
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
        return live | tagging.as_map(found.get("TagList", []))

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        changed = [n for n in sorted(_MODIFIED & news.keys()) if news[n] != olds.get(n)]
        if changed:
            rds.modify_db_instance(
                DBInstanceIdentifier=identity,
                ApplyImmediately=bool(news.get("applyImmediately")),
                **{_SENT[name]: news[name] for name in changed},
            )
            self._wait(aws, rds, identity)
        tagging.update(rds, olds["arn"], olds, news)

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        if self.read(aws, identity, olds) is None:
            return
        rds.delete_db_instance(DBInstanceIdentifier=identity, SkipFinalSnapshot=True)
        aws.wait(
            f"RDS Cluster Instance ({identity}) delete",
            lambda: self.read(aws, identity, olds) is None,
        )

    def _wait(self, aws: Aws, rds: Any, identifier: str) -> None:
        def available() -> bool:
            found = rds.describe_db_instances(DBInstanceIdentifier=identifier)["DBInstances"][0]
            return bool(found["DBInstanceStatus"] == "available")

        aws.wait(f"RDS Cluster Instance ({identifier}) to be available", available)


SPEC = Spec(
    operations=_Instance(),
    required=names("clusterIdentifier engine instanceClass"),
    optional=(frozenset(_SENT) | names("applyImmediately forceDestroy identifier"))
    - names("clusterIdentifier engine instanceClass"),
    computed=names(
        """availabilityZone caCertIdentifier dbParameterGroupName dbSubnetGroupName engineVersion
        identifier monitoringInterval preferredMaintenanceWindow publiclyAccessible"""
    ),
    outputs=names("arn dbiResourceId endpoint engineVersionActual port storageEncrypted writer"),
    replaces=names("availabilityZone clusterIdentifier dbSubnetGroupName engine identifier"),
    defaults={"autoMinorVersionUpgrade": True},
)
