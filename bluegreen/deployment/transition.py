"""The states of a stack and the transitions between them, decided without I/O.

The desired state is what the configuration says. Whether the servers allow a transition is another
question (`preconditions`); what is refused here is refused at preview, before anything is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from bluegreen.names import TOOL_DATABASE


class StackState(StrEnum):
    """What a stack is."""

    PLAIN = "plain"
    """An environment of its own; it replaces nothing."""
    FORWARD = "forward"
    """A deployment whose source is the writer."""
    SWITCHED = "switched"
    """A deployment whose target is the writer; the way back is open."""
    FINAL = "final"
    """A deployment whose way back was given up."""
    REHEARSAL = "rehearsal"
    """A writable clone without replication, for tests that write."""


# What each state may become; None is a stack that has nothing yet.
ALLOWED: Mapping[StackState | None, frozenset[StackState]] = MappingProxyType(
    {
        None: frozenset({StackState.PLAIN, StackState.FORWARD, StackState.REHEARSAL}),
        StackState.PLAIN: frozenset({StackState.PLAIN}),
        StackState.FORWARD: frozenset({StackState.FORWARD, StackState.SWITCHED}),
        StackState.SWITCHED: frozenset({StackState.SWITCHED, StackState.FORWARD, StackState.FINAL}),
        StackState.FINAL: frozenset({StackState.FINAL, StackState.PLAIN}),
        StackState.REHEARSAL: frozenset({StackState.REHEARSAL}),
    }
)

# States in which the slots fix the set of databases: one that joins later has no slot, and the
# rows written to it since the clone would be missing without any error.
_FIXED_DATABASES = frozenset({StackState.FORWARD, StackState.SWITCHED})


class Refusal(NamedTuple):
    """Why a transition is refused, and the setting that asks for it."""

    setting: str
    reason: str


@dataclass(frozen=True, slots=True)
class StackSpec:
    """What one stack's configuration asks for.

    `source_*` may be empty in a deployment: unknown while previewing, or gone with the source.
    """

    name: str
    cluster: str
    region: str
    databases: frozenset[str]
    source_stack: str
    source_cluster: str
    source_region: str
    cutover: bool
    rollback: bool
    rehearsal: bool

    @property
    def source(self) -> str:
        """What to call the source in a message; empty without one."""
        return self.source_stack or self.source_cluster

    @property
    def state(self) -> StackState:
        """The state that this describes; meaningful only if nothing `contradicts`."""
        if not self.source:
            return StackState.PLAIN
        if self.rehearsal:
            return StackState.REHEARSAL
        if not self.cutover:
            return StackState.FORWARD
        return StackState.SWITCHED if self.rollback else StackState.FINAL


def refusals(had: StackSpec | None, desired: StackSpec) -> list[Refusal]:
    """Return why `desired` can't follow `had`; nothing when it can.

    `had` is the spec of the last update that succeeded, None for a stack without one.
    """
    # One reason only, the transition's first: from `final`, "before the cutover" would mislead.
    found = _moves(had, desired) if had is not None else _first(desired)
    found = found or _contradicts(desired)
    return [found] if found else []


def _contradicts(desired: StackSpec) -> Refusal | None:
    """Return what is wrong with `desired`, whatever came before."""
    if not desired.databases:
        return Refusal("databases", "no database named; list those that the environment serves")
    if TOOL_DATABASE in desired.databases:
        return Refusal(
            "databases", f"database {TOOL_DATABASE!r} belongs to the tool itself; take it out"
        )
    if not desired.source:
        if desired.rehearsal:
            return Refusal("rehearsal", "rehearsal: true without source; name the stack to clone")
        return None
    if desired.source_stack == desired.name:
        return Refusal("source", f"stack {desired.name!r} can't be its own source")
    if desired.source_cluster and desired.source_cluster == desired.cluster:
        return Refusal(
            "cluster_identifier",
            f"cluster {desired.cluster!r} is the source's; give the target another identifier",
        )
    if desired.source_region and desired.source_region != desired.region:
        return Refusal(
            "source",
            f"source {desired.source!r} is in {desired.source_region}, this stack in "
            f"{desired.region}; Aurora clones only within one Region",
        )
    if desired.rehearsal and desired.cutover:
        return Refusal(
            "cutover", "a rehearsal is never cut over to; set cutover to false, or leave rehearsal"
        )
    if desired.rehearsal and not desired.rollback:
        return Refusal("rollback", "a rehearsal has no way back to give up; set rollback to true")
    if not desired.cutover and not desired.rollback:
        return Refusal(
            "rollback",
            "rollback: false before the cutover; set rollback to true, cut over, and give the way "
            "back up after that",
        )
    return None


def _first(desired: StackSpec) -> Refusal | None:
    """Return why a stack can't begin with `desired`."""
    if not desired.cutover:
        return None
    if not desired.source:
        return Refusal("cutover", "cutover: true without source; set cutover to false")
    return Refusal(
        "cutover",
        f"cutover: true at the first up; set cutover to false, stand {desired.name!r} up, and cut "
        "over in an update of its own",
    )


def _moves(had: StackSpec, desired: StackSpec) -> Refusal | None:
    """Return why `desired` can't follow `had`."""
    return _identity(had, desired) or _source(had, desired) or _flags(had, desired)


def _identity(had: StackSpec, desired: StackSpec) -> Refusal | None:
    # Another identifier or Region is another cluster: the existing one would be destroyed.
    if had.cluster != desired.cluster:
        return Refusal(
            "cluster_identifier",
            f"cluster {had.cluster!r} can't become {desired.cluster!r}; make a stack of its own",
        )
    if had.region != desired.region:
        return Refusal(
            "region",
            f"cluster {had.cluster!r} can't move from {had.region} to {desired.region}; "
            "make a stack of its own",
        )
    if had.databases != desired.databases and {had.state, desired.state} & _FIXED_DATABASES:
        changed = ", ".join(sorted(had.databases ^ desired.databases))
        return Refusal(
            "databases",
            f"databases can't change while the deployment runs (changed: {changed}); "
            "finish or destroy it first",
        )
    return None


def _source(had: StackSpec, desired: StackSpec) -> Refusal | None:
    if had.source and not desired.source:
        if had.state is StackState.FINAL:
            return None
        return Refusal(
            "source",
            f"source {had.source!r} can't be removed in state {had.state}; "
            + _way_out(had.state, had.name),
        )
    if desired.source and not had.source:
        return Refusal(
            "source",
            f"source {desired.source!r} on a stack that already has an environment; "
            "use a new stack for the deployment",
        )
    if _other(had.source_stack, desired.source_stack) or _other(
        had.source_cluster, desired.source_cluster
    ):
        return Refusal(
            "source",
            f"source can't change from {had.source!r} ({had.source_cluster or 'unknown cluster'}) "
            f"to {desired.source!r} ({desired.source_cluster or 'unknown cluster'}) in state "
            f"{had.state}; use a new stack for another deployment",
        )
    return None


def _flags(had: StackSpec, desired: StackSpec) -> Refusal | None:
    if not desired.source:
        if desired.cutover and not had.cutover:
            return Refusal(
                "cutover",
                f"stack {desired.name!r} has no source to cut over from; set cutover to true on "
                "the stack whose source this is",
            )
        return None
    if had.rehearsal != desired.rehearsal:
        return Refusal(
            "rehearsal",
            f"rehearsal can't change on a stack that stands; destroy {desired.name!r} and stand it "
            "up again",
        )
    if had.state is StackState.FINAL and desired.state is not StackState.FINAL:
        return Refusal(
            "rollback" if desired.cutover else "cutover",
            "the way back was given up (rollback: false); set cutover to true and rollback to "
            "false, or remove source",
        )
    if had.cutover != desired.cutover and had.rollback != desired.rollback:
        return Refusal(
            "rollback",
            "cutover and rollback changed in one update; set rollback to "
            f"{str(had.rollback).lower()}, apply, and change it in an update of its own",
        )
    if desired.state not in ALLOWED[had.state]:
        allowed = ", ".join(sorted(ALLOWED[had.state]))
        return Refusal("cutover", f"from {had.state} to {desired.state}: allowed are {allowed}")
    return None


def _other(had: str, desired: str) -> bool:
    return bool(had and desired and had != desired)


def _way_out(state: StackState, name: str) -> str:
    if state is StackState.SWITCHED:
        return "set rollback to false and apply first"
    return f"destroy {name!r} to give the deployment up, or cut over and finish it first"
