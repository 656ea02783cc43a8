"""From behind the fence to the end: what the orchestrator, the local fuse and `recover` all do.

The process that finishes holds the attempt's row in `opening` from its last check of the drain to
the opening. If the row says `opened` or `given up` it touches nothing on that server: a second mark
would skip the first new writes, a second delta would set used sequences back, a second opening
could undo a later fence.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

import psycopg

from bluegreen.errors import BlueGreenError, Refused, Retry, StayFenced
from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE
from bluegreen.polling import poll_until
from bluegreen.postgres.connection import ConnectionLost
from bluegreen.postgres.queries import set_seconds
from bluegreen.register import closing, fenced_roles, register
from bluegreen.register.register import Opening
from bluegreen.switch import old_direction, traffic
from bluegreen.switch.drain import Drain
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.side import Side, application_name, end_others, unless_committed
from bluegreen.switch.step import Step
from bluegreen.switch.timeline import Timeline
from bluegreen.switch.traffic import Moved
from bluegreen.switch.watchdog import Watchdog

log = logging.getLogger(__name__)

AGAIN = "run pulumi up again, or bluegreen recover"

# How often a finisher may wait for all of `finish_seconds`: while it holds both rows, for the drain
# and the early end of the old direction; after the opening, for its end and for its last reader.
_WAITS_HOLDING_ROWS = 2
_WAITS = 4
# What else may take time: connecting, ending sessions, moving names.
_BESIDES_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch left; `mark` is where the replication of the other direction starts."""

    mark: Lsn
    attempt: str
    slipped: int
    """Writes that came to the old writer after its barrier, and are nowhere else."""
    phases_ms: dict[str, float] = field(default_factory=dict)
    repeated: bool = False
    moved: Moved | None = None
    """The change of the names; None where there are none, or another process has moved them."""


def finish(plan: SwitchPlan, attempt: str) -> Switched:
    """Carry out a decided attempt, on its own connections, after any other finisher has ended.

    When a connection dies it starts again on new ones. Raises `Retry` when something temporary is
    in the way, `StayFenced` when the new writer was given up.
    """
    found = ""
    for _ in poll_until(time.monotonic() + plan.finish_seconds, first=0.01):
        try:
            return _finish(plan, attempt)
        except ConnectionLost as error:
            found = str(error)
            log.warning("attempt %s: %s; going on over new connections", attempt, found)
    raise Retry(f"attempt {attempt}: {found}; {AGAIN}")


def _finish(plan: SwitchPlan, attempt: str) -> Switched:
    timeline, opened = Timeline(), None
    with ExitStack() as stack:
        stack.enter_context(_alone(plan, attempt))
        old = Side.connect(plan.old, plan.databases, stack, attempt, finishing=True)
        new = Side.connect(plan.new, plan.databases, stack, attempt, finishing=True)
        for side in (old, new):
            # A finisher whose machine is paused must not block all others for ever.
            set_seconds(
                side.tool,
                "idle_in_transaction_session_timeout",
                _BESIDES_SECONDS + _WAITS_HOLDING_ROWS * plan.finish_seconds,
            )
        drain = Drain(old, new)
        stack.callback(drain.close)
        # The register's row is locked first, and kept: nobody goes back while this one goes
        # forward.
        with old.tool.transaction(), unless_committed(new.tool):
            if not register.lock_decided(old.tool, attempt):
                if register.is_done(old.tool, attempt):
                    return _switched(new, attempt, slipped=0, timeline=timeline, repeated=True)
                raise Refused(f"{plan.old}: attempt {attempt} is not decided any more; try again")
            # One finisher at a time gets here; what a dead one has sent must not go on.
            end_others(new.tool, attempt, finishers=True, spare=new.pids())
            state = register.lock_opening(new.tool, attempt)
            if state is Opening.CLOSED:
                old_direction.resume_applying(
                    new, deployment=plan.deployment, direction=plan.direction
                )
                with Watchdog((old, new), seconds=plan.finish_seconds) as watchdog:
                    drained = drain.run(watchdog, timeline)
                stop_early(plan, new)
                opened = register.open_environment(new.tool, attempt, drained.mark, plan.databases)
                timeline.passed(Step.OPEN)
            elif state is not Opening.OPENED:
                raise StayFenced(f"{plan.new}: attempt {attempt} is {state or 'unknown'} there")
        return clean_up(plan, old, new, attempt, timeline, repeated=True, opened=opened)


def stop_early(plan: SwitchPlan, new: Side) -> None:
    """Stop the old direction before the opening, where clients may write behind the fence.

    `fence: read-only` is only a default: a client that asks for a read-write transaction has one,
    and if its row were applied after the opening it would replace the new writer's. What comes from
    the old side between decision and opening is applied before anybody writes, so nothing is lost.

    This commits apart from the opening, which is in another database. A process that dies in
    between leaves a disabled subscription on a closed side. A finisher enables it again, checks the
    drain itself, and gets here. Before that it has ended the dead one's sessions, so none of them
    can disable the subscription during the drain.
    """
    if plan.fence == "read-only":
        stop(plan, new)


def stop(plan: SwitchPlan, new: Side) -> None:
    """Stop applying anything of the old direction."""
    old_direction.stop_applying(
        new,
        deployment=plan.deployment,
        direction=plan.direction,
        seconds=plan.finish_seconds,
    )


@contextmanager
def _alone(plan: SwitchPlan, attempt: str) -> Iterator[None]:
    """Be the only finisher, to the very end: two would go on ending each other's sessions.

    Seen: the local fuse of a killed switch and the next switch needed 56 s instead of one. A
    finisher that dies releases the lock at once, one whose machine is paused after a while. Raises
    `Retry`.
    """
    name = application_name(attempt, finishing=True)
    with plan.old.connect(TOOL_DATABASE, application_name=name) as conn:
        longest = 2 * _BESIDES_SECONDS + _WAITS * plan.finish_seconds
        set_seconds(conn, "idle_session_timeout", longest + _BESIDES_SECONDS)
        set_seconds(conn, "lock_timeout", longest)
        try:
            conn.execute("SELECT pg_advisory_lock(4782, 2)")
        except psycopg.errors.LockNotAvailable:
            raise Retry(
                f"{plan.old}: another process has been carrying out attempt {attempt} for"
                f" {longest:g} s; try again"
            ) from None
        try:
            yield
        finally:
            # By a statement, since ending a dead connection would release nothing: the wait
            # for this answer finds out, and ends the session there.
            with contextlib.suppress(psycopg.Error):
                conn.execute("SELECT pg_advisory_unlock(4782, 2)")


def clean_up(
    plan: SwitchPlan,
    old: Side,
    new: Side,
    attempt: str,
    timeline: Timeline,
    *,
    repeated: bool,
    opened: datetime | None = None,
) -> Switched:
    """Run the steps after the opening. Each may be repeated; a finished attempt is left untouched.

    Each step is tried whatever became of the others, and the names move beside them: a refusal by
    Route 53 doesn't keep the old direction running, and a side that fails doesn't keep a name.
    Raises `Retry` with all that failed.

    On the new writer only the sessions older than the opening are ended (`opened`; None asks the
    register): the later ones are production's.
    """
    if repeated and register.is_done(old.tool, attempt):
        return _switched(new, attempt, slipped=0, timeline=timeline, repeated=True)
    until = opened or register.opened_at(new.tool, attempt)
    parts = Parts()
    moving = ThreadPoolExecutor(1, "names")
    with moving:
        names = moving.submit(traffic.lead, plan, new.tool, attempt)
        for side in (new, old):
            parts.do(partial(side.limit, 0))
        stopped = parts.do(lambda: stop(plan, new))
        timeline.passed(Step.STOP)
        parts.do(lambda: _close_old(plan, old, attempt))
        timeline.passed(Step.CLOSE)
        parts.do(names.result)
        timeline.passed(Step.DNS)
    # Only now: a session that reconnects before the name has moved would come here again.
    parts.do(lambda: end_sessions(new, until=until))
    slipped = [0]
    if stopped:  # otherwise it may still be read, and a row that is read is not counted
        parts.do(lambda: slipped.append(_count_slipped(plan, old, new, attempt)))
    parts.require_all(plan, attempt)
    register.finish(old.tool, attempt, slipped[-1])
    timeline.passed(Step.DONE)
    if slipped[-1]:
        log.error(
            "%s: %d write(s) came after its barrier and are not on %s",
            plan.old,
            slipped[-1],
            plan.new,
        )
    done = _switched(new, attempt, slipped=slipped[-1], timeline=timeline, repeated=repeated)
    change, at = names.result(), timeline.opened_at or until
    return done if change is None or at is None else replace(done, moved=Moved(change, at))


class Parts:
    """Steps that each run whatever becomes of the others; failures are collected."""

    def __init__(self) -> None:
        self.failures: list[BlueGreenError | psycopg.Error] = []

    def do(self, part: Callable[[], object]) -> bool:
        """Run one step; return whether it succeeded."""
        try:
            part()
        except (BlueGreenError, psycopg.Error) as error:
            self.failures.append(error)
            return False
        return True

    def require_all(self, plan: SwitchPlan, attempt: str) -> None:
        """Raise `Retry` with what failed, if anything did.

        Raises `ConnectionLost` when that was a connection: over new ones it may succeed at once.
        """
        for error in self.failures:
            if isinstance(error, ConnectionLost):
                raise error
        said = dict.fromkeys(" ".join(str(error).split()) for error in self.failures)
        if said:
            raise Retry(
                f"{plan.new}: is the writer; attempt {attempt} is not over: {'; '.join(said)};"
                f" {AGAIN}"
            )


def _close_old(plan: SwitchPlan, old: Side, attempt: str) -> None:
    if plan.old_side == "closed":
        if register.close_old(old.tool, attempt, login_roles(plan, old)):
            end_sessions(old)
    else:
        register.restore_logins(old.tool, attempt)


def _count_slipped(plan: SwitchPlan, old: Side, new: Side, attempt: str) -> int:
    deployment, direction = plan.deployment, plan.direction
    old_direction.wait_until_unread(
        old, deployment=deployment, direction=direction, seconds=plan.finish_seconds
    )
    return old_direction.count_slipped(
        old, new, attempt, deployment=deployment, direction=direction
    )


def _switched(
    new: Side, attempt: str, *, slipped: int, timeline: Timeline, repeated: bool
) -> Switched:
    opening = register.last_opening(new.tool)
    assert opening is not None, "it has been opened"
    return Switched(opening[1], attempt, slipped, timeline.phases_ms, repeated)


def end_sessions(side: Side, *, until: datetime | None = None) -> None:
    """End the sessions in the databases that move, except the switch's own."""
    closing.end_sessions(side.tool, list(side.databases), ours=side.pids(), until=until)


def login_roles(plan: SwitchPlan, side: Side) -> list[str]:
    """Return the roles that lose LOGIN where applications must not log in any more."""
    return fenced_roles.roles_to_fence(side.tool, side.server, plan.fence_spec)
