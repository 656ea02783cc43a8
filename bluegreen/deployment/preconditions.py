"""Deployments: whether the servers allow a transition, and the tool's database on the source.

Which transitions exist is decided earlier, from the desired states alone (`transition`). Here
everything is inspected before anything is made, so a refusal has touched nothing.
"""

from __future__ import annotations

import logging
import time

from bluegreen.aws import account, cluster
from bluegreen.aws.cluster import AVAILABLE, Cluster
from bluegreen.deployment import first_look, source_check
from bluegreen.deployment.spec import DeploymentSpec
from bluegreen.deployment.transition import StackState
from bluegreen.errors import Refused, Retry, StayFenced
from bluegreen.names import TOOL_DATABASE, Direction, deployment_name
from bluegreen.postgres.server import Server
from bluegreen.register import claim, register
from bluegreen.register.switch_in_progress import attempt, has_register
from bluegreen.register.writer import Writer, is_closed, writer
from bluegreen.replication.running_direction import require_healthy

log = logging.getLogger(__name__)

# An apply worker that ended is started again after wal_retrieve_retry_interval, 5 s by default.
_HEALTHY_WITHIN_SECONDS = 20.0


_RECOVER = "run pulumi up with the flags as they were, or bluegreen recover"


def prepare(desired: DeploymentSpec) -> StackState:
    """Verify that the servers allow a stack's first `up`; make the register where one is needed."""
    state = desired.spec.state
    _require_account(desired)
    first_look.require_classes(desired)
    if state is StackState.PLAIN:
        return state
    taken = cluster.find(desired.spec.region, desired.spec.cluster, account=desired.account)
    if taken is not None:
        raise Refused(
            f"cluster {desired.spec.cluster}: already exists in {desired.spec.region} "
            f"({taken.status}); name another, or delete it if an earlier attempt left it"
        )
    source = _living_source(desired)
    _require_available(source)
    first_look.require_room_for_a_clone(source)
    found = source_check.inspect(source, desired.spec.databases)
    source_check.require_clonable(found, desired.spec.databases)
    first_look.require_upgradable(source, desired)
    if state is StackState.REHEARSAL:  # nothing replicates, so the source is left as it is
        return state
    name = deployment_name(desired.spec.name)
    source_check.require_replicable(source, found, desired.spec.databases, name)
    first_look.require_publishable(source, desired)
    _register(source, desired)
    return state


def _require_account(desired: DeploymentSpec) -> None:
    """Raise `Refused` when the AWS plugin works in another account than this library."""
    account.require(f"stack {desired.spec.name}", desired.spec.region, desired.account)


def _register(source: Server, desired: DeploymentSpec) -> None:
    """Make the register on the source, and claim it; raises `Refused` where another one has it."""
    register.ensure_database(source)
    ours, region = desired.spec.cluster, desired.spec.region
    with source.connect(TOOL_DATABASE) as conn:
        other = claim.holder(conn)
        gone = other is None or cluster.find(region, other, account=source.account) is None
        taken = (gone or other == ours) and claim.take(conn, ours, instead_of=other)
        if not taken:
            raise Refused(
                f"source {source.cluster}: cluster {claim.holder(conn)} is to replace it already,"
                " of a deployment that may have the same name in another project; finish or destroy"
                " that one first"
            )


def change(had: StackState, desired: DeploymentSpec) -> StackState:
    """Verify that the servers allow this transition, and create the register if it is missing.

    The transition is one of `transition.ALLOWED`. A final or plain stack never needs the source.
    """
    state = desired.spec.state
    _require_account(desired)
    match had, state:
        case (StackState.FORWARD, StackState.FORWARD) | (StackState.SWITCHED, StackState.SWITCHED):
            _register(_living_source(desired), desired)
        case StackState.SWITCHED, StackState.FORWARD:
            _require_way_back(desired)
        case StackState.FORWARD, StackState.SWITCHED:
            _require_way_forth(desired)
        case StackState.SWITCHED, StackState.FINAL:
            _require_target_is_writer(desired)
        case _:  # stays what it is, or is finished by `forget`
            pass
    return state


def forget(had: DeploymentSpec) -> None:
    """Drop the registers of a finished deployment, each where its server still exists."""
    target = _target(had)
    if target is not None:
        _require_no_switch(target)
    source = _source_if_it_lives(had)
    if source is None:
        log.info("source of %s: gone or not available, nothing to drop there", had.spec.name)
    else:
        _require_no_switch(source)
        register.drop_database(source)
    if target is not None:
        register.drop_database(target)


def remove(had: DeploymentSpec) -> None:
    """Leave the source as it was: drop its register, unless the source is gone in AWS.

    Raises `Retry` when the source exists and can't be reached.
    """
    if had.spec.state in (StackState.PLAIN, StackState.REHEARSAL) or had.source is None:
        return
    if had.source.find_cluster() is None:
        return
    _require_no_switch(had.source)
    register.drop_database(had.source)


def is_registered(had: DeploymentSpec) -> bool:
    """Return whether the register that a running deployment needs exists.

    True also where none is needed, or where the source is gone in AWS: nothing can be made there.
    Raises `Refused` in another AWS account.
    """
    _require_account(had)
    if had.spec.state not in (StackState.FORWARD, StackState.SWITCHED) or had.source is None:
        return True
    if had.source.find_cluster() is None:
        return True
    return has_register(had.source)


def _require_way_forth(desired: DeploymentSpec) -> None:
    """Raise unless the source is the writer and the forward direction runs, or all is done."""
    source, target = _living_source(desired), _living_target(desired)
    _require_no_switch(source)
    match _writer(desired, source, target):
        case Writer.SOURCE:
            _require_healthy(desired, source, target, Direction.FORWARD)
        case Writer.TARGET:
            log.info("cluster %s: already is the writer", target.cluster)
        case Writer.NEITHER:
            raise _nobody_writes(source, target)
        case Writer.BOTH:
            raise _both_write(source, target)


def _require_way_back(desired: DeploymentSpec) -> None:
    """Raise unless the reverse direction runs, or the source still is the writer.

    An aborted cutover leaves the latter. Taking the flag back then needs nothing at all, not even
    the target.
    """
    source = _living_source(desired)
    _require_no_switch(source)
    databases = desired.spec.databases
    if not is_closed(source, databases):
        target_or_none = _target(desired)
        if target_or_none is not None and not _closed_or_out_of_reach(target_or_none, desired):
            raise _both_write(source, target_or_none)
        log.info("cluster %s: still is the writer, nothing to go back from", source.cluster)
        return
    target = _living_target(desired)
    _require_no_switch(target)
    if is_closed(target, databases):
        raise _nobody_writes(source, target)
    _require_healthy(desired, target, source, Direction.REVERSE)


def _require_target_is_writer(desired: DeploymentSpec) -> None:
    """Raise unless the target accepts writes, and the source, where it lives, doesn't."""
    target = _living_target(desired)
    _require_no_switch(target)
    if is_closed(target, desired.spec.databases):
        raise Refused(
            f"rollback: false while {target.cluster} isn't the writer; set rollback to true and "
            "cut over first"
        )
    source = _source_if_it_lives(desired)
    if source is None:
        return
    _require_no_switch(source)
    if not is_closed(source, desired.spec.databases):
        raise _both_write(source, target)


def _require_healthy(
    desired: DeploymentSpec, publisher: Server, subscriber: Server, direction: Direction
) -> None:
    require_healthy(
        publisher,
        subscriber,
        databases=desired.spec.databases,
        deployment=deployment_name(desired.spec.name),
        direction=direction,
        deadline=time.monotonic() + _HEALTHY_WITHIN_SECONDS,
    )


def _require_no_switch(server: Server) -> None:
    found = attempt(server)
    if found is not None:
        raise Refused(f"cluster {server.cluster}: a switch is in progress ({found}); {_RECOVER}")


def _writer(desired: DeploymentSpec, source: Server, target: Server) -> Writer:
    databases = desired.spec.databases
    return writer(
        source_closed=is_closed(source, databases), target_closed=is_closed(target, databases)
    )


def _nobody_writes(source: Server, target: Server) -> StayFenced:
    return StayFenced(
        f"{source.cluster} and {target.cluster}: both are closed to writers, expected one writer; "
        f"{_RECOVER}"
    )


def _both_write(source: Server, target: Server) -> Refused:
    return Refused(
        f"{source.cluster} and {target.cluster}: both accept writes, expected one writer; "
        "find out who opened the standby, and close it"
    )


def _closed_or_out_of_reach(server: Server, desired: DeploymentSpec) -> bool:
    try:
        return is_closed(server, desired.spec.databases)
    except Retry as error:
        log.info("%s", error)
        return True


def _living_source(desired: DeploymentSpec) -> Server:
    """Return the source; raises `Refused` unless it is known and serves clients."""
    if desired.source is None:
        raise Refused(
            f"source {desired.spec.source!r}: its stack has no outputs; "
            f"run pulumi up -s {desired.spec.source} first"
        )
    _require_serving(
        desired.source.get_cluster(),
        f"source {desired.source.cluster}",
    )
    return desired.source


def _source_if_it_lives(desired: DeploymentSpec) -> Server | None:
    """Return the source, None where it is unknown, gone, or serves nobody (stopped, deleting)."""
    if desired.source is None:
        return None
    source = desired.source
    found = source.find_cluster()
    return source if found is not None and found.serves else None


def _target(desired: DeploymentSpec) -> Server | None:
    """Return the target, None when AWS has no such cluster."""
    found = cluster.find(desired.spec.region, desired.spec.cluster, account=desired.account)
    return Server.of(found, desired.credentials) if found is not None else None


def _living_target(desired: DeploymentSpec) -> Server:
    found = cluster.get(desired.spec.region, desired.spec.cluster, account=desired.account)
    _require_serving(found, f"target {found.identifier}")
    return Server.of(found, desired.credentials)


def _require_serving(found: Cluster, what: str) -> None:
    """Raise `Refused` where AWS serves no clients.

    A backup, a modification or maintenance is no reason to refuse a switch, a rollback least of
    all: what a switch needs is asked of the servers.
    """
    if not found.serves:
        raise Refused(
            f"{what}: is {found.status}, in which AWS serves no clients; wait until it is "
            f"{AVAILABLE} and try again"
        )


def _require_available(source: Server) -> None:
    """Raise `Refused` while AWS is at work on a source that is to be cloned."""
    found = source.get_cluster()
    if found.status != AVAILABLE:
        raise Refused(
            f"source {found.identifier}: is {found.status}, expected {AVAILABLE} to be cloned; "
            "wait until it is and try again"
        )
