"""The switch: which environment accepts writes. The same for a cutover and a rollback.

Everything slow happens before the fence or after the opening. Until the decision any failure takes
the fence off again, exactly as it was put on; after the decision there is only forward. Abort and
decision change the same row of the register, so only one of them can happen. The new writer is
opened only after the decision, so both sides are never open.

Within the outage, by connection (one per database and side, and one to each tool's database):

    old.tool             old.databases        new.databases          new.tool
    --------             -------------        -------------          --------
                         begin: wait for      begin: wait for        holds the opening's row
                         the fence, then      the barrier's          since before the fence
                         barrier, sequences   heartbeat                     :
    fence.put_up              :                    :                        :
      closes, commits         :                    :                        :
      ends sessions           :                    :                        :
      says it is up ------> barrier ===========> it is visible              :
                              |          (subscription)                     :
                            sequences              |                        :
                              +---------------> sequences, then             :
                                                a synchronous commit:       :
                                                the mark                    :
    decide <---------------------------------------+                        :
      +------------------------------------------------------------> open, commits

The orchestrator sends `--->` once it has the previous answer, except the first, which the waiting
sessions see in the server by themselves; `===>` goes by replication; `:` waits.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Self

import psycopg

from bluegreen.aws import dns
from bluegreen.errors import BlueGreenError, Refused, Retry, StayFenced
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres import connection, queries
from bluegreen.postgres.connection import ConnectionLost, said
from bluegreen.register import closing, fenced_roles, register
from bluegreen.replication import coverage
from bluegreen.replication.both_sides import BothSides
from bluegreen.switch import completion, fence, opening, recovery
from bluegreen.switch.completion import AGAIN, Switched
from bluegreen.switch.decision import decide
from bluegreen.switch.drain import Drain
from bluegreen.switch.local_fuse import LocalFuse
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.readiness import leaks, left_behind, outside_sources, way_back
from bluegreen.switch.schema_watch import SchemaWatch
from bluegreen.switch.server_fuse import ServerFuse
from bluegreen.switch.side import Connection, Side, unless_committed
from bluegreen.switch.step import Step
from bluegreen.switch.timeline import Timeline
from bluegreen.switch.watchdog import Watchdog

log = logging.getLogger(__name__)

Report = Callable[[str], None]

# How long the switch itself tries to carry out a decision whose opening failed.
_INSIST_SECONDS = 60.0
_PAUSE_SECONDS = 0.2


def switch(plan: SwitchPlan, report: Report = log.info) -> Switched:
    """Make `plan.new` the writer; finish what an earlier attempt has begun.

    Raises `Refused` or `Retry` with the old writer open again, `StayFenced` when a decision has
    been made and can only be carried out.
    """
    try:
        return _switch(plan, report)
    except psycopg.Error as error:
        # For example another finisher ended our sessions: both may be at work after a loss.
        raise Retry(
            f"{plan.old} to {plan.new}: the switch was broken off: {said(error)}; {AGAIN}"
        ) from None


def _switch(plan: SwitchPlan, report: Report) -> Switched:
    timeline = Timeline()
    attempt = _attempt_name(plan)
    with ExitStack() as stack:
        # Its process starts while connections are opened and sequences pre-set.
        local_fuse = stack.enter_context(LocalFuse(plan, attempt))
        old = Side.connect(plan.old, plan.databases, stack, attempt)
        new = Side.connect(plan.new, plan.databases, stack, attempt)
        drain = Drain(old, new)
        stack.callback(drain.close)
        earlier = _earlier(plan, old, new, report)
        if earlier is not None:
            return earlier

        count = _ready(plan, old, new, drain)
        report(f"{plan.old} to {plan.new}: {count} sequences pre-set, replication is current")
        timeline.passed(Step.READY)
        local_fuse.wait_until_armed()
        timeline.passed(Step.ARM)

        roles = fenced_roles.chosen(old.tool, plan.old, plan.fence_spec)
        opening.expect(plan, new, attempt)
        with _Undecided(plan, old, attempt) as undecided:
            _register(plan, old, new, attempt)
            opening.claim(plan, old, new, attempt)
            server_fuse = stack.enter_context(ServerFuse(plan.old, attempt))
            ours = [*old.pids(), server_fuse.pid]
            for side in (old, new):
                side.limit(plan.drain_seconds)
            with unless_committed(new.tool):
                opening.hold(plan, new, attempt)
                timeline.passed(Step.REGISTER)
                with Watchdog((old, new), seconds=plan.drain_seconds) as watchdog:
                    up = fence.until_up(old.tool, attempt, seconds=watchdog.left())
                    with drain.begin(watchdog, behind=up) as pending:
                        fence.put_up(
                            old.tool,
                            attempt,
                            databases=plan.databases,
                            roles=roles,
                            fuse=server_fuse.pid,
                            ours=ours,
                            seconds=watchdog.left(),
                        )
                        timeline.passed(Step.FENCE)
                        pending.wait_until_across()
                        timeline.passed(Step.DRAIN)
                        drained = pending.bring_sequences()
                        timeline.passed(Step.SEQUENCES)
                    drained = decide(old, attempt, drained, drain, watchdog, timeline)
                    watchdog.call_off()  # from here there is only forward
                    timeline.passed(Step.DECIDE)
                completion.stop_early(plan, new)
                opened = register.open_environment(
                    new.tool, attempt, drained.mark, list(plan.databases)
                )
            timeline.passed(Step.OPEN)
        if undecided.carried_out is not None:
            return undecided.carried_out
        server_fuse.disarm()

        try:
            return completion.clean_up(
                plan, old, new, attempt, timeline, repeated=False, opened=opened
            )
        except ConnectionLost as error:
            log.warning("attempt %s: %s; going on over new connections", attempt, error)
            return completion.finish(plan, attempt)


def _attempt_name(plan: SwitchPlan) -> str:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return f"{plan.deployment}-{now}-{secrets.token_hex(3)}"


def _earlier(plan: SwitchPlan, old: Side, new: Side, report: Report) -> Switched | None:
    """Return the result of an earlier attempt, finished now if need be; None to begin one.

    Raises `Refused` while another attempt is under way, and unless exactly one side is open.
    """
    _end_other_direction(plan, new, report)
    live = register.find_live(old.tool)
    if live is not None:
        if not recovery.resolve_live(plan, old.tool, live, report):
            return None  # aborted: the old writer is open, and may be fenced again
        return completion.finish(plan, live.name)
    done = _already(plan, old, new)
    if done is None:
        return None
    return completion.clean_up(plan, old, new, done, Timeline(), repeated=True)


def _end_other_direction(plan: SwitchPlan, new: Side, report: Report) -> None:
    """Carry out, or abort, the live attempt in the other side's register, which opened `old`.

    Otherwise it would later close the side that this switch is about to open.
    """
    live = register.find_live(new.tool)
    if live is None:
        return
    back = plan.reversed()
    if recovery.resolve_live(back, new.tool, live, report):
        completion.finish(back, live.name)


def _already(plan: SwitchPlan, old: Side, new: Side) -> str | None:
    """Return the attempt that made `new` the writer, if it is; raises unless one side is open."""
    closed_old = closing.is_closed(old.tool, plan.databases)
    closed_new = closing.is_closed(new.tool, plan.databases)
    if closed_old and not closed_new:
        opened = register.last_opening(new.tool)
        if opened is None:
            raise Refused(
                f"{plan.new}: accepts writes, but no switch has opened it; close it by hand and"
                " find out who opened it"
            )
        return opened[0]
    if closed_old:
        raise StayFenced(f"{plan.old} and {plan.new}: both are closed to writers; {AGAIN}")
    if not closed_new:
        raise Refused(
            f"{plan.new}: accepts writes while {plan.old} is the writer; find out who opened it,"
            " and close it"
        )
    return None


@contextmanager
def _without_long_lock_waits(plan: SwitchPlan, old: Side, new: Side) -> Iterator[None]:
    """Raise `Retry` when a check waits for a lock for longer than `plan.lag_seconds`."""
    conns = [*old.connections, *new.connections]
    queries.limit_lock_waits(conns, plan.lag_seconds)
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise Retry(
            f"{plan.old} to {plan.new}: somebody has held a lock for {plan.lag_seconds:g} s"
            f" ({connection.where(error)}: {said(error)}); nothing was touched: see pg_locks there,"
            " and try again when it is gone"
        ) from None
    queries.limit_lock_waits(conns, 0)


def _ready(plan: SwitchPlan, old: Side, new: Side, drain: Drain) -> int:
    """Check everything that must be known before the fence, and warm everything up.

    Returns how many sequences were pre-set.
    """
    with _without_long_lock_waits(plan, old, new):
        leaks.require_none(old, new, plan.fence_spec)
        sides = BothSides(
            plan.deployment, plan.direction, plan.old, plan.new, old.databases, new.databases
        )
        drain.watch(SchemaWatch(sides, plan.accept_stale))
        outside_sources.require_none(sides)
        coverage.require_complete(sides, left_behind.accepted(plan.accept_stale))
        if plan.rollback:
            way_back.require_open(sides)
        left_behind.require_none(sides, plan.accept_stale, way_back=plan.rollback)
        if plan.records is not None:
            dns.require_movable(plan.records, plan.old.region)
        count = drain.prepare(seconds=plan.lag_seconds)
        fence.rehearse(old.tool)
        opening.rehearse(plan, new)
    return count


def _register(plan: SwitchPlan, old: Side, new: Side, attempt: str) -> None:
    """Register the attempt; raises `Refused`, leaving nothing, when another was faster.

    Much may have happened since the first check: a heartbeat has crossed, a process was started.
    """
    try:
        register.begin(
            old.tool,
            attempt,
            plan.new.cluster,
            seconds=plan.fuse_seconds,
            databases=plan.databases,
        )
    except Refused as error:
        register.give_up_opening(new.tool, attempt)
        raise Refused(f"{plan.old}: {error}") from None


class _Undecided:
    """The part of an attempt in which a failure aborts the attempt at once.

    An attempt that was decided by then is carried out: `carried_out` is its result, and there is
    no error.
    """

    def __init__(self, plan: SwitchPlan, old: Side, attempt: str) -> None:
        self._plan, self._old, self._attempt = plan, old, attempt
        self.carried_out: Switched | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None:
            return False
        plan = self._plan
        self.carried_out = _give_up(plan, self._old.tool, self._attempt, error)
        if self.carried_out is None and isinstance(error, psycopg.Error):
            words = _in_words(error, plan)
            raise Retry(
                f"{plan.old} to {plan.new}: the switch was aborted: {words}; writers are back on"
                f" {plan.old}"
            ) from None
        return self.carried_out is not None


def _give_up(
    plan: SwitchPlan, conn: Connection, attempt: str, error: BaseException
) -> Switched | None:
    """Abort the attempt at once, and return None; carry it out when it was decided already.

    Raises `StayFenced` when neither can be done now.
    """
    with contextlib.suppress(psycopg.Error):  # the existing connection may be what is broken
        if _abort(plan, conn, attempt):
            return None
    until = time.monotonic() + (_INSIST_SECONDS if isinstance(error, Exception) else 0)
    while True:
        try:
            with plan.old.connect(TOOL_DATABASE) as fresh:
                if _abort(plan, fresh, attempt):
                    return None
                live = register.find_live(fresh)
            if live is None or live.name != attempt:
                return None
            log.warning("%s: attempt %s is decided; carrying it out", plan.old, attempt)
            return completion.finish(plan, attempt)
        except (BlueGreenError, psycopg.Error) as second:
            if time.monotonic() > until:
                raise StayFenced(
                    f"{plan.old}: attempt {attempt} failed and can't be ended now"
                    f" ({type(second).__name__}: {' '.join(str(second).split())}); {AGAIN}"
                ) from error
            time.sleep(_PAUSE_SECONDS)


def _in_words(error: psycopg.Error, plan: SwitchPlan) -> str:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return f"it did not come to its decision within {plan.drain_seconds:g} s"
    return said(error)


def _abort(plan: SwitchPlan, conn: Connection, attempt: str) -> bool:
    if not register.abort(conn, attempt):
        return False
    log.warning("%s: switch aborted, writers are back there", plan.old)
    return True
