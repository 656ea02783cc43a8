"""Bring a cluster to an engine version and its parameter groups, by the RDS API.

A clone always starts with its source's version, so an upgrade is a modification that follows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bluegreen.aws import cluster
from bluegreen.aws.clients import client
from bluegreen.aws.cluster import Cluster
from bluegreen.aws.errors import asking
from bluegreen.errors import Refused, Retry
from bluegreen.polling import poll_until
from bluegreen.postgres import versions
from bluegreen.postgres.server import Server
from bluegreen.register.writer import is_closed
from bluegreen.upgrade import aftercare, obstacles, parameters
from bluegreen.upgrade.engine_version import EngineVersion, UpgradeStep, require_target, step
from bluegreen.upgrade.parameters import AllowReboot

log = logging.getLogger(__name__)

# AWS may take some minutes from its answer to ModifyDBCluster to the status `upgrading`.
_GIVEN_UP_AFTER_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What a cluster is to run; the groups are of the desired version's family."""

    server: Server
    databases: tuple[str, ...]
    version: EngineVersion
    cluster_parameter_group: str | None
    instance_parameter_group: str | None
    allow_restart: AllowReboot | None = None
    """When an environment that serves may be restarted for it; None for a clone, which serves
    nobody yet."""


def ensure(desired: Upgrade, *, asked_before: EngineVersion | None, deadline: float) -> str:
    """Bring the cluster to the desired version and groups; return the version it runs.

    An environment that serves is only brought to another minor, at the time that is allowed, and a
    newer minor that AWS has brought stays. `deadline` is in seconds of `time.monotonic()`. It is
    safe to repeat after an interruption at any point: a running upgrade is waited for, and nothing
    is done twice. Raises `Refused` when the upgrade isn't possible or AWS gave it up, `Retry` when
    the deadline passes.
    """
    server = desired.server
    found = cluster.wait_until_available(
        server.region, server.cluster, deadline=deadline, account=server.account
    )
    have = EngineVersion.parse(found.engine_version)
    in_place = desired.allow_restart is not None
    if in_place and asked_before is None:
        asked_before = desired.version
    todo = step(server.cluster, have, desired.version, asked_before=asked_before)
    if todo is not UpgradeStep.NONE:
        if in_place and (reason := in_place_problem(found, desired, todo)):
            raise Refused(reason)
        _require_possible(found, have, desired, todo)
        if desired.allow_restart is AllowReboot.WINDOW:
            _leave_to_window(desired, found)
            return found.engine_version
        _upgrade_secondaries(desired, found, deadline)
        _modify(server.region, request(desired, todo))
        found = _wait_until_reached(found, desired.version, deadline)
        log.info("cluster %s: upgraded from %s to %s", server.cluster, have, found.engine_version)
    elif have > desired.version:
        log.warning(
            "cluster %s: runs %s, newer than %s as asked for; set environment.engine_version",
            server.cluster,
            have,
            desired.version,
        )
    if not in_place:  # one that serves was made with its groups
        _ensure_groups(desired, found, deadline)
    _wait_until_serving(desired, deadline)
    if not in_place and is_closed(server, desired.databases):
        _reboot_waiting(desired, deadline)
        _wait_until_serving(desired, deadline)
    # A closed environment is a clone that nobody uses yet: there this also completes an interrupted
    # run. One that serves is left as it is, unless this very run upgraded it.
    if todo is UpgradeStep.MAJOR or (not in_place and is_closed(server, desired.databases)):
        aftercare.finish(server, desired.databases)
    return found.engine_version


def request(desired: Upgrade, todo: UpgradeStep) -> dict[str, Any]:
    """Return the arguments of ModifyDBCluster that start the upgrade.

    AWS takes the instances' group only together with a major upgrade, and gives instances the
    default group of the new family when it is missing then.
    """
    arguments: dict[str, Any] = {
        "DBClusterIdentifier": desired.server.cluster,
        "EngineVersion": desired.version.text,
        "ApplyImmediately": True,
    }
    if todo is UpgradeStep.MAJOR:
        arguments["AllowMajorVersionUpgrade"] = True
        if desired.cluster_parameter_group:
            arguments["DBClusterParameterGroupName"] = desired.cluster_parameter_group
        if desired.instance_parameter_group:
            arguments["DBInstanceParameterGroupName"] = desired.instance_parameter_group
    return arguments


def in_place_problem(found: Cluster, desired: Upgrade, todo: UpgradeStep) -> str | None:
    """Return why an environment that serves isn't upgraded in place; None when it is."""
    what = f"cluster {found.identifier}: runs {found.engine_version}, expected {desired.version}"
    if todo is UpgradeStep.MAJOR:
        return (
            f"{what}, another major version: an upgrade in place would stop its clients for "
            "minutes; set environment.engine_version back, and stand a deployment up with this "
            "stack as source"
        )
    if desired.allow_restart is AllowReboot.NEVER:
        return (
            f"{what}; the upgrade restarts it: set environment.allow_reboot to now, or to window "
            "for its maintenance window"
        )
    if desired.allow_restart is AllowReboot.WINDOW and found.global_cluster:
        return (
            f"{what}; a global database is upgraded one Region after another: set "
            "environment.allow_reboot to now"
        )
    return None


def targets(found: Cluster) -> Mapping[str, bool]:
    """Return the versions that AWS upgrades the cluster to, and whether each is another major."""
    what = f"engine {found.engine} {found.engine_version}: DescribeDBEngineVersions"
    with asking(what):
        # A version that no new cluster can have is described on request only.
        answer = client("rds", found.region).describe_db_engine_versions(
            Engine=found.engine, EngineVersion=found.engine_version, IncludeAll=True
        )
    return {
        target["EngineVersion"]: bool(target.get("IsMajorVersionUpgrade"))
        for version in answer["DBEngineVersions"]
        for target in version.get("ValidUpgradeTarget", ())
    }


def require_reachable(found: Cluster, version: EngineVersion) -> None:
    """Raise `Refused` unless a clone of the cluster can be brought to `version` in one step."""
    have = EngineVersion.parse(found.engine_version)
    if step(found.identifier, have, version, asked_before=None) is not UpgradeStep.NONE:
        require_target(found.identifier, have, version, targets(found))


def _require_possible(
    found: Cluster, have: EngineVersion, desired: Upgrade, todo: UpgradeStep
) -> None:
    require_target(found.identifier, have, desired.version, targets(found))
    if todo is UpgradeStep.MINOR:
        return
    if found.global_cluster:
        raise Refused(
            f"cluster {found.identifier}: is a member of global database {found.global_cluster}, "
            "which AWS upgrades only as a whole; stand a deployment up with this stack as source"
        )
    obstacles.require_none(desired.server, desired.databases, to_major=desired.version.major)


def _leave_to_window(desired: Upgrade, found: Cluster) -> None:
    """Let AWS upgrade the cluster in its maintenance window."""
    if found.pending_engine_version != desired.version.text:
        _modify(found.region, request(desired, UpgradeStep.MINOR) | {"ApplyImmediately": False})
    log.warning(
        "cluster %s: runs %s until its maintenance window brings %s",
        found.identifier,
        found.engine_version,
        desired.version,
    )


def _upgrade_secondaries(desired: Upgrade, found: Cluster, deadline: float) -> None:
    """Bring the other Regions of a global database to the version: the primary comes last."""
    if not found.global_cluster:
        return
    with asking(f"global database {found.global_cluster}: DescribeGlobalClusters"):
        answer = client("rds", found.region).describe_global_clusters(
            GlobalClusterIdentifier=found.global_cluster.rpartition(":")[2]
        )
    for member in answer["GlobalClusters"][0].get("GlobalClusterMembers", ()):
        arn = member["DBClusterArn"]
        if arn == found.arn:
            continue
        region, identifier = arn.split(":")[3], arn.rpartition(":")[2]
        secondary = cluster.get(region, identifier, account=found.account)
        if EngineVersion.parse(secondary.engine_version) < desired.version:
            what = {"DBClusterIdentifier": identifier, "EngineVersion": desired.version.text}
            _modify(region, what | {"ApplyImmediately": True})
            _wait_until_reached(secondary, desired.version, deadline)


def _modify(region: str, arguments: Mapping[str, Any]) -> None:
    what = arguments["DBClusterIdentifier"]
    log.info("cluster %s: upgrade to %s begins", what, arguments["EngineVersion"])
    with asking(f"cluster {what}: ModifyDBCluster"):
        client("rds", region).modify_db_cluster(**arguments)


def _wait_until_reached(before: Cluster, version: EngineVersion, deadline: float) -> Cluster:
    """Return the cluster once it runs that version.

    When AWS gives an upgrade up, the cluster is `available` with the old version and nothing
    pending. Before the upgrade begins it looks the same, hence the long wait.
    """
    quiet_since: float | None = None

    def reached(now: Cluster) -> bool:
        nonlocal quiet_since
        if EngineVersion.parse(now.engine_version) >= version:
            return True
        if now.status != cluster.AVAILABLE or now.pending_engine_version is not None:
            quiet_since = None
            return False
        quiet_since = quiet_since or time.monotonic()
        if time.monotonic() - quiet_since > _GIVEN_UP_AFTER_SECONDS:
            raise Refused(
                f"cluster {before.identifier}: still {now.engine_version} and no upgrade pending, "
                f"expected {version}; AWS gave it up: see the cluster's events and "
                "pg_upgrade_precheck.log"
            )
        return False

    return cluster.wait_until(
        before.region,
        before.identifier,
        reached,
        deadline=deadline,
        report=log.info,
        awaited=f"version {version} instead of {before.engine_version}",
        account=before.account,
    )


def _ensure_groups(desired: Upgrade, found: Cluster, deadline: float) -> None:
    """Give cluster and instances the desired groups where they have others."""
    server, rds = desired.server, client("rds", found.region)
    group = desired.cluster_parameter_group
    if group and found.parameter_group != group:
        with asking(f"cluster {server.cluster}: ModifyDBCluster"):
            rds.modify_db_cluster(
                DBClusterIdentifier=server.cluster,
                DBClusterParameterGroupName=group,
                ApplyImmediately=True,
            )
        log.info("cluster %s: parameter group %s", server.cluster, group)
    if desired.instance_parameter_group:
        for member in found.members:
            have = cluster.get_instance(server.region, member.identifier).parameter_groups
            if have == (desired.instance_parameter_group,):
                continue
            with asking(f"instance {member.identifier}: ModifyDBInstance"):
                rds.modify_db_instance(
                    DBInstanceIdentifier=member.identifier,
                    DBParameterGroupName=desired.instance_parameter_group,
                    ApplyImmediately=True,
                )
            log.info(
                "instance %s: parameter group %s",
                member.identifier,
                desired.instance_parameter_group,
            )
    cluster.wait_until_available(
        server.region, server.cluster, deadline=deadline, account=server.account
    )


def _reboot_waiting(desired: Upgrade, deadline: float) -> None:
    """Reboot a clone's instances that wait for it, one after the other: it serves nobody yet.

    It was made with a group that leaves out what must not run before it is closed
    (`clone_parameters`), and what is static in its own would wait for ever.
    """
    server = desired.server
    found = parameters.wait_until_applied(server, deadline)
    for member in found.members:
        if not parameters.waits(member.parameter_group_status):
            continue
        parameters.reboot_instance(server, member.identifier, deadline=deadline)
        cluster.wait_until(
            server.region,
            server.cluster,
            partial(_is_in_force, instance=member.identifier),
            deadline=deadline,
            report=log.info,
            awaited="parameter group in force",
            account=server.account,
        )


def _is_in_force(now: Cluster, *, instance: str) -> bool:
    return not any(
        one.identifier == instance and parameters.waits(one.parameter_group_status)
        for one in now.members
    )


def _wait_until_serving(desired: Upgrade, deadline: float) -> None:
    """Return once the server answers with at least the desired major version."""
    server = desired.server
    problem = ""
    for _ in poll_until(deadline):
        try:
            with server.connect("postgres") as conn:
                major = versions.major(conn)
        except Retry as error:
            problem = str(error)
            continue
        if major >= desired.version.major:
            return
        problem = f"cluster {server.cluster}: answers as {major}, expected {desired.version.major}"
    raise Retry(f"{problem}; try again")
