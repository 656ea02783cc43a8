"""What the other stack, the command line and people may know of this environment."""

from __future__ import annotations

import pulumi

from components.global_database import GlobalDatabase
from components.primary import Primary
from components.source import FORMAT
from components.stack import Stack
from dynamic_providers.deployment import Deployment


def export(stack: Stack, primary: Primary, world: GlobalDatabase, deployment: Deployment) -> None:
    """Export the stack's outputs; nothing else is used across stacks."""
    settings, cluster = stack.settings, primary.cluster
    dns = settings.dns
    upgraded = settings.environment.engine_version
    for name, value in {
        "cluster_identifier": cluster.cluster_identifier,
        "cluster_arn": cluster.arn,
        "region": stack.region,
        "endpoint": cluster.endpoint,
        "reader_endpoint": cluster.reader_endpoint,
        "port": cluster.port,
        "engine_version": upgraded,
        "databases": stack.databases,
        "global_cluster_identifier": world.global_cluster.id if world.global_cluster else "",
        "secondaries": [secondary.arn for secondary in world.secondaries],
        "credentials": stack.credentials,
        "records": {"writer": dns.writer, "reader": dns.reader or ""} if dns else {},
        "state": deployment.state,
        "format": FORMAT,
    }.items():
        pulumi.export(name, value)
