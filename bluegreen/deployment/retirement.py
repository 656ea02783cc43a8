"""May an environment be destroyed? Checked before anything else of its stack is destroyed."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from bluegreen import names
from bluegreen.aws.cluster import AVAILABLE
from bluegreen.errors import Refused
from bluegreen.names import Direction
from bluegreen.postgres import slots, subscriptions
from bluegreen.postgres.server import Server
from bluegreen.register import closing, switch_in_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retirement:
    """An environment that is to be destroyed, and what its stack says about that."""

    server: Server
    databases: tuple[str, ...]
    stack: str
    deployment: str | None
    """The deployment that this stack owns; its own replication is no obstacle."""
    deletion_protection: bool
    retire: bool
    """Whether an earlier update allowed the writer to be destroyed."""


@dataclass(frozen=True, slots=True)
class RetirementFacts:
    """What the retirement of a server depends on."""

    cluster: str
    closed: bool
    attempt: str | None
    """A switch in progress, in words."""
    slots: tuple[str, ...]
    """Logical slots: others read from it."""
    subscriptions: tuple[tuple[str, str], ...]
    """Name and database: it reads from others."""


def require_retirable(asked: Retirement) -> None:
    """Raise `Refused` while anything still needs the environment.

    A cluster that AWS no longer knows needs no protection. Raises `Retry` when it exists and can't
    be reached: what can't be inspected must not be destroyed.
    """
    server = asked.server
    found = server.find_cluster()
    if found is None:
        log.info("cluster %s: gone in AWS, nothing to protect", server.cluster)
        return
    if asked.deletion_protection:
        raise Refused(protected(asked))
    if found.status != AVAILABLE:
        raise Refused(
            f"cluster {server.cluster}: is {found.status}, expected {AVAILABLE}; "
            "start it or wait, so that it can be seen whether anything depends on it"
        )
    reason = problem(asked, inspect(asked))
    if reason:
        raise Refused(reason)
    log.info("cluster %s: nothing depends on it, may be destroyed", server.cluster)


def inspect(asked: Retirement) -> RetirementFacts:
    """Return what the environment is like now; raises `Retry` when it can't be reached."""
    with asked.server.connect("postgres") as conn:
        closed = closing.is_closed(conn, sorted(asked.databases))
        sending = tuple(one.name for one in slots.logical(conn))
        applying = tuple((one.name, one.database) for one in subscriptions.inspect_all(conn))
    return RetirementFacts(
        cluster=asked.server.cluster,
        closed=closed,
        attempt=switch_in_progress.attempt(asked.server),
        slots=sending,
        subscriptions=applying,
    )


def protected(asked: Retirement) -> str:
    """Return why a protected environment stays, and the two commands that lift the protection."""
    return (
        f"cluster {asked.server.cluster}: deletion_protection is true; to destroy it run: "
        "pulumi config set --path bluegreen:environment.deletion_protection false "
        f"-s {asked.stack} && pulumi up -s {asked.stack}"
    )


def problem(asked: Retirement, found: RetirementFacts) -> str | None:
    """Return why the environment can't go, None when it can."""
    if found.attempt:
        return (
            f"cluster {found.cluster}: a switch is in progress ({found.attempt}); let it end, or "
            "run bluegreen recover"
        )
    if not found.closed and not asked.retire:
        return (
            f"cluster {found.cluster}: is the writer; cut over to another environment first, or, "
            "if nobody needs it any more, run: pulumi config set --path "
            f"bluegreen:environment.retire true -s {asked.stack} && pulumi up -s {asked.stack}"
        )
    foreign = not_ours(asked, found)
    if foreign:
        return (
            f"cluster {found.cluster}: still replicates for others ({', '.join(foreign)}); finish "
            "or destroy the deployment that owns it, or drop it"
        )
    return None


def not_ours(asked: Retirement, found: RetirementFacts) -> list[str]:
    """Return the slots and subscriptions that this stack's own deployment didn't make."""
    own_slots = _own_slots(asked.deployment, asked.databases)
    own_subscriptions = _own_subscriptions(asked.deployment)
    return [f"slot {name}" for name in found.slots if name not in own_slots] + [
        f"subscription {name} in {database}"
        for name, database in found.subscriptions
        if name not in own_subscriptions
    ]


def _own_slots(deployment: str | None, databases: Collection[str]) -> set[str]:
    if deployment is None:
        return set()
    return {names.slot(deployment, way, database) for way in Direction for database in databases}


def _own_subscriptions(deployment: str | None) -> set[str]:
    if deployment is None:
        return set()
    return {names.subscription(deployment, way) for way in Direction}
