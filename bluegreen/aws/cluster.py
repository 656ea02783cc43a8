"""Clusters as AWS describes them: find one, wait until it is available.

A cluster counts as gone only when AWS says so, asked in the cluster's own account; anything else
that goes wrong is an error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from bluegreen.aws import account as accounts
from bluegreen.aws.clients import client
from bluegreen.aws.errors import asking, code_of, explained
from bluegreen.errors import Refused, Retry
from bluegreen.polling import poll_until

log = logging.getLogger(__name__)

Report = Callable[[str], None]

AVAILABLE = "available"

# Waiting never turns these into `available`: an operator has to act.
_HOPELESS = frozenset(
    {
        "cloning-failed",
        "deleting",
        "failed",
        "inaccessible-encryption-credentials",
        "inaccessible-encryption-credentials-recoverable",
        "incompatible-network",
        "incompatible-parameters",
        "incompatible-restore",
        "migration-failed",
        "restore-error",
        "stopped",
        "stopping",
        "storage-full",
    }
)

# In these nobody is served either, for now. In all others clients are, or may be: while AWS backs
# up, modifies, patches, fails over; what the server itself says is asked of it.
_NOT_SERVING = _HOPELESS | {"creating", "migrating", "preparing-data-migration", "starting"}

_STILL_REPORTED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of a cluster, as the cluster lists it."""

    identifier: str
    is_writer: bool
    parameter_group_status: str
    """State of the *cluster* parameter group: `in-sync`, `applying`, or `pending-reboot`."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One Aurora cluster, as DescribeDBClusters returned it at one moment."""

    identifier: str
    arn: str
    resource_id: str
    """Identifies this very cluster: one that is recreated under the same name has another."""
    region: str
    status: str
    engine: str
    endpoint: str
    reader_endpoint: str
    port: int
    engine_version: str
    pending_engine_version: str | None
    clone_group_id: str | None
    """Shared by a cluster and its copy-on-write clones."""
    members: tuple[Member, ...]
    parameter_group: str
    deletion_protection: bool
    created_at: datetime
    global_cluster: str | None
    """The global database that it is a member of: identifier or ARN, as AWS gives it."""
    iam_authentication: bool = False
    """Whether database users may log in by a token of IAM."""

    @property
    def account(self) -> str | None:
        """The account that it is in."""
        return accounts.account_of(self.arn)

    @property
    def writer(self) -> Member | None:
        """The instance that accepts writes; None before it is made, or during a failover."""
        return next((member for member in self.members if member.is_writer), None)

    @property
    def serves(self) -> bool:
        """Whether AWS lets clients reach the cluster, as far as its status tells."""
        return self.status not in _NOT_SERVING

    @property
    def parameter_group_status(self) -> str:
        """The state of the cluster parameter group on the writer; empty without a writer."""
        return self.writer.parameter_group_status if self.writer else ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance, as DescribeDBInstances returned it."""

    identifier: str
    status: str
    parameter_groups: tuple[str, ...]


def find(region: str, identifier: str, *, account: str | None = None) -> Cluster | None:
    """Return the cluster, or None when AWS says that there is none of this name.

    Raises `Refused` or `Retry` when AWS gives no answer, and `Refused` when it was asked in another
    account than `account`, where one is known: neither is "gone".
    """
    what = f"cluster {identifier} in {region}"
    try:
        answer = client("rds", region).describe_db_clusters(DBClusterIdentifier=identifier)
    except ClientError as error:
        if code_of(error) == "DBClusterNotFoundFault":
            accounts.require(what, region, account)
            return None
        raise explained(error, _describing(region, identifier)) from None
    except BotoCoreError as error:
        raise explained(error, _describing(region, identifier)) from None
    found = _cluster(answer["DBClusters"][0], region)
    # Another account may have a cluster of that name too.
    reason = accounts.problem(found.account, account) if found.account else None
    if reason is not None:
        raise Refused(f"{what}: {reason}")
    return found


def get(region: str, identifier: str, *, account: str | None = None) -> Cluster:
    """Return the cluster; raises `Refused` when there is none of this name, and as `find` does."""
    found = find(region, identifier, account=account)
    if found is None:
        raise Refused(
            f"cluster {identifier}: not found in {region}; check its identifier and its Region"
        )
    return found


def lineage(region: str, clone_group_id: str) -> list[str]:
    """Return the clusters of a Region that share their storage: a source and its clones."""
    found = []
    with asking(f"clusters in {region}: DescribeDBClusters"):
        for page in client("rds", region).get_paginator("describe_db_clusters").paginate():
            found += [
                one["DBClusterIdentifier"]
                for one in page["DBClusters"]
                if one.get("CloneGroupId") == clone_group_id
            ]
    return sorted(found)


def get_instance(region: str, identifier: str) -> Instance:
    """Return an instance; raises `Refused` when there is none of this name."""
    with asking(f"instance {identifier} in {region}: DescribeDBInstances"):
        answer = client("rds", region).describe_db_instances(DBInstanceIdentifier=identifier)
    found = answer["DBInstances"][0]
    return Instance(
        identifier=found["DBInstanceIdentifier"],
        status=found["DBInstanceStatus"],
        parameter_groups=tuple(
            group["DBParameterGroupName"] for group in found.get("DBParameterGroups", ())
        ),
    )


def wait_until(
    region: str,
    identifier: str,
    done: Callable[[Cluster], bool],
    *,
    deadline: float,
    report: Report,
    awaited: str,
    account: str | None = None,
) -> Cluster:
    """Return the cluster as soon as it and its writer are available and `done` holds.

    `done` gets every description, whatever the status, and may raise to end the wait. `deadline`
    is in seconds of `time.monotonic()`. Raises `Refused` when AWS reports a state that waiting
    won't fix, `Retry` when the deadline passes first.
    """
    seen = ""
    reported_at = started = time.monotonic()
    for _ in poll_until(deadline):
        try:
            found = get(region, identifier, account=account)
            status = _status(found)
        except Retry as error:  # an hour's wait must survive a moment without AWS
            log.debug("%s", error)
            continue
        if done(found) and status == AVAILABLE:
            return found
        hopeless = status.rpartition(" ")[2]
        if hopeless in _HOPELESS:
            raise Refused(
                f"cluster {identifier}: is {status}, expected {awaited}; fix it in AWS and go on"
            )
        now = time.monotonic()
        if status != seen or now - reported_at >= _STILL_REPORTED_SECONDS:
            report(f"cluster {identifier}: {status}, waiting for {awaited} ({now - started:.0f} s)")
            seen, reported_at = status, now
    raise Retry(
        f"cluster {identifier}: still {seen or 'out of reach'} after "
        f"{time.monotonic() - started:.0f} s, expected {awaited}; try again"
    )


def wait_until_available(
    region: str,
    identifier: str,
    *,
    deadline: float,
    report: Report = log.info,
    account: str | None = None,
) -> Cluster:
    """Return the cluster as soon as it and its writer are available; errors as `wait_until`."""
    return wait_until(
        region,
        identifier,
        lambda _: True,
        deadline=deadline,
        report=report,
        awaited=AVAILABLE,
        account=account,
    )


def _status(found: Cluster) -> str:
    """Return the cluster's status, or the writer's when only the writer isn't available."""
    if found.status != AVAILABLE or found.writer is None:
        return found.status
    writer = get_instance(found.region, found.writer.identifier)
    return AVAILABLE if writer.status == AVAILABLE else f"writer {writer.status}"


def _describing(region: str, identifier: str) -> str:
    return f"cluster {identifier} in {region}: DescribeDBClusters"


def _cluster(answer: dict[str, Any], region: str) -> Cluster:
    return Cluster(
        identifier=answer["DBClusterIdentifier"],
        arn=answer["DBClusterArn"],
        resource_id=answer["DbClusterResourceId"],
        region=region,
        status=answer["Status"],
        engine=answer["Engine"],
        # A cluster that is still being made has none.
        endpoint=answer.get("Endpoint") or "",
        reader_endpoint=answer.get("ReaderEndpoint") or "",
        port=int(answer.get("Port") or 5432),
        engine_version=answer["EngineVersion"],
        pending_engine_version=answer.get("PendingModifiedValues", {}).get("EngineVersion"),
        clone_group_id=answer.get("CloneGroupId"),
        members=tuple(
            Member(
                identifier=member["DBInstanceIdentifier"],
                is_writer=bool(member["IsClusterWriter"]),
                parameter_group_status=member.get("DBClusterParameterGroupStatus", ""),
            )
            for member in answer.get("DBClusterMembers", ())
        ),
        parameter_group=answer.get("DBClusterParameterGroup", ""),
        deletion_protection=bool(answer.get("DeletionProtection", False)),
        created_at=answer["ClusterCreateTime"],
        global_cluster=answer.get("GlobalClusterIdentifier") or None,
        iam_authentication=bool(answer.get("IAMDatabaseAuthenticationEnabled", False)),
    )
