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
    ABORT,
    ARM,
    BARRIER,
    BEFORE_DECISION,
    CLAIM,
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
    EXPECT,
    FENCE,
    GIVE_UP,
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
    REGISTER,
    SEQUENCES,
    WATCHING,
    WRITER_ONLY,
    World,
    at,
    where,
    with_attempt,
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
        yield from _look_around(world, k, rules)
    elif step == EXPECT:
        yield from _expect(world, k, rules)
    elif step == REGISTER:
        yield from _register(world, k, rules)
    elif step == CLAIM:
        yield from _claim(world, k, rules)
    elif step == GIVE_UP:
        for after in _given_up(world, k, rules):
            yield "gives earlier attempts up", at(after, k, ORCHESTRATOR, ARM)
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


def _look_around(world: World, k: int, rules: Rules) -> Steps:
    """Look which side is the writer, and whether an attempt is live: nothing is locked yet.

    From there it waits, for a heartbeat and for the local fuse, as long as it may be.
    """
    if k and world.attempts[0].orchestrator == READY:
        return  # the other order of the same two
    for old in (0, 1):
        old_side, new_side = world.servers[old], world.servers[1 - old]
        if old_side.closed or old_side.barred or not new_side.closed:
            continue
        if any(other.register in LIVE for other in world.attempts):
            continue
        opposite = [other for other in world.attempts if other.register and other.old != old]
        if any(o.slipped for o in opposite) and Rule.SLIPPED_BLOCKS in rules:
            continue
        yield "has looked", at(with_attempt(world, k, old=old), k, ORCHESTRATOR, EXPECT)


def _expect(world: World, k: int, rules: Rules) -> Steps:
    """`expect_opening`: the row on the new side."""
    if Rule.REGISTERED_FIRST not in rules:
        given_up = [*_given_up(world, k, rules)]
        if not given_up:
            return
        (world,) = given_up
    attempt = world.attempts[k]
    leaves = any(o.old == attempt.new and o.register in LIVE for o in world.attempts)
    slipped = any(o.old == attempt.new and o.register and o.slipped for o in world.attempts)
    refused = (leaves or not world.servers[attempt.new].closed) and Rule.EXPECTING_ASKS in rules
    if refused or (slipped and Rule.SLIPPED_BLOCKS in rules):
        yield "is refused", _end(world, k, ORCHESTRATOR)
    else:
        expected = with_attempt(world, k, opening=CLOSED)
        yield "expects the opening", at(expected, k, ORCHESTRATOR, REGISTER)


def _register(world: World, k: int, rules: Rules) -> Steps:
    """`begin_switch`: the row on the old side, or its refusal."""
    begun = commands.begin(world, k, rules)
    if begun is not None:
        begun = with_attempt(begun, k, local_fuse=WATCHING)
        yield "registers", at(begun, k, ORCHESTRATOR, CLAIM)
        return
    refused = with_attempt(world, k, opening=GIVEN_UP)
    yield "is refused", _end(refused, k, ORCHESTRATOR)


def _claim(world: World, k: int, rules: Rules) -> Steps:
    """`claim_opening`: refused to one that was registered earlier than another that has."""
    attempt = world.attempts[k]
    later = any(
        o.old == attempt.old and o.claimed and o.turn > attempt.turn for o in world.attempts
    )
    if attempt.opening != CLOSED:
        return  # given up: it aborts
    if later and Rule.IN_TURN in rules:
        refused = with_attempt(world, k, opening=GIVEN_UP)
        yield "is too late", refused
    else:
        claimed = with_attempt(world, k, claimed=True)
        yield "claims the opening", at(claimed, k, ORCHESTRATOR, GIVE_UP)


def _given_up(world: World, k: int, rules: Rules) -> Iterator[World]:
    """Yield the world without what earlier attempts have left closed on the new side."""
    if Rule.EARLIER_GIVEN_UP not in rules:
        yield world
        return
    mine = world.attempts[k]
    in_turn = Rule.IN_TURN in rules and Rule.REGISTERED_FIRST in rules
    earlier = [
        index
        for index, other in enumerate(world.attempts)
        if index != k
        and other.old == mine.old
        and other.opening == CLOSED
        and (not in_turn or (other.claimed and other.turn < mine.turn))
    ]
    for index in earlier:
        # Its sessions are ended first, but for those of the fuses: what they hold and sent is gone.
        sent = tuple(command for command in world.attempts[index].sent if command == ABORT)
        world = commands.give_up(with_attempt(world, index, holding=(), sent=sent), index)
    yield world


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
