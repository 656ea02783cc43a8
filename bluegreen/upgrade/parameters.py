"""Static parameters: which ones aren't in force yet, and the reboot that applies them."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from psycopg.rows import class_row

from bluegreen.aws import cluster
from bluegreen.aws.clients import client
from bluegreen.aws.cluster import AVAILABLE, Cluster
from bluegreen.aws.errors import asking
from bluegreen.errors import Refused, Retry
from bluegreen.polling import poll_until
from bluegreen.postgres.server import Server
from bluegreen.register.writer import is_closed

log = logging.getLogger(__name__)


class AllowReboot(StrEnum):
    """When the instances may be rebooted for a parameter's sake."""

    NEVER = "never"
    WINDOW = "window"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter as the server has it in force."""

    name: str
    value: str
    kind: str
    """`bool`, `integer`, `real`, `string` or `enum`."""


@dataclass(frozen=True, slots=True)
class PendingParameter:
    """A parameter that isn't in force."""

    name: str
    found: str | None
    """None when the server doesn't know the parameter."""
    desired: str

    def __str__(self) -> str:
        return f"{self.name} is {self.found or 'unknown'}, expected {self.desired}"


# Values are in the same base units in `setting` and in a parameter group.
_SETTINGS = """
SELECT name, setting AS value, vartype AS kind FROM pg_catalog.pg_settings WHERE name = ANY (%s)
"""

_ON = frozenset({"1", "on", "true", "yes"})
_LOGICAL_REPLICATION = "rds.logical_replication"

# Places for replication: more than desired are room enough, and no reason for an outage. AWS and
# its operators raise them where others replicate too.
_SIZES = frozenset(
    {
        "max_active_replication_origins",
        "max_logical_replication_workers",
        "max_replication_slots",
        "max_wal_senders",
        "max_worker_processes",
    }
)


def in_force(server: Server, desired: Mapping[str, str]) -> dict[str, Setting]:
    """Return those of the desired parameters that the server knows, as they are in force now."""
    names = sorted({_server_name(name) for name in desired})
    with (
        server.connect("postgres") as conn,
        conn.cursor(row_factory=class_row(Setting)) as cursor,
    ):
        known = {row.name: row for row in cursor.execute(_SETTINGS, (names,)).fetchall()}
    return {name: known[_server_name(name)] for name in desired if _server_name(name) in known}


def pending(desired: Mapping[str, str], found: Mapping[str, Setting]) -> list[PendingParameter]:
    """Return the parameters that aren't in force, by name.

    Only AWS can work out a formula such as `GREATEST({DBInstanceVCPU*2},8)`, and only AWS knows a
    parameter of the service that has no name in the server: both are left to the parameter group's
    status.
    """
    return [
        PendingParameter(name, found[name].value if name in found else None, value)
        for name, value in sorted(desired.items())
        if not _left_to_aws(name, value, found) and not _agrees(name, value, found.get(name))
    ]


def effective(desired: Mapping[str, str], found: Mapping[str, Setting]) -> dict[str, str]:
    """Return the value in force of each desired parameter that the server knows."""
    return {name: found[name].value for name in sorted(desired) if name in found}


def ensure(
    server: Server,
    desired: Mapping[str, str],
    *,
    allow: AllowReboot,
    deadline: float,
    standby: Collection[str] = (),
) -> dict[str, str]:
    """Bring `desired` into force, by a reboot where that is allowed; return what is in force.

    With the databases `standby` closed to writers it serves nobody, and is rebooted whatever
    `allow` says: the server is asked, since flags are flipped while the writer is still there.
    `deadline` is in seconds of `time.monotonic()`. Raises `Refused` when a parameter waits for a
    reboot that isn't allowed, or isn't in the cluster's parameter group at all.
    """
    described = wait_until_applied(server, deadline)
    found = in_force(server, desired)
    waiting = pending(desired, found)
    rebooting = [m.identifier for m in described.members if waits(m.parameter_group_status)]
    if not waiting and not (described.writer and described.writer.identifier in rebooting):
        return effective(desired, found)
    what = f"cluster {server.cluster}: " + (
        "; ".join(map(str, waiting)) or "its parameter group has static parameters not in force"
    )
    if waiting and standby and is_closed(server, standby):
        allow = AllowReboot.NOW
    match allow:
        case AllowReboot.NEVER if waiting:
            raise Refused(
                f"{what}; only a reboot of its writer brings that into force: set "
                "environment.allow_reboot to now, or reboot it yourself and go on"
            )
        case AllowReboot.WINDOW if waiting:
            # AWS itself never reboots for a static parameter, in no window.
            log.warning(
                "%s: not in force until the writer is rebooted; do that in the maintenance "
                "window, or set environment.allow_reboot to now",
                what,
            )
        case AllowReboot.NOW if waiting:
            _require_in_group(described, waiting)
            found = _reboot(server, described, desired, deadline)
        case _:  # no desired parameter waits, and others are no reason for an outage
            log.info("%s; what is required is in force", what)
    return effective(desired, found)


def _reboot(
    server: Server, described: Cluster, desired: Mapping[str, str], deadline: float
) -> dict[str, Setting]:
    """Reboot the writer, then the readers that still wait; return what is in force then."""
    writer = described.writer
    if writer is None:
        raise Retry(f"cluster {server.cluster}: has no writer at this moment; try again")
    reboot_instance(server, writer.identifier, deadline=deadline)
    found = _wait_until_in_force(server, desired, deadline)
    # In many versions the writer's reboot restarts the readers too, so check again first.
    after = cluster.wait_until_available(
        server.region, server.cluster, deadline=deadline, account=server.account
    )
    for member in after.members:
        if not member.is_writer and waits(member.parameter_group_status):
            reboot_instance(server, member.identifier, deadline=deadline)
    return found


def wait_until_applied(server: Server, deadline: float) -> Cluster:
    """Return the cluster once AWS has given its instances what their group holds."""
    return cluster.wait_until(
        server.region,
        server.cluster,
        lambda now: now.parameter_group_status != "applying",
        deadline=deadline,
        report=log.info,
        awaited="parameter group applied",
        account=server.account,
    )


def reboot_instance(server: Server, instance: str, *, deadline: float) -> None:
    """Ask AWS to reboot an instance once it is available; it takes a while to begin.

    AWS refuses it in any other state, such as `modifying`, in which it serves.
    """
    for _ in poll_until(deadline):
        if cluster.get_instance(server.region, instance).status == AVAILABLE:
            break
    with asking(f"instance {instance}: RebootDBInstance"):
        client("rds", server.region).reboot_db_instance(DBInstanceIdentifier=instance)
    log.info("instance %s: rebooted for its static parameters", instance)


def _wait_until_in_force(
    server: Server, desired: Mapping[str, str], deadline: float
) -> dict[str, Setting]:
    """Return what is in force once nothing waits; a server that reboots is out of reach."""
    problem = ""
    for _ in poll_until(deadline):
        try:
            found = in_force(server, desired)
        except Retry as error:
            problem = str(error)
            continue
        waiting = pending(desired, found)
        if not waiting:
            return found
        problem = f"cluster {server.cluster}: after its reboot {'; '.join(map(str, waiting))}"
    raise Retry(f"{problem}; try again")


def _require_in_group(described: Cluster, waiting: list[PendingParameter]) -> None:
    """Raise `Refused` unless the group holds the desired values: a reboot would be in vain."""
    names = {item.name for item in waiting}
    held: dict[str, str | None] = {}
    what = f"parameter group {described.parameter_group}"
    with asking(f"{what}: DescribeDBClusterParameters"):
        pages = client("rds", described.region).get_paginator("describe_db_cluster_parameters")
        for page in pages.paginate(DBClusterParameterGroupName=described.parameter_group):
            for parameter in page["Parameters"]:
                if parameter["ParameterName"] in names:
                    held[parameter["ParameterName"]] = parameter.get("ParameterValue")
    for item in waiting:
        value = held.get(item.name)
        if value is None or not _suffices(item.name, item.desired, value, "string"):
            raise Refused(
                f"{what} of cluster {described.identifier}: {item.name} is {value or 'not set'}, "
                f"expected {item.desired}; set it there, a reboot alone changes nothing"
            )


def waits(status: str) -> bool:
    """Return whether an instance with this status of its group waits for a reboot."""
    return status == "pending-reboot"


def _server_name(name: str) -> str:
    """Return what the server calls a parameter: `rds.logical_replication` sets `wal_level`."""
    return "wal_level" if name == _LOGICAL_REPLICATION else name


def _left_to_aws(name: str, value: str, found: Mapping[str, Setting]) -> bool:
    return bool(re.search(r"[{(]", value)) or (
        name not in found and name.startswith(("rds.", "aurora.", "apg_"))
    )


def _agrees(name: str, desired: str, found: Setting | None) -> bool:
    if found is None:
        return False
    if name == _LOGICAL_REPLICATION:
        return (found.value == "logical") == (desired.lower() in _ON)
    if name.endswith("_libraries"):
        # The service adds its own libraries to shared_preload_libraries.
        return _list(desired) <= _list(found.value)
    return _suffices(name, desired, found.value, found.kind)


def _suffices(name: str, desired: str, found: str, kind: str) -> bool:
    if name in _SIZES:
        try:
            return float(found) >= float(desired)
        except ValueError:
            pass  # a formula, which only AWS can work out
    return _equal(desired, found, kind)


def _equal(one: str, other: str, kind: str) -> bool:
    if kind == "bool":
        return (one.lower() in _ON) == (other.lower() in _ON)
    try:
        return float(one) == float(other)
    except ValueError:
        return one.strip().lower() == other.strip().lower()


def _list(text: str) -> set[str]:
    return {item.strip() for item in text.split(",") if item.strip()}
