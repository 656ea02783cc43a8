"""From behind the fence to the end: what the orchestrator, the local fuse and `recover` all do.

Whoever finishes holds the attempt's row in `opening` from his last look at the drain to the
opening. If it says `opened` or `given up` he touches nothing on that server: a second mark would
skip the first new writes, a second delta would set used sequences back, a second opening could undo
a later fence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import psycopg

from bluegreen import aftermath, dns, fence, fenced_roles, register
from bluegreen.crossing import Crossed, Crossing, Fence
from bluegreen.errors import Refused, Retry, StayFenced
from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import Opening
from bluegreen.side import Side, application_name, end_others, unless_committed
from bluegreen.step import Step
from bluegreen.switch_plan import SwitchPlan
from bluegreen.timeline import Timeline
from bluegreen.watchdog import Watchdog

log = logging.getLogger(__name__)

AGAIN = "run pulumi up again, or bluegreen recover"

# How long one finisher waits for another, which may have to insist on drain and names.
_COLLEAGUE_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch left: `mark` is where the replication of the other direction starts."""

    mark: Lsn
    attempt: str
    slipped: int
    """Writes that came to the old writer after its barrier, and are nowhere else."""
    phases_ms: dict[str, float] = field(default_factory=dict)
    repeated: bool = False


def open_new(
    old: Side,
    new: Side,
    crossing: Crossing,
    attempt: str,
    timeline: Timeline,
    watchdog: Watchdog,
    fence: Fence,
) -> datetime:
    """Fence, cross, decide, open: the orchestrator's way. Returns when it was open.

    Within a transaction of `new.tool` that holds the opening's row: if that connection breaks, what
    was seen to be drained counts no more, and nothing is opened. Any error before the decision
    leaves the attempt undecided.
    """
    crossed = crossing.walk(timeline, watchdog, fence=fence)
    decided = _decide(old, attempt, crossed, watchdog)
    while not decided:
        try:
            crossed = crossing.walk(timeline, watchdog)
            decided = _decide(old, attempt, crossed, watchdog)
        except (Retry, psycopg.errors.QueryCanceled):  # it crossed before: only the time is up
            raise Retry(
                f"{old.server}: something goes on writing behind the fence; see pg_locks and"
                " pg_prepared_xacts there"
            ) from None
    watchdog.call_off()  # from here there is only forward
    timeline.passed(Step.DECIDE)
    return register.open_environment(new.tool, attempt, crossed.mark, list(new.databases))


def hold_opening(plan: SwitchPlan, new: Side, attempt: str) -> None:
    """Lock the opening's row for as long as `new.tool`'s transaction lasts.

    Raises `Refused` when another switch has begun since, and given this one's opening up.
    """
    if register.lock_opening(new.tool, attempt) is not Opening.CLOSED:
        raise Refused(f"{plan.new}: another switch has just begun; wait for it")


def claim_opening(plan: SwitchPlan, old: Side, new: Side, attempt: str) -> None:
    """Let no attempt that was registered earlier open the new side any more.

    One that slept past its own abort (a paused machine) would wake up in its sequences, after this
    attempt has opened. Its sessions hold the row, so they are ended first. Whoever was registered
    later may be live, and is left alone. Raises `Refused` when this attempt is an earlier one.
    """
    if not register.claim_opening(new.tool, attempt, register.turn(old.tool, attempt)):
        raise Refused(f"{plan.new}: another switch has begun since; wait for it")
    for earlier in register.left_closed(new.tool, attempt):
        for side in (new, old):
            end_others(side.tool, earlier, finishers=True)
        register.give_up_opening(new.tool, earlier)


def _decide(old: Side, attempt: str, crossed: Crossed, watchdog: Watchdog) -> bool:
    """Return whether it was decided; False when the barrier has to be set again."""
    if not watchdog.left():
        raise Retry(f"{old.server}: the switch did not come to its decision in time")
    try:
        if register.decide(old.tool, attempt, crossed.heartbeats, crossed.older, crossed.mark):
            return True
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return False
    raise Refused(f"{old.server}: attempt {attempt} was aborted by its fuse")


def finish(plan: SwitchPlan, attempt: str) -> Switched:
    """Carry out a decided attempt, on connections of its own, after anybody who does so already.

    Raises `Retry` when something passing stands in the way, `StayFenced` when the new writer was
    given up.
    """
    timeline = Timeline()
    with ExitStack() as stack:
        stack.enter_context(_alone(plan, attempt))
        old = Side.connect(plan.old, plan.databases, stack, attempt, finishing=True)
        new = Side.connect(plan.new, plan.databases, stack, attempt, finishing=True)
        for side in (old, new):
            # A finisher whose machine is paused must not hold up all others for ever.
            side.tool.execute("SET idle_in_transaction_session_timeout = '60s'")
        crossing = Crossing(old, new)
        stack.callback(crossing.close)
        # The register's row first, and held too: nobody goes back while this one goes forward.
        with old.tool.transaction(), unless_committed(new.tool):
            if not register.lock_decided(old.tool, attempt):
                raise Refused(f"{plan.old}: attempt {attempt} is not decided any more; look again")
            # One finisher at a time comes by here; what a dead one has sent must not go on.
            end_others(new.tool, attempt, finishers=True, spare=new.pids())
            state = register.lock_opening(new.tool, attempt)
            if state is Opening.CLOSED:
                with Watchdog((old, new), seconds=plan.finish_seconds) as watchdog:
                    crossed = crossing.walk(timeline, watchdog)
                register.open_environment(new.tool, attempt, crossed.mark, plan.databases)
                timeline.passed(Step.OPEN)
            elif state is not Opening.OPENED:
                raise StayFenced(f"{plan.new}: attempt {attempt} is {state or 'unknown'} there")
        return after(plan, old, new, attempt, timeline, repeated=True)


@contextmanager
def _alone(plan: SwitchPlan, attempt: str) -> Iterator[None]:
    """Be the only finisher, to the very end: two would end each other's sessions without end.

    Seen: the local fuse of a killed switch and the next switch needed 56 s instead of one. A
    finisher that dies lets go by that, one whose machine is paused after a while. Raises `Retry`.
    """
    name = application_name(attempt, finishing=True)
    with plan.old.connect(TOOL_DATABASE, application_name=name) as conn:
        conn.execute("SET idle_session_timeout = '180s'")
        conn.execute(
            "SELECT set_config('lock_timeout', %s, false)", (f"{1000 * _COLLEAGUE_SECONDS:.0f}ms",)
        )
        try:
            conn.execute("SELECT pg_advisory_lock(4782, 2)")
        except psycopg.errors.LockNotAvailable:
            raise Retry(
                f"{plan.old}: another process has been carrying out attempt {attempt} for"
                f" {_COLLEAGUE_SECONDS:g} s; look again"
            ) from None
        yield


def after(
    plan: SwitchPlan,
    old: Side,
    new: Side,
    attempt: str,
    timeline: Timeline,
    *,
    repeated: bool,
    opened: datetime | None = None,
) -> Switched:
    """Do what the opening leaves to do; every step may be repeated, and nothing is once it is done.

    Once done, the new writer's sessions are production's, and ending them would be an outage. The
    same goes for those that came after it was `opened`; None when that is not known.
    """
    if repeated and register.is_done(old.tool, attempt):
        return _switched(new, attempt, slipped=0, timeline=timeline, repeated=True)
    if plan.records is not None:
        dns.move(plan.records, plan.old.region)
        timeline.passed(Step.DNS)
    for side in (old, new):
        side.limit(0)
    # Only now: a session that comes back before the name has moved would come here again.
    end_sessions(new, until=opened)
    aftermath.stop_direction(
        old,
        new,
        deployment=plan.deployment,
        direction=plan.direction,
        seconds=plan.finish_seconds,
    )
    timeline.passed(Step.STOP)
    if plan.old_side == "closed":
        if register.close_old(old.tool, attempt, login_roles(plan, old)):
            end_sessions(old)
    else:
        register.let_roles_in(old.tool, attempt)
    slipped = aftermath.count_slipped(
        old, attempt, deployment=plan.deployment, direction=plan.direction
    )
    timeline.passed(Step.CLOSE)
    register.finish(old.tool, attempt, slipped)
    timeline.passed(Step.DONE)
    if slipped:
        log.error(
            "%s: %d write(s) came after its barrier and are not on %s", plan.old, slipped, plan.new
        )
    return _switched(new, attempt, slipped=slipped, timeline=timeline, repeated=repeated)


def _switched(
    new: Side, attempt: str, *, slipped: int, timeline: Timeline, repeated: bool
) -> Switched:
    opening = register.last_opening(new.tool)
    assert opening is not None, "it has been opened"
    return Switched(opening[1], attempt, slipped, timeline.phases_ms, repeated)


def end_sessions(side: Side, *, until: datetime | None = None) -> None:
    """End the sessions in the databases that move, but for the switch's own."""
    fence.end_sessions(side.tool, list(side.databases), ours=side.pids(), until=until)


def login_roles(plan: SwitchPlan, side: Side) -> list[str]:
    """Return the roles that lose LOGIN where applications must not come any more."""
    return fenced_roles.names(side.tool, side.server, plan.role_wish)
