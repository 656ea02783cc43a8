"""What happens to the parties: applications, replication, crashes, deaths, late commands."""

from __future__ import annotations

from collections.abc import Iterator

from tests.model import commands
from tests.model.parties import Rules, Steps
from tests.model.rules import Rule
from tests.model.world import (
    ABORT,
    APPLIED,
    BEFORE_DECISION,
    CLOSE,
    CLOSED,
    DEAD,
    DECIDE,
    DECIDED,
    ENDED,
    FENCE,
    IDLE,
    LOCAL_FUSE,
    LOOK,
    NAMES,
    OPEN,
    OPENED,
    ORCHESTRATOR,
    PREPARING,
    READY,
    RECOVER,
    REGISTER,
    SENT,
    SEQUENCES,
    WATCHING,
    WRITER_ONLY,
    World,
    at,
    takes_writes,
    where,
    with_attempt,
    with_flow,
    with_server,
)

_ON_OLD = (REGISTER, FENCE, ABORT, DECIDE, CLOSE)
_ON_NEW = (SEQUENCES, OPEN)


def applications(world: World, which: int) -> Steps:
    """Write where writing is possible."""
    server = world.servers[which]
    if takes_writes(server):
        wrote = with_flow(world, which, after=WRITER_ONLY, wrote=True, sequences=WRITER_ONLY)
        wrote = with_server(wrote, which, fresh=True)
        for k, attempt in enumerate(wrote.attempts):
            # A synchronous commit flushes all before it.
            if attempt.new == which and attempt.opening == OPENED:
                wrote = with_attempt(wrote, k, opening_flushed=True)
        if wrote != world:
            yield f"an application writes on the {NAMES[which]}", wrote
    if server.leak:
        leaked = with_flow(world, which, after=WRITER_ONLY, wrote=True, sequences=WRITER_ONLY)
        leaked = with_server(leaked, which, leak=False)
        yield f"the leak on the {NAMES[which]} commits", leaked


def leaks(world: World, k: int) -> Steps:
    """Pass the fence: a superuser, or a session that says BEGIN READ WRITE.

    Before the decision it is what the quiet check is for; after it, the fence can't stop it and the
    closing of the old side ends it: such writes are counted.
    """
    attempt = world.attempts[k]
    old = world.servers[attempt.old]
    if not (old.closed and old.ended) or old.barred:
        return
    if attempt.register == PREPARING and not old.leak:
        yield "a transaction passes the fence", with_server(world, attempt.old, leak=True)
    if attempt.register == DECIDED and attempt.slipped != 1:
        yield "a stale client writes on the old side", with_attempt(world, k, slipped=1)


def replication(world: World, source: int) -> Steps:
    """Apply at the standby, in order, without waiting for its disk."""
    flow, standby = world.flows[source], world.servers[1 - source]
    # The subscription of the old direction is there until the attempt is done.
    left = any(a.old == source and a.register == DECIDED for a in world.attempts)
    if not standby.closed and not left:
        return
    if flow.before == WRITER_ONLY:
        yield "rows cross", with_flow(world, source, before=APPLIED)
    elif flow.after == WRITER_ONLY:
        yield "rows cross", with_flow(world, source, after=APPLIED)


def crash(world: World, which: int) -> Steps:
    """Crash and start again: sessions, locks and what was not flushed are gone."""
    server = world.servers[which]
    if not server.crashes:
        return
    crashed = with_server(world, which, crashes=server.crashes - 1, ended=server.closed, leak=False)
    flow = world.flows[1 - which]
    crashed = with_flow(
        crashed,
        1 - which,
        before=WRITER_ONLY if flow.before == APPLIED else flow.before,
        after=WRITER_ONLY if flow.after == APPLIED else flow.after,
        sequences=WRITER_ONLY if flow.sequences == APPLIED else flow.sequences,
    )
    for k in (0, 1):
        crashed = _crashed_attempt(crashed, k, which)
    yield f"the {NAMES[which]} crashes", crashed


def _crashed_attempt(world: World, k: int, which: int) -> World:
    attempt = world.attempts[k]
    if attempt.old == which:
        world = with_attempt(
            world,
            k,
            server_fuse=ENDED if attempt.server_fuse == WATCHING else attempt.server_fuse,
            sent=tuple(command for command in attempt.sent if command not in _ON_OLD),
            register=attempt.register if attempt.flushed else PREPARING,
            flushed=True,
        )
    else:
        lost = attempt.opening == OPENED and not attempt.opening_flushed
        world = with_attempt(
            world,
            k,
            holding=(),
            sent=tuple(command for command in attempt.sent if command not in _ON_NEW),
            opening=CLOSED if lost else attempt.opening,
            opening_flushed=True,
        )
        if lost:
            world = with_server(world, which, closed=True, ended=True)
    return world


def flush(world: World, k: int) -> Steps:
    """Let the WAL writer catch up with a decision or an opening that did not wait for it."""
    attempt = world.attempts[k]
    if not attempt.flushed:
        yield "the decision is flushed", with_attempt(world, k, flushed=True)
    if not attempt.opening_flushed:
        yield "the opening is flushed", with_attempt(world, k, opening_flushed=True)


def deaths(world: World, k: int, rules: Rules) -> Steps:
    """Kill the orchestrator, the local fuse or recover, whatever it has just sent."""
    for party in (ORCHESTRATOR, LOCAL_FUSE, RECOVER):
        step = where(world, k, party)
        if step in (READY, IDLE, ENDED, DEAD) or (party == RECOVER and world.recover[0] != k):
            continue
        dead = at(world, k, party, IDLE if party == RECOVER else DEAD)
        holding = world.attempts[k].holding
        rest = tuple(holder for holder in holding if holder != party)
        yield f"the {party} dies", with_attempt(dead, k, holding=rest)
        for command in _commands(party, step):
            sent = world.attempts[k].sent
            if command in sent or (command in _ON_NEW and party not in holding):
                continue
            left = with_attempt(dead, k, sent=tuple(sorted((*sent, command))), holding=rest)
            waited = command == OPEN or (command == SEQUENCES and Rule.SEQUENCES_WAIT in rules)
            if waited:
                left = with_attempt(left, k, holding=tuple(sorted({*rest, SENT})))
            yield f"the {party} dies, its {command} on its way", left


def _commands(party: str, step: str) -> Iterator[str]:
    if step in (REGISTER, FENCE, DECIDE, SEQUENCES, OPEN, CLOSE):
        yield step
    if (party == ORCHESTRATOR and step in BEFORE_DECISION) or step == LOOK:
        yield ABORT


def late(world: World, k: int, rules: Rules) -> Steps:
    """Execute a command whose sender is dead."""
    attempt = world.attempts[k]
    for command in attempt.sent:
        sent = tuple(other for other in attempt.sent if other != command)
        held = attempt.holding
        if command in _ON_NEW:
            held = tuple(holder for holder in held if holder != SENT)
        rest = with_attempt(world, k, sent=sent, holding=held)
        yield f"the late {command} executes", _execute(rest, k, command, rules)


def _execute(world: World, k: int, command: str, rules: Rules) -> World:
    register = world.attempts[k].register
    if command == REGISTER:
        return commands.begin(world, k, rules) or world
    if command == FENCE:
        asked = register == PREPARING or Rule.FENCE_ASKS not in rules
        return commands.fence(world, k) if asked else world
    if command == ABORT:
        return commands.abort(world, k, rules)
    if command == DECIDE:
        return commands.decide(world, k, rules) or world
    if command == SEQUENCES:
        return commands.bring_sequences(world, k)
    if command == OPEN:
        return commands.open_environment(world, k, SENT, rules) or world
    return commands.close_old_side(world, k, rules)
