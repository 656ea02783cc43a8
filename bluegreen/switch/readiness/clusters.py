"""Both clusters as AWS describes them: what is kept by cluster there, and doesn't move with it."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen.aws.cluster import Cluster
from bluegreen.errors import BlueGreenError
from bluegreen.finding import Finding, Level
from bluegreen.postgres.server import Server


def findings(old: Server, new: Server) -> list[Finding]:
    """Return what is to be known of two clusters before the writer moves from `old` to `new`."""
    try:
        sides = old.get_cluster(), new.get_cluster()
    except BlueGreenError as error:
        # What a switch needs is asked of the servers; the rest of the report stands.
        return [Finding(Level.WARN, "clusters in AWS", f"could not be looked at: {error}")]
    return list(judge(*sides))


def judge(old: Cluster, new: Cluster) -> Iterator[Finding]:
    """Judge what differs between the clusters in AWS."""
    yield Finding(
        Level.OK,
        "id in AWS",
        f"{new.resource_id} instead of {old.resource_id}: alarms, backup plans, filters of logs and"
        " IAM policies that name the old one don't know the new one",
    )
    subject = "logins by IAM tokens"
    if not old.iam_authentication:
        yield Finding(Level.OK, subject, f"off on {old.identifier}")
    elif not new.iam_authentication:
        yield Finding(
            Level.BLOCK,
            subject,
            f"on for {old.identifier}, off for {new.identifier}, which would refuse them",
            "set environment.iam_authentication to true in its stack, and run pulumi up",
        )
    else:
        yield Finding(
            Level.WARN,
            subject,
            f"policies can't be seen; those that allow rds-db:connect to {old.resource_id} say"
            f" nothing of {new.resource_id}",
            f"allow dbuser:{new.resource_id}/* too, before the switch",
        )
