"""The state of everything that takes part in a switch, as small values.

Two servers, the rows on their way in each direction, and two attempts, one after the other: the
second goes back when the first one moved the writer, and tries again when it was aborted. States
of the register and of the opening are the code's own.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from bluegreen.register.register import AttemptState, Opening
from bluegreen.switch.step import Step

# Plain strings: an enum's hash is computed in Python, and millions of states are hashed.
PREPARING, DECIDED, ABORTED, DONE = (state.value for state in AttemptState)
CLOSED, OPENED, GIVEN_UP = (opening.value for opening in Opening)
UNREGISTERED, UNKNOWN = "", ""
LIVE = (PREPARING, DECIDED)

SOURCE, TARGET = 0, 1
NAMES = ("source", "target")

# Where a party is: what it does next, named as the code's steps where it has one. A finisher begins
# with LOOK, and leaves out what leads to the decision.
READY, ARM, FENCE = Step.READY.value, Step.ARM.value, Step.FENCE.value
EXPECT, REGISTER = "expect", Step.REGISTER.value
CLAIM, GIVE_UP = "claim", "give earlier up"
BARRIER, DRAIN, END_SESSIONS = "barrier", Step.DRAIN.value, "end sessions"
# Few sequences and the mark are one transaction, many are not: the model takes them apart.
SEQUENCES, MARK, DECIDE = Step.SEQUENCES.value, "mark", Step.DECIDE.value
OPEN, CLOSE, COUNT = Step.OPEN.value, Step.CLOSE.value, "count"
WATCHING, LOOK, ABORT = "watching", "look", "abort"
IDLE, ENDED, DEAD = "idle", "ended", "dead"
CROSSING = (DRAIN, END_SESSIONS, SEQUENCES, MARK, DECIDE, OPEN)
BEFORE_DECISION = (CLAIM, GIVE_UP, ARM, FENCE, BARRIER, *CROSSING[:-1])

ORCHESTRATOR, LOCAL_FUSE, RECOVER, SENT = "orchestrator", "local fuse", "recover", "a dead sender"
"""Parties; whoever is dead may have left a command behind that executes later."""


class On(IntEnum):
    """Whether something of the writer's is on the other side."""

    BOTH = 0
    WRITER_ONLY = 1
    APPLIED = 2  # not yet durable there: a crash takes it back, and it is sent again


BOTH, WRITER_ONLY, APPLIED = (int(on) for on in On)


class Server(NamedTuple):
    """One environment. `closed`: its databases carry the read-only default."""

    closed: bool
    ended: bool
    """Every session from before the fence has been ended."""
    barred: bool = False
    """The roles have lost LOGIN: closed for good, after an opening."""
    leak: bool = False
    """A transaction that passes the fence holds an id and is about to commit."""
    fresh: bool = False
    """Applications have written and used sequence values that the other side does not know."""
    crashes: int = 0
    """How often it may still crash."""


class Flow(NamedTuple):
    """What is on its way from one server to the other, `before` and `after` the last barrier."""

    before: int = BOTH
    after: int = BOTH
    wrote: bool = False
    """A transaction other than the heartbeat has taken an id since the barrier."""
    sequences: int = WRITER_ONLY


class Attempt(NamedTuple):
    """One switch away from the server `old`: its rows, its parties, and commands on their way."""

    old: int = SOURCE
    register: str = UNREGISTERED
    opening: str = UNKNOWN
    turn: int = 0
    """Its place among those registered on the same server; in `opening` once it is claimed."""
    claimed: bool = False
    holding: tuple[str, ...] = ()
    """Whose sessions on the new writer hold the opening's row; one at a time."""
    server_fuse: str = IDLE
    orchestrator: str = READY
    local_fuse: str = IDLE
    sent: tuple[str, ...] = ()
    """Commands whose sender is dead and which still execute."""
    slipped: int = 0
    """Writes to the old side after the decision: 1 when there are some, 2 once counted."""
    flushed: bool = True
    """The decision is durable; so is the opening in `opening_flushed`."""
    opening_flushed: bool = True

    @property
    def new(self) -> int:
        """Return the server that is to become the writer."""
        return 1 - self.old


class World(NamedTuple):
    """Everything. `broken` says what went wrong in the last step; such a world is not explored."""

    servers: tuple[Server, Server]
    flows: tuple[Flow, Flow]
    """By the server that they come from."""
    attempts: tuple[Attempt, Attempt]
    recover: tuple[int, str] = (0, IDLE)
    """`bluegreen recover`, or the next `pulumi up`: the attempt it looks at, and where it is."""
    bound: int = 1
    """How often each server may crash during one attempt."""
    broken: str = ""


START = World(
    servers=(Server(closed=False, ended=False, fresh=True), Server(closed=True, ended=True)),
    flows=(Flow(after=WRITER_ONLY, wrote=True), Flow()),
    attempts=(Attempt(), Attempt()),
)

# Orchestrators that have slept (a laptop, a paused machine) since the target was the writer; other
# switches, and their ends, have passed between.
SLEPT = tuple(
    START._replace(
        attempts=(Attempt(old=TARGET, opening=opening, orchestrator=step), Attempt()),
    )
    for opening, step in ((UNKNOWN, EXPECT), (CLOSED, REGISTER))
)


def with_server(world: World, which: int, **changes: Any) -> World:
    """Return the world with one server changed."""
    one, two = world.servers
    if which:
        return world._replace(servers=(one, two._replace(**changes)))
    return world._replace(servers=(one._replace(**changes), two))


def with_flow(world: World, source: int, **changes: Any) -> World:
    """Return the world with the flow from one server changed."""
    one, two = world.flows
    if source:
        return world._replace(flows=(one, two._replace(**changes)))
    return world._replace(flows=(one._replace(**changes), two))


def with_attempt(world: World, which: int, **changes: Any) -> World:
    """Return the world with one attempt changed."""
    one, two = world.attempts
    if which:
        return world._replace(attempts=(one, two._replace(**changes)))
    return world._replace(attempts=(one._replace(**changes), two))


def where(world: World, k: int, party: str) -> str:
    """Return what `party` of the attempt `k` does next."""
    if party == RECOVER:
        return world.recover[1]
    attempt = world.attempts[k]
    return attempt.orchestrator if party == ORCHESTRATOR else attempt.local_fuse


def at(world: World, k: int, party: str, step: str) -> World:
    """Return the world with `party` about to do `step`."""
    if party == RECOVER:
        return world._replace(recover=(k, step) if step != IDLE else (0, IDLE))
    name = "orchestrator" if party == ORCHESTRATOR else "local_fuse"
    return with_attempt(world, k, **{name: step})


def takes_writes(server: Server) -> bool:
    """Return whether an application's ordinary transaction can commit there."""
    return not server.barred and not (server.closed and server.ended)


def writable(server: Server) -> bool:
    """Return whether any transaction that began before the decision can still commit there."""
    return takes_writes(server) or server.leak


REGISTER_CHANGES = {
    "begin": (UNREGISTERED, PREPARING),
    "decide": (PREPARING, DECIDED),
    "abort": (PREPARING, ABORTED),
    "finish": (DECIDED, DONE),
    "go back": (DECIDED, ABORTED),
}
"""Every change of an attempt's row in the register, by what makes it."""

OPENING_CHANGES = {
    "expect": (UNKNOWN, CLOSED),
    "open": (CLOSED, OPENED),
    "give up": (CLOSED, GIVEN_UP),
}
"""Every change of an attempt's row in `opening`."""
