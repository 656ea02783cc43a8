"""What each party can do next: the orchestrator, the fuses, a finisher, an operator.

Every function takes a world and yields what may follow, named. A command and its answer are one
step while the sender lives: a sender that waits does nothing else, so a slow command is one that
comes later. What a dead sender has sent is in `Attempt.sent` and executes whenever it likes.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model import commands
from tests.model.rules import Rule
from tests.model.world import (
    ARM,
    BARRIER,
    BEFORE_DECISION,
    CLOSE,
    CLOSED,
    COUNT,
    CROSSING,
    DEAD,
    DECIDE,
    DECIDED,
    DRAIN,
    END_SESSIONS,
    ENDED,
    FENCE,
    GIVEN_UP,
    IDLE,
    LIVE,
    LOCAL_FUSE,
    LOOK,
    MARK,
    OPEN,
    OPENED,
    ORCHESTRATOR,
    PREPARING,
    READY,
    RECOVER,
    SEQUENCES,
    UNREGISTERED,
    WATCHING,
    WRITER_ONLY,
    World,
    at,
    where,
    with_attempt,
    with_server,
)

Rules = frozenset[Rule]
Steps = Iterator[tuple[str, World]]


def orchestrator(world: World, k: int, rules: Rules) -> Steps:
    """Go on with the attempt `k`, or fail and abort it."""
    attempt = world.attempts[k]
    step = attempt.orchestrator
    if step in BEFORE_DECISION:
        # Any failure, timeouts and lost connections among them.
        aborted = commands.abort(world, k, rules)
        yield "gives up: aborts", _end(aborted, k, ORCHESTRATOR)
    if step == READY:
        yield from _begin(world, k, rules)
    elif step == ARM:
        armed = with_attempt(world, k, server_fuse=WATCHING)
        yield "arms the server fuse", at(armed, k, ORCHESTRATOR, FENCE)
    elif step == FENCE:
        if attempt.register == PREPARING or Rule.FENCE_ASKS not in rules:
            yield "fences", at(commands.fence(world, k), k, ORCHESTRATOR, BARRIER)
        # Else refused: what it does then is to give up.
    elif step == END_SESSIONS:
        # As late as it may be: the barrier and the drain go on meanwhile.
        ended = commands.end_sessions(world, k) if Rule.SESSIONS_ENDED in rules else world
        yield "sees two clean passes", at(ended, k, ORCHESTRATOR, SEQUENCES)
    elif step == DECIDE:
        yield from _decide(world, k, rules)
    else:
        yield from finishing(world, k, ORCHESTRATOR, rules)


def _begin(world: World, k: int, rules: Rules) -> Steps:
    """Register the attempt, away from whichever server is the writer."""
    if k and world.attempts[0].register == UNREGISTERED:
        return  # the other order of the same two
    for old in (0, 1):
        old_side, new_side = world.servers[old], world.servers[1 - old]
        if old_side.closed or old_side.barred or not new_side.closed:
            continue
        others = [other for other in world.attempts if other.register != UNREGISTERED]
        if any(o.old == old and o.register in LIVE for o in others) and Rule.ONE_LIVE in rules:
            continue
        opposite = [other for other in others if other.old != old]
        if any(o.register in LIVE for o in opposite) and Rule.BOTH_REGISTERS in rules:
            continue
        if any(o.slipped for o in opposite) and Rule.SLIPPED_BLOCKS in rules:
            continue
        cleared = world
        if Rule.EARLIER_GIVEN_UP in rules:
            earlier = [
                index
                for index, other in enumerate(world.attempts)
                if other.old == old and other.opening == CLOSED
            ]
            if any(world.attempts[index].holding for index in earlier):
                continue  # waits for the row, and refuses in the end
            for index in earlier:
                cleared = with_attempt(cleared, index, opening=GIVEN_UP)
        begun = with_attempt(
            cleared, k, old=old, register=PREPARING, opening=CLOSED, local_fuse=WATCHING
        )
        for which in (0, 1):  # each attempt may see as many crashes as the first
            begun = with_server(begun, which, crashes=world.bound)
        yield "registers", at(begun, k, ORCHESTRATOR, ARM)


def _decide(world: World, k: int, rules: Rules) -> Steps:
    attempt = world.attempts[k]
    if ORCHESTRATOR not in attempt.holding:
        return  # the connection that saw the drain is broken: only an abort is left
    decided = commands.decide(world, k, rules)
    if decided is not None:
        yield "decides", at(decided, k, ORCHESTRATOR, OPEN)
    elif attempt.register == PREPARING:
        yield "is not quiet", at(commands.barrier(world, k), k, ORCHESTRATOR, DRAIN)


def finishing(world: World, k: int, party: str, rules: Rules) -> Steps:
    """Go from the barrier to the opening and on: the same for every party that may do it."""
    attempt = world.attempts[k]
    step = where(world, k, party)
    if step == BARRIER:
        yield from _take_the_row(world, k, party, rules)
    elif step in CROSSING and party not in attempt.holding:
        yield from _reconnect(world, k, party, rules)
    elif step == DRAIN:
        if world.flows[attempt.old].before != WRITER_ONLY or Rule.DRAINED not in rules:
            after = END_SESSIONS if attempt.register == PREPARING else SEQUENCES
            yield "sees the barrier on the new writer", at(world, k, party, after)
    elif step == SEQUENCES:
        brought = commands.bring_sequences(world, k) if Rule.SEQUENCES_EXACT in rules else world
        yield "brings the sequences", at(brought, k, party, MARK)
    elif step == MARK:
        marked = commands.mark(world, k, rules)
        early = Rule.OPEN_AFTER_DECISION not in rules
        to_decide = party == ORCHESTRATOR and attempt.register != DECIDED and not early
        yield "takes the mark", at(marked, k, party, DECIDE if to_decide else OPEN)
    elif step == OPEN:
        opened = commands.open_environment(world, k, party, rules)
        if opened is not None:
            yield "opens", at(opened, k, party, CLOSE)
    elif step == CLOSE:
        late = Rule.CLOSED_BEFORE_COUNT not in rules
        done = commands.count(world, k) if late else commands.close_old_side(world, k, rules)
        yield "counts" if late else "closes the old side", at(done, k, party, COUNT)
    elif step == COUNT:
        late = Rule.CLOSED_BEFORE_COUNT not in rules
        done = commands.close_old_side(world, k, rules) if late else commands.count(world, k)
        yield "notes that it is done", _end(commands.finish(done, k), k, party)


def _take_the_row(world: World, k: int, party: str, rules: Rules) -> Steps:
    attempt = world.attempts[k]
    if attempt.opening != CLOSED and Rule.ROW_ASKED in rules:
        if party == ORCHESTRATOR and attempt.register == PREPARING:
            return  # given up meanwhile: it aborts
        if attempt.opening == OPENED:
            yield "finds it opened", at(world, k, party, CLOSE)
        else:
            yield "finds it given up", at(world, k, party, LOOK)
    elif not attempt.holding or Rule.ROW_HELD not in rules:
        held = with_attempt(world, k, holding=tuple(sorted({*attempt.holding, party})))
        yield "takes the row and sets the barrier", at(commands.barrier(held, k), k, party, DRAIN)


def _reconnect(world: World, k: int, party: str, rules: Rules) -> Steps:
    """Begin the crossing again on another connection: what the broken one saw may be gone."""
    attempt = world.attempts[k]
    if attempt.register == PREPARING:
        return  # the orchestrator, before the decision: it aborts
    if Rule.SAME_CONNECTION in rules:
        yield "has lost its connection", at(world, k, party, BARRIER)
    elif not attempt.holding and attempt.opening == CLOSED:
        held = with_attempt(world, k, holding=(party,))
        yield "goes on over another connection", held


def local_fuse(world: World, k: int, rules: Rules) -> Steps:
    """Wake when the orchestrator is dead, and do what the register says."""
    attempt = world.attempts[k]
    if attempt.local_fuse == WATCHING:
        if attempt.orchestrator == DEAD:
            yield "wakes", at(world, k, LOCAL_FUSE, LOOK)
    elif attempt.local_fuse == LOOK:
        yield from _look(world, k, LOCAL_FUSE, rules)
    else:
        yield from finishing(world, k, LOCAL_FUSE, rules)


def recover(world: World, rules: Rules) -> Steps:
    """Do what the registers say: `bluegreen recover`, or the next `pulumi up`."""
    k, step = world.recover
    if step == IDLE:
        for index, attempt in enumerate(world.attempts):
            if attempt.register in LIVE:
                yield "starts", world._replace(recover=(index, LOOK))
    elif step == LOOK:
        yield from _look(world, k, RECOVER, rules)
    else:
        yield from finishing(world, k, RECOVER, rules)


def _look(world: World, k: int, party: str, rules: Rules) -> Steps:
    attempt = world.attempts[k]
    if attempt.register == PREPARING:
        yield "aborts", _end(commands.abort(world, k, rules), k, party)
    elif attempt.register == DECIDED and attempt.opening == GIVEN_UP:
        yield "goes back", _end(commands.go_back(world, k), k, party)
    elif attempt.register == DECIDED:
        yield "takes over", at(world, k, party, BARRIER)
    else:
        yield "has nothing to do", _end(world, k, party)


def server_fuse(world: World, k: int, rules: Rules) -> Steps:
    """Abort at the deadline, whenever that is; it needs nobody."""
    if world.attempts[k].server_fuse == WATCHING:
        burnt = with_attempt(commands.abort(world, k, rules), k, server_fuse=ENDED)
        yield "burns", burnt


def _end(world: World, k: int, party: str) -> World:
    """Return the world without `party`: its sessions are closed, the local fuse is told."""
    attempt = world.attempts[k]
    holding = tuple(holder for holder in attempt.holding if holder != party)
    left = with_attempt(world, k, holding=holding)
    if party == RECOVER:
        return at(left, k, RECOVER, IDLE)
    if party == ORCHESTRATOR and attempt.local_fuse == WATCHING:
        left = at(left, k, LOCAL_FUSE, ENDED)
    return at(left, k, party, ENDED)


def operator(world: World, k: int, rules: Rules) -> Steps:
    """Give a new writer up that was decided on and never opened; resolve what slipped in."""
    attempt = world.attempts[k]
    if attempt.register == DECIDED and attempt.opening == CLOSED:
        if Rule.GIVING_UP_COMPETES not in rules:
            yield "goes back at once", commands.go_back(world, k)
        elif not attempt.holding:
            yield "gives the new writer up", with_attempt(world, k, opening=GIVEN_UP)
    if attempt.slipped == 2 and attempt.register == "done":
        yield "resolves what slipped in", with_attempt(world, k, slipped=0)
