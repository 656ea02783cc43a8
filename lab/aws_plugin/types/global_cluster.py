"""aws:rds/globalCluster:GlobalCluster, of an existing cluster or empty."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from lab.aws_plugin import rules
from lab.aws_plugin.errors import code, doing
from lab.aws_plugin.spec import Aws, Made, Spec, names
from lab.aws_plugin.types import tagging
from lab.aws_plugin.types.cluster import leave
from lab.aws_plugin.values import Props

_SENT = {
    "databaseName": "DatabaseName",
    "deletionProtection": "DeletionProtection",
    "engine": "Engine",
    "engineVersion": "EngineVersion",
    "sourceDbClusterIdentifier": "SourceDBClusterIdentifier",
    "storageEncrypted": "StorageEncrypted",
}


class _GlobalCluster:
    def create(self, aws: Aws, news: Props, made: Made) -> None:
        identifier = news["globalClusterIdentifier"]
        chosen = _SENT.keys() & news.keys()
        with doing(f"creating RDS Global Cluster ({identifier})"):
            aws.client("rds", news.get("region")).create_global_cluster(
                GlobalClusterIdentifier=identifier,
                Tags=tagging.as_list(news),
                **{_SENT[name]: news[name] for name in sorted(chosen)},
            )
        made(identifier)

    def read(self, aws: Aws, identity: str, known: Props) -> Props | None:
        found = _find(aws.client("rds", known.get("region")), identity)
        if found is None:
            return None
        members = found["GlobalClusterMembers"]
        live = {
            "arn": found["GlobalClusterArn"],
            "databaseName": found.get("DatabaseName", ""),
            "deletionProtection": bool(found.get("DeletionProtection")),
            "endpoint": found.get("Endpoint", ""),
            "engine": found["Engine"],
            "engineVersion": found["EngineVersion"],
            "engineVersionActual": found["EngineVersion"],
            "globalClusterIdentifier": found["GlobalClusterIdentifier"],
            "globalClusterMembers": [
                {"dbClusterArn": m["DBClusterArn"], "isWriter": m["IsWriter"]} for m in members
            ],
            "globalClusterResourceId": found["GlobalClusterResourceId"],
            "sourceDbClusterIdentifier": known.get("sourceDbClusterIdentifier"),
            "storageEncrypted": bool(found.get("StorageEncrypted")),
        }
        return live | tagging.as_map(aws, found.get("TagList", []), known)

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        if bool(news.get("deletionProtection")) != bool(olds.get("deletionProtection")):
            with doing(f"updating RDS Global Cluster ({identity})"):
                rds.modify_global_cluster(
                    GlobalClusterIdentifier=identity,
                    DeletionProtection=bool(news.get("deletionProtection")),
                )
        tagging.update(rds, olds.get("arn") or "", olds, news)

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        if olds.get("forceDestroy"):
            # The members that the state knows, readers first: the primary can only leave an
            # otherwise empty global cluster.
            known = olds.get("globalClusterMembers") or []
            for member in sorted(known, key=lambda m: bool(m["isWriter"])):
                leave(rds, identity, member["dbClusterArn"], member["dbClusterArn"])
        try:
            rds.delete_global_cluster(GlobalClusterIdentifier=identity)
        except ClientError as error:
            if code(error) == "GlobalClusterNotFoundFault":
                return
            with doing(f"deleting RDS Global Cluster ({identity})"):
                raise
        aws.wait(f"RDS Global Cluster ({identity}) delete", lambda: _find(rds, identity) is None)


def _find(rds: Any, identity: str) -> Any:
    try:
        return rds.describe_global_clusters(GlobalClusterIdentifier=identity)["GlobalClusters"][0]
    except ClientError as error:
        if code(error) == "GlobalClusterNotFoundFault":
            return None
        raise


SPEC = Spec(
    operations=_GlobalCluster(),
    required=names("globalClusterIdentifier"),
    optional=frozenset(_SENT) | names("forceDestroy engineLifecycleSupport"),
    computed=names("databaseName engine engineVersion sourceDbClusterIdentifier storageEncrypted"),
    outputs=names("arn endpoint engineVersionActual globalClusterMembers globalClusterResourceId"),
    replaces=names(
        "databaseName engine globalClusterIdentifier sourceDbClusterIdentifier storageEncrypted"
    ),
    rules=(
        rules.with_all("sourceDbClusterIdentifier", "forceDestroy"),
        rules.apart("engine", "sourceDbClusterIdentifier"),
        rules.one_of("engine", "aurora", "aurora-mysql", "aurora-postgresql"),  # guessed
    ),
)
