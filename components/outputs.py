"""What the other stack, the command line and people may know of this environment."""

from __future__ import annotations

import pulumi

from bluegreen.stack_outputs import FORMAT, StackOutputs
from components.global_database import GlobalDatabase
from components.primary import Primary
from components.replication import Replication
from components.stack import Stack
from dynamic_providers.deployment import Deployment


def export(
    stack: Stack,
    primary: Primary,
    replication: Replication,
    global_database: GlobalDatabase,
    deployment: Deployment,
) -> None:
    """Export the stack's outputs; nothing else is used across stacks."""
    settings, cluster = stack.settings, primary.cluster
    dns = settings.dns
    values = {
        "cluster_identifier": cluster.cluster_identifier,
        "cluster_arn": cluster.arn,
        "cluster_resource_id": cluster.cluster_resource_id,
        "region": stack.region,
        "endpoint": cluster.endpoint,
        "reader_endpoint": cluster.reader_endpoint,
        "port": cluster.port,
        "engine_version": replication.upgrade.engine_version_actual,
        "databases": stack.databases,
        "global_cluster_identifier": global_database.global_cluster.id
        if global_database.global_cluster
        else "",
        "secondaries": [secondary.arn for secondary in global_database.secondaries],
        "credentials": stack.credentials,
        "records": {"writer": dns.writer, "reader": dns.reader or ""} if dns else {},
        "state": deployment.state,
        "switch": replication.declared_switch,
        "format": FORMAT,
    }
    for name in StackOutputs.model_fields:
        pulumi.export(name, values[name])
