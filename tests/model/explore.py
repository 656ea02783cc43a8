"""Every interleaving, breadth first: the shortest way to each kind of violation."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from tests.model import faults, parties
from tests.model.rules import ALL, Rule
from tests.model.settled import settled
from tests.model.world import DONE, LIVE, READY, SLEPT, START, UNREGISTERED, World, writable

Rules = frozenset[Rule]

Ways = dict[World, tuple[World | None, str]]
"""For each world the one it came from, and by what."""

STUCK = "no way back to one writer"


class Overlap(Enum):
    """How two attempts may meet before they are registered; behind that they always may."""

    NONE = "the second one looks once the first is registered"
    SLEPT = "the first one has slept since the target was the writer"
    ALL = "as they like, and either way"


@dataclass(slots=True)
class Explored:
    """What was found: for each kind of violation the shortest way there, step by step."""

    states: int = 0
    violations: dict[str, list[str]] = field(default_factory=dict)
    register_changes: set[tuple[str, str]] = field(default_factory=set)
    opening_changes: set[tuple[str, str]] = field(default_factory=set)


def repairs(world: World, rules: Rules) -> Iterator[tuple[str, World]]:
    """Yield what the parties can do, without faults and without an operator."""
    for k in (0, 1):
        for name, step in (
            ("orchestrator", parties.orchestrator),
            ("local fuse", parties.local_fuse),
            ("server fuse", parties.server_fuse),
        ):
            for said, after in step(world, k, rules):
                yield f"{name} {k + 1} {said}", after
        yield from faults.late(world, k, rules)
        yield from faults.flush(world, k)
    for said, after in parties.recover(world, rules):
        yield f"recover {said}", after
    for which in (0, 1):
        yield from faults.replication(world, which)


def disturbances(world: World, rules: Rules, *, leaks: bool = True) -> Iterator[tuple[str, World]]:
    """Yield what is done to the parties, and what nobody may count on."""
    for which in (0, 1):
        yield from faults.applications(world, which)
        yield from faults.crash(world, which)
    for k in (0, 1):
        if leaks:
            yield from faults.leaks(world, k)
        yield from faults.deaths(world, k, rules)
        for said, after in parties.operator(world, k, rules):
            yield f"an operator {said}", after


def violation(world: World) -> str:
    """Return what must never be, empty when all is well."""
    if world.broken:
        return world.broken
    if all(map(writable, world.servers)):
        return "both writable"
    if any(a.register == DONE and a.slipped == 1 for a in world.attempts):
        return "a write slipped in and was not counted"
    if not has_one_writer(world) and not any(a.register in LIVE for a in world.attempts):
        return "no writer, and no attempt that anybody could finish"
    return ""


def has_one_writer(world: World) -> bool:
    """Return whether applications can log in and write on one side, and on one only."""
    serving = [not server.closed and not server.barred for server in world.servers]
    return sum(serving) == 1


def explore(
    dropped: frozenset[Rule] = frozenset(),
    *,
    crashes: int = 1,
    attempts: int = 2,
    leaks: bool = True,
    overlap: Overlap = Overlap.NONE,
    stop_at: str | None = None,
    limit: int = 1_000_000,
) -> Explored:
    """Explore all that can happen without the rules `dropped`.

    `crashes` is how often each server may crash during an attempt; without `leaks` nothing passes
    the fence; `overlap` says how the attempts may meet. Ends at the first violation called
    `stop_at`; `STUCK` is looked for last. Raises
    `RuntimeError` beyond `limit` states.
    """
    rules = ALL - dropped
    found = Explored()
    starts = [START, *SLEPT] if overlap is Overlap.ALL else [START]
    if overlap is Overlap.SLEPT:
        starts = [*SLEPT]
    starts = [start._replace(bound=crashes) for start in starts]
    came: Ways = dict.fromkeys(starts, (None, ""))
    repaired_from: dict[World, list[World]] = {}
    queue = deque(starts)
    with _no_collector():
        while queue:
            world = queue.popleft()
            for said, after, repair in _following(world, rules, leaks=leaks):
                first, second = after.attempts
                if second.orchestrator != READY and (
                    attempts == 1 or (overlap is Overlap.NONE and first.register == UNREGISTERED)
                ):
                    continue
                if repair:
                    repaired_from.setdefault(after, []).append(world)
                if after in came:
                    continue
                came[after] = (world, said)
                _note_changes(found, world, after)
                wrong = violation(after)
                if not wrong:
                    queue.append(after)
                elif wrong not in found.violations:
                    found.violations[wrong] = way(came, after)
                    if wrong == stop_at:
                        found.states = len(came)
                        return found
            if len(came) > limit:
                raise RuntimeError(f"more than {limit} states: the model has outgrown its bound")
        stuck = first_stuck(came, repaired_from)
    found.states = len(came)
    if stuck is not None:
        found.violations[STUCK] = way(came, stuck)
    return found


def _note_changes(found: Explored, world: World, after: World) -> None:
    for one, two in zip(world.attempts, after.attempts, strict=True):
        if one.register != two.register:
            found.register_changes.add((one.register, two.register))
        if one.opening != two.opening:
            found.opening_changes.add((one.opening, two.opening))


def _following(world: World, rules: Rules, *, leaks: bool) -> Iterator[tuple[str, World, bool]]:
    for said, after in repairs(world, rules):
        yield said, settled(after, rules), True
    for said, after in disturbances(world, rules, leaks=leaks):
        yield said, settled(after, rules), False


@contextmanager
def _no_collector() -> Iterator[None]:
    """Keep the collector from walking through millions of tuples that hold no cycle."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def first_stuck(came: Ways, repaired_from: dict[World, list[World]]) -> World | None:
    """Return the first state from which the parties alone never get back to one writer."""
    good = {world for world in came if not world.broken and has_one_writer(world)}
    queue = deque(good)
    while queue:
        for before in repaired_from.get(queue.popleft(), ()):
            if before not in good:
                good.add(before)
                queue.append(before)
    return next((w for w in came if w not in good and not violation(w)), None)


def way(came: Ways, world: World) -> list[str]:
    """Return the steps from the start to `world`."""
    steps: list[str] = []
    at: World | None = world
    while at is not None:
        before, said = came[at]
        if said:
            steps.append(said)
        at = before
    return steps[::-1]
