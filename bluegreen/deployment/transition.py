"""The states of a stack and the ways between them; decided over wishes alone, without I/O.

A wish is what the configuration says. Whether the servers are fit for the way is another question
(`preconditions`); a wish refused here is refused at preview, before anything is touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from bluegreen.names import TOOL_DATABASE


class State(StrEnum):
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


# What the key's state may become; None is a stack that has nothing yet.
ALLOWED: Mapping[State | None, frozenset[State]] = MappingProxyType(
    {
        None: frozenset({State.PLAIN, State.FORWARD, State.REHEARSAL}),
        State.PLAIN: frozenset({State.PLAIN}),
        State.FORWARD: frozenset({State.FORWARD, State.SWITCHED}),
        State.SWITCHED: frozenset({State.SWITCHED, State.FORWARD, State.FINAL}),
        State.FINAL: frozenset({State.FINAL, State.PLAIN}),
        State.REHEARSAL: frozenset({State.REHEARSAL}),
    }
)

# States in which the replication's slots fix the set of databases: one that joins later has none,
# and the rows written since the clone would be missing without any error.
_FIXED_DATABASES = frozenset({State.FORWARD, State.SWITCHED})


class Refusal(NamedTuple):
    """Why a wish can't be granted, and the setting that says it."""

    setting: str
    reason: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one stack's configuration asks for.

    `source_*` may be empty in a deployment: unknown while previewing, or gone with the source.
    """

    stack: str
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
    def state(self) -> State:
        """The state that these wishes describe; meaningful only if nothing `contradicts`."""
        if not self.source:
            return State.PLAIN
        if self.rehearsal:
            return State.REHEARSAL
        if not self.cutover:
            return State.FORWARD
        return State.SWITCHED if self.rollback else State.FINAL


def refusals(had: Wishes | None, want: Wishes) -> list[Refusal]:
    """Return why `want` can't follow `had`; nothing when it can.

    `had` are the wishes of the last update that succeeded, None for a stack without one.
    """
    # One reason at a time, the way first: from `final`, "before the cutover" would mislead.
    found = _moves(had, want) if had is not None else _first(want)
    found = found or _contradicts(want)
    return [found] if found else []


def _contradicts(want: Wishes) -> Refusal | None:
    """Return what is wrong with `want` whatever came before."""
    if not want.databases:
        return Refusal("databases", "no database named; list those that the environment serves")
    if TOOL_DATABASE in want.databases:
        return Refusal(
            "databases", f"database {TOOL_DATABASE!r} belongs to the tool itself; take it out"
        )
    if not want.source:
        if want.rehearsal:
            return Refusal("rehearsal", "rehearsal: true without source; name the stack to clone")
        return None
    if want.source_stack == want.stack:
        return Refusal("source", f"stack {want.stack!r} can't be its own source")
    if want.source_cluster and want.source_cluster == want.cluster:
        return Refusal(
            "cluster_identifier",
            f"cluster {want.cluster!r} is the source's; give the target another identifier",
        )
    if want.source_region and want.source_region != want.region:
        return Refusal(
            "source",
            f"source {want.source!r} is in {want.source_region}, this stack in {want.region}; "
            "Aurora clones only within one Region",
        )
    if want.rehearsal and want.cutover:
        return Refusal(
            "cutover", "a rehearsal is never cut over to; set cutover to false, or leave rehearsal"
        )
    if want.rehearsal and not want.rollback:
        return Refusal("rollback", "a rehearsal has no way back to give up; set rollback to true")
    if not want.cutover and not want.rollback:
        return Refusal(
            "rollback",
            "rollback: false before the cutover; set rollback to true, cut over, and give the way "
            "back up after that",
        )
    return None


def _first(want: Wishes) -> Refusal | None:
    """Return why a stack can't begin with `want`."""
    if not want.cutover:
        return None
    if not want.source:
        return Refusal("cutover", "cutover: true without source; set cutover to false")
    return Refusal(
        "cutover",
        f"cutover: true at the first up; set cutover to false, stand {want.stack!r} up, and cut "
        "over in an update of its own",
    )


def _moves(had: Wishes, want: Wishes) -> Refusal | None:
    """Return why `want` can't follow `had`."""
    return _identity(had, want) or _source(had, want) or _flags(had, want)


def _identity(had: Wishes, want: Wishes) -> Refusal | None:
    # Another identifier or Region is another cluster: the one that is there would be destroyed.
    if had.cluster != want.cluster:
        return Refusal(
            "cluster_identifier",
            f"cluster {had.cluster!r} can't become {want.cluster!r}; make a stack of its own",
        )
    if had.region != want.region:
        return Refusal(
            "region",
            f"cluster {had.cluster!r} can't move from {had.region} to {want.region}; "
            "make a stack of its own",
        )
    if had.databases != want.databases and {had.state, want.state} & _FIXED_DATABASES:
        changed = ", ".join(sorted(had.databases ^ want.databases))
        return Refusal(
            "databases",
            f"databases can't change while the deployment runs (changed: {changed}); "
            "finish or destroy it first",
        )
    return None


def _source(had: Wishes, want: Wishes) -> Refusal | None:
    if had.source and not want.source:
        if had.state is State.FINAL:
            return None
        return Refusal(
            "source",
            f"source {had.source!r} can't be removed in state {had.state}; "
            + _way_out(had.state, had.stack),
        )
    if want.source and not had.source:
        return Refusal(
            "source",
            f"source {want.source!r} on a stack that already has an environment; "
            "use a new stack for the deployment",
        )
    if _other(had.source_stack, want.source_stack) or _other(
        had.source_cluster, want.source_cluster
    ):
        return Refusal(
            "source",
            f"source can't change from {had.source!r} ({had.source_cluster or 'unknown cluster'}) "
            f"to {want.source!r} ({want.source_cluster or 'unknown cluster'}) in state "
            f"{had.state}; use a new stack for another deployment",
        )
    return None


def _flags(had: Wishes, want: Wishes) -> Refusal | None:
    if not want.source:
        if want.cutover and not had.cutover:
            return Refusal(
                "cutover",
                f"stack {want.stack!r} has no source to cut over from; set cutover to true on "
                "the stack whose source this is",
            )
        return None
    if had.rehearsal != want.rehearsal:
        return Refusal(
            "rehearsal",
            f"rehearsal can't change on a stack that stands; destroy {want.stack!r} and stand it "
            "up again",
        )
    if had.state is State.FINAL and want.state is not State.FINAL:
        return Refusal(
            "rollback" if want.cutover else "cutover",
            "the way back was given up (rollback: false); set cutover to true and rollback to "
            "false, or remove source",
        )
    if had.cutover != want.cutover and had.rollback != want.rollback:
        return Refusal(
            "rollback",
            "cutover and rollback changed in one update; set rollback to "
            f"{str(had.rollback).lower()}, apply, and change it in an update of its own",
        )
    if want.state not in ALLOWED[had.state]:
        allowed = ", ".join(sorted(ALLOWED[had.state]))
        return Refusal("cutover", f"from {had.state} to {want.state}: allowed are {allowed}")
    return None


def _other(had: str, want: str) -> bool:
    return bool(had and want and had != want)


def _way_out(state: State, stack: str) -> str:
    if state is State.SWITCHED:
        return "set rollback to false and apply first"
    return f"destroy {stack!r} to give the deployment up, or cut over and finish it first"
