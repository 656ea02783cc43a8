"""Deployments: whether the live world allows a transition, and the tool's database on the source.

Which transitions there are is decided before, over wishes alone (`transition`). Here
everything is looked at before anything is made, so a refusal has touched nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from bluegreen.aws import cluster
from bluegreen.aws.cluster import AVAILABLE, Cluster
from bluegreen.deployment import source_check
from bluegreen.deployment.transition import State, Wishes
from bluegreen.errors import Refused, Retry, StayFenced
from bluegreen.names import TOOL_DATABASE, Direction, deployment_name
from bluegreen.postgres import versions
from bluegreen.postgres.publications import Publication
from bluegreen.postgres.server import Credentials, Server
from bluegreen.register import claim, register
from bluegreen.register.switch_in_progress import attempt, has_register
from bluegreen.register.writer import Writer, is_closed, writer
from bluegreen.replication import database_code
from bluegreen.replication.publication import publishing
from bluegreen.replication.running_direction import require_healthy
from bluegreen.upgrade import obstacles
from bluegreen.upgrade.engine_version import EngineVersion

log = logging.getLogger(__name__)

# An apply worker that ended is started again after wal_retrieve_retry_interval, 5 s by default.
_HEALTHY_WITHIN_SECONDS = 20.0

_LOCK_SECONDS = 60.0  # for locks that looking at tables and publications takes

_RECOVER = "run pulumi up with the flags as they were, or bluegreen recover"


@dataclass(frozen=True, slots=True)
class Published:
    """What one database will publish, and the replica identities declared for it."""

    publication: Publication
    identities: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Deployment:
    """One stack's wishes, and how to reach the servers they are about."""

    wishes: Wishes
    credentials: Credentials
    """Of the target."""
    source: Server | None
    """None in a plain stack, and where the source's stack no longer has outputs."""
    publishes: Mapping[str, Published] = field(default_factory=dict)
    """By database; looked at before the first `up` makes anything."""
    engine_version: str | None = None
    """The version that the clone is brought to."""


def prepare(want: Deployment) -> State:
    """Check the world for a stack's first `up`, make the register where one is needed."""
    state = want.wishes.state
    if state is State.PLAIN:
        return state
    taken = cluster.find(want.wishes.region, want.wishes.cluster)
    if taken is not None:
        raise Refused(
            f"cluster {want.wishes.cluster}: already exists in {want.wishes.region} "
            f"({taken.status}); name another, or delete it if an earlier attempt left it"
        )
    source = _living_source(want)
    found = source_check.inspect(source, want.wishes.databases)
    source_check.require_clonable(found, want.wishes.databases)
    _require_upgradable(source, want)
    if state is State.REHEARSAL:  # nothing replicates, so the source is left as it is
        return state
    name = deployment_name(want.wishes.stack)
    source_check.require_replicable(source, found, want.wishes.databases, name)
    _require_publishable(source, want)
    _register(source, want)
    return state


def _register(source: Server, want: Deployment) -> None:
    """Make the register on the source, and claim it; raises `Refused` where another one has it."""
    register.ensure_database(source)
    ours, region = want.wishes.cluster, want.wishes.region
    with source.connect(TOOL_DATABASE) as conn:
        other = claim.holder(conn)
        gone = other is None or cluster.find(region, other) is None
        taken = (gone or other == ours) and claim.take(conn, ours, instead_of=other)
        if not taken:
            raise Refused(
                f"source {source.cluster}: cluster {claim.holder(conn)} is to replace it already,"
                " of a deployment that may have the same name in another project; finish or destroy"
                " that one first"
            )


def _require_upgradable(source: Server, want: Deployment) -> None:
    """Raise `Refused` for what the clone's major upgrade would stumble over."""
    if want.engine_version is None:
        return
    to = EngineVersion.parse(want.engine_version).major
    with source.connect("postgres") as conn:
        have = versions.major(conn)
    if to > have:
        obstacles.require_clone_upgradable(source, want.wishes.databases, to_major=to)


def _require_publishable(source: Server, want: Deployment) -> None:
    """Raise `Refused` where publishing would break production's own writes.

    The publications would refuse the same, but by then other resources have been made.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    for database, published in sorted(want.publishes.items()):
        with source.connect(database) as conn:
            database_code.require_replicable(conn, published.publication, source.cluster)
            publishing.require_publishable(
                conn, published.publication, published.identities, deadline=deadline
            )


def change(had: State, want: Deployment) -> State:
    """Check the world for the way from `had` to the desired state, and go its first step.

    The way is one of `transition.ALLOWED`. A final or plain stack never needs the source.
    """
    state = want.wishes.state
    match had, state:
        case (State.FORWARD, State.FORWARD) | (State.SWITCHED, State.SWITCHED):
            _register(_living_source(want), want)
        case State.SWITCHED, State.FORWARD:
            _require_way_back(want)
        case State.FORWARD, State.SWITCHED:
            _require_way_forth(want)
        case State.SWITCHED, State.FINAL:
            _require_target_is_writer(want)
        case _:  # stays what it is, or is finished by `forget`
            pass
    return state


def forget(had: Deployment) -> None:
    """Drop the registers of a finished deployment, each where its server still exists."""
    target = _target(had)
    if target is not None:
        _require_no_switch(target)
    source = _source_if_it_lives(had)
    if source is None:
        log.info("source of %s: gone or not available, nothing to drop there", had.wishes.stack)
    else:
        _require_no_switch(source)
        register.drop_database(source)
    if target is not None:
        register.drop_database(target)


def remove(had: Deployment) -> None:
    """Leave the source as it was: drop the register there, unless the source is gone in AWS.

    Raises `Retry` when the source exists and can't be reached.
    """
    if had.wishes.state in (State.PLAIN, State.REHEARSAL) or had.source is None:
        return
    if cluster.find(had.source.region, had.source.cluster) is None:
        return
    _require_no_switch(had.source)
    register.drop_database(had.source)


def is_registered(had: Deployment) -> bool:
    """Return whether the register that a running deployment needs is there.

    True where none is needed, or where the source is gone in AWS: nothing can be made there.
    """
    if had.wishes.state not in (State.FORWARD, State.SWITCHED) or had.source is None:
        return True
    if cluster.find(had.source.region, had.source.cluster) is None:
        return True
    return has_register(had.source)


def _require_way_forth(want: Deployment) -> None:
    """Raise unless the source is the writer and the forward direction runs, or all is done."""
    source, target = _living_source(want), _living_target(want)
    _require_no_switch(source)
    match _writer(want, source, target):
        case Writer.SOURCE:
            _require_healthy(want, source, target, Direction.FORWARD)
        case Writer.TARGET:
            log.info("cluster %s: already is the writer", target.cluster)
        case Writer.NEITHER:
            raise _nobody_writes(source, target)
        case Writer.BOTH:
            raise _both_write(source, target)


def _require_way_back(want: Deployment) -> None:
    """Raise unless the reverse direction runs, or the source still is the writer.

    The latter is what an aborted cutover leaves: taking the flag back then needs nothing at all,
    not even the target.
    """
    source = _living_source(want)
    _require_no_switch(source)
    databases = want.wishes.databases
    if not is_closed(source, databases):
        target_or_none = _target(want)
        if target_or_none is not None and not _closed_or_out_of_reach(target_or_none, want):
            raise _both_write(source, target_or_none)
        log.info("cluster %s: still is the writer, nothing to go back from", source.cluster)
        return
    target = _living_target(want)
    _require_no_switch(target)
    if is_closed(target, databases):
        raise _nobody_writes(source, target)
    _require_healthy(want, target, source, Direction.REVERSE)


def _require_target_is_writer(want: Deployment) -> None:
    """Raise unless the target accepts writes, and the source, where it lives, doesn't."""
    target = _living_target(want)
    _require_no_switch(target)
    if is_closed(target, want.wishes.databases):
        raise Refused(
            f"rollback: false while {target.cluster} isn't the writer; set rollback to true and "
            "cut over first"
        )
    source = _source_if_it_lives(want)
    if source is None:
        return
    _require_no_switch(source)
    if not is_closed(source, want.wishes.databases):
        raise _both_write(source, target)


def _require_healthy(
    want: Deployment, publisher: Server, subscriber: Server, direction: Direction
) -> None:
    require_healthy(
        publisher,
        subscriber,
        databases=want.wishes.databases,
        deployment=deployment_name(want.wishes.stack),
        direction=direction,
        deadline=time.monotonic() + _HEALTHY_WITHIN_SECONDS,
    )


def _require_no_switch(server: Server) -> None:
    found = attempt(server)
    if found is not None:
        raise Refused(f"cluster {server.cluster}: a switch is in progress ({found}); {_RECOVER}")


def _writer(want: Deployment, source: Server, target: Server) -> Writer:
    databases = want.wishes.databases
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


def _closed_or_out_of_reach(server: Server, want: Deployment) -> bool:
    try:
        return is_closed(server, want.wishes.databases)
    except Retry as error:
        log.info("%s", error)
        return True


def _living_source(want: Deployment) -> Server:
    """Return the source; raises `Refused` unless it is known and available in AWS."""
    if want.source is None:
        raise Refused(
            f"source {want.wishes.source!r}: its stack has no outputs; "
            f"run pulumi up -s {want.wishes.source} first"
        )
    _require_available(
        cluster.get(want.source.region, want.source.cluster), f"source {want.source.cluster}"
    )
    return want.source


def _source_if_it_lives(want: Deployment) -> Server | None:
    """Return the source, None where it is unknown, gone, or not available (stopped, deleting)."""
    if want.source is None:
        return None
    found = cluster.find(want.source.region, want.source.cluster)
    return want.source if found is not None and found.status == AVAILABLE else None


def _target(want: Deployment) -> Server | None:
    """Return the target, None when AWS has no such cluster."""
    found = cluster.find(want.wishes.region, want.wishes.cluster)
    return Server.of(found, want.credentials) if found is not None else None


def _living_target(want: Deployment) -> Server:
    found = cluster.get(want.wishes.region, want.wishes.cluster)
    _require_available(found, f"target {found.identifier}")
    return Server.of(found, want.credentials)


def _require_available(found: Cluster, what: str) -> None:
    if found.status != AVAILABLE:
        raise Refused(
            f"{what}: is {found.status}, expected {AVAILABLE}; wait until it is and try again"
        )
