"""The switch: which environment accepts writes. The same for a cutover and a rollback.

Everything slow comes before the fence or after the opening. Until the decision any failure takes
the fence off again, exactly as it was put on; after it there is only forward. Abort and decision
change the same row of the register, so only one of them can happen, and the new writer is opened
after the decision alone: never are both sides open.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import psycopg

from bluegreen import aftermath, dns, fence, register
from bluegreen.crossing import Crossing
from bluegreen.dns import Records
from bluegreen.errors import BlueGreenError, Refused, Retry, StayFenced
from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE, Direction
from bluegreen.register import Attempt, Opening, State
from bluegreen.server import Server, secret_login
from bluegreen.server_fuse import ServerFuse
from bluegreen.side import Side
from bluegreen.timeline import Timeline

log = logging.getLogger(__name__)

Report = Callable[[str], None]

_FUSE_MARGIN_SECONDS = 5.0  # the drain's and sequences' deadlines end before the fuse burns
_AGAIN = "run pulumi up again, or bluegreen recover"


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """One switch. `direction` is that of the replication which runs now, from `old` to `new`."""

    deployment: str
    direction: Direction
    old: Server
    new: Server
    databases: tuple[str, ...]
    fence: Literal["read-only", "no-login"] = "read-only"
    old_side: Literal["closed", "readable"] = "closed"
    lag_seconds: float = 10.0
    drain_seconds: float = 5.0
    roles: tuple[str, ...] | None = None
    spare_roles: tuple[str, ...] = ()
    records: Records | None = None


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch left: `mark` is where the replication of the other direction starts."""

    mark: Lsn
    attempt: str
    slipped: int
    phases_ms: dict[str, float] = field(default_factory=dict)
    repeated: bool = False


def switch(plan: SwitchPlan, report: Report = log.info) -> Switched:
    """Make `plan.new` the writer; finish what an earlier attempt has begun.

    Raises `Refused` or `Retry` with the old writer open again, `StayFenced` when only a decision
    that has been made can be carried out.
    """
    timeline = Timeline()
    with ExitStack() as stack:
        old = Side.connect(plan.old, plan.databases, stack)
        new = Side.connect(plan.new, plan.databases, stack)
        crossing = Crossing(old, new)
        stack.callback(crossing.close)
        live = register.find_live(old.tool)
        if live is not None and live.state is State.PREPARING:
            live = _settle(plan, old, live, report)
        if live is not None:
            report(f"{plan.old}: attempt {live.name} was decided; finishing it")
            _open(old, new, crossing, live.name, timeline, plan, decided=True)
            return _after(plan, old, new, live.name, timeline, repeated=True)
        done = _already(plan, old, new)
        if done is not None:
            return _after(plan, old, new, done, timeline, repeated=True)
        count = _ready(plan, old, new, crossing)
        report(f"{plan.old} to {plan.new}: {count} sequences pre-set, replication is current")
        attempt = _attempt_name(plan)
        _attempt(plan, old, new, crossing, attempt, timeline)
        return _after(plan, old, new, attempt, timeline, repeated=False)


def _attempt_name(plan: SwitchPlan) -> str:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    return f"{plan.deployment}-{now}-{secrets.token_hex(3)}"


def _settle(plan: SwitchPlan, old: Side, live: Attempt, report: Report) -> Attempt | None:
    """Return the decided attempt, or None once an overdue one is aborted.

    Raises `Refused` while its maker still has the right to go on.
    """
    if not live.overdue:
        raise Refused(
            f"{plan.old}: attempt {live.name} is under way; wait for it, or try again when it has"
            " ended"
        )
    if register.abort(old.tool, live.name):
        report(f"{plan.old}: attempt {live.name} was left behind; aborted, its fence is off")
        _end_sessions(old)
        return None
    return register.find_live(old.tool)


def _already(plan: SwitchPlan, old: Side, new: Side) -> str | None:
    """Return the attempt that made `new` the writer, when it is; raises unless one side is open."""
    closed_old = fence.is_closed(old.tool, plan.databases)
    closed_new = fence.is_closed(new.tool, plan.databases)
    if closed_old and not closed_new:
        opening = register.last_opening(new.tool)
        if opening is None:
            raise Refused(
                f"{plan.new}: accepts writes, but no switch has opened it; close it by hand and"
                " find out who opened it"
            )
        return opening[0]
    if closed_old:
        raise StayFenced(f"{plan.old} and {plan.new}: both are closed to writers; {_AGAIN}")
    if not closed_new:
        raise Refused(
            f"{plan.new}: accepts writes while {plan.old} is the writer; find out who opened it,"
            " and close it"
        )
    return None


def _ready(plan: SwitchPlan, old: Side, new: Side, crossing: Crossing) -> int:
    """Check what must not be found out behind the fence, and warm everything up."""
    prepared = old.tool.execute("SELECT gid FROM pg_prepared_xacts LIMIT 1").fetchone()
    if prepared is not None:
        raise Refused(
            f"{plan.old}: prepared transaction {prepared[0]!r} is open, and its COMMIT PREPARED"
            " passes any fence; commit or roll it back first"
        )
    slipped = register.slipped(new.tool)
    if slipped:
        raise Refused(
            f"{plan.new}: {slipped} write(s) came there after it had been left, and are nowhere"
            " else; bring them over, then set register.slipped to 0 in its database bluegreen"
        )
    if plan.records is not None:
        dns.warm(plan.old.region)
    return crossing.prepare(seconds=plan.lag_seconds)


def _attempt(
    plan: SwitchPlan, old: Side, new: Side, crossing: Crossing, attempt: str, timeline: Timeline
) -> None:
    """Go from the register to the opening; abort when anything before the decision fails."""
    seconds = plan.drain_seconds + _FUSE_MARGIN_SECONDS
    roles = login_roles(plan, old) if plan.fence == "no-login" else []
    register.expect_opening(new.tool, attempt)
    try:
        register.begin(old.tool, attempt, plan.new.cluster, seconds=seconds)
    except psycopg.errors.UniqueViolation:
        raise Refused(f"{plan.old}: another switch has just begun; wait for it") from None
    fuse: ServerFuse | None = None
    try:
        fuse = ServerFuse(plan.old, attempt, seconds=seconds)
        for side in (old, new):
            side.limit(plan.drain_seconds)
        timeline.lap("prepare")
        fence.put_up(old.tool, attempt, roles=roles, ours=[*old.pids(), fuse.pid])
        timeline.lap("fence")
        _open(old, new, crossing, attempt, timeline, plan, decided=False)
    except psycopg.Error as error:
        _give_up(plan, attempt, error)
        said = error.diag.message_primary or type(error).__name__
        raise Retry(
            f"{plan.old} to {plan.new}: the switch was aborted: {said}; writers are back on"
            f" {plan.old}"
        ) from None
    except BaseException as error:
        _give_up(plan, attempt, error)
        raise
    finally:
        if fuse is not None:
            fuse.disarm()


def _open(
    old: Side,
    new: Side,
    crossing: Crossing,
    attempt: str,
    timeline: Timeline,
    plan: SwitchPlan,
    *,
    decided: bool,
) -> None:
    """Cross, decide unless it has been, and open; the opening's row is held all along."""
    deadline = time.monotonic() + plan.drain_seconds
    with new.tool.transaction():
        state = register.lock_opening(new.tool, attempt)
        if state is not Opening.CLOSED:
            if decided and state is Opening.OPENED:
                return  # another finisher was faster; nothing here is to be touched
            raise StayFenced(f"{plan.new}: attempt {attempt} is {state or 'unknown'} there")
        while True:
            crossed = crossing.walk(timeline, drain_seconds=plan.drain_seconds)
            if decided or _decide(old, attempt, crossed.heartbeats, crossed.mark, deadline):
                break
        timeline.lap("decide")
        register.open_environment(new.tool, attempt, crossed.mark)
    timeline.lap("open")


def _decide(old: Side, attempt: str, heartbeats: list[int], mark: Lsn, deadline: float) -> bool:
    """Return whether it was decided; False when the barrier has to be set again."""
    try:
        if register.decide(old.tool, attempt, heartbeats, mark):
            return True
    except psycopg.errors.ObjectNotInPrerequisiteState:
        if time.monotonic() > deadline:
            raise Retry(
                f"{old.server}: something goes on writing behind the fence; see pg_locks there"
            ) from None
        return False
    raise Refused(f"{old.server}: attempt {attempt} was aborted by its fuse")


def _give_up(plan: SwitchPlan, attempt: str, error: BaseException) -> None:
    """Abort the attempt; raises `StayFenced` when that is no longer possible.

    On a connection of its own: the one that failed may be what is broken.
    """
    try:
        with plan.old.connect(TOOL_DATABASE) as conn:
            if register.abort(conn, attempt):
                log.warning("%s: switch aborted, writers are back there", plan.old)
                fence.end_sessions(conn, plan.databases, ours=[conn.info.backend_pid])
                return
            live = register.find_live(conn)
    except (BlueGreenError, psycopg.Error) as second:
        raise StayFenced(
            f"{plan.old}: the switch failed and its register is out of reach"
            f" ({type(second).__name__}); its server fuse takes the fence off; {_AGAIN}"
        ) from error
    if live is not None and live.state is State.DECIDED:
        raise StayFenced(
            f"{plan.old}: attempt {attempt} is decided but {plan.new} is not open yet; {_AGAIN}"
        ) from error


def _end_sessions(side: Side) -> None:
    fence.end_sessions(side.tool, list(side.databases), ours=side.pids())


def login_roles(plan: SwitchPlan, side: Side) -> list[str]:
    """Return the roles that lose LOGIN where applications must not come any more."""
    if plan.roles is not None:
        return [role for role in plan.roles if role not in plan.spare_roles]
    credentials = side.server.credentials
    replication, _ = secret_login(credentials.replication_secret_arn, side.server.region)
    return fence.application_roles(side.tool, spared=[replication, *plan.spare_roles])


def _after(
    plan: SwitchPlan, old: Side, new: Side, attempt: str, timeline: Timeline, *, repeated: bool
) -> Switched:
    """Do what the opening leaves to do; every step may be repeated."""
    for side in (old, new):
        side.limit(0)
    if plan.records is not None:
        dns.move(plan.records, plan.old.region)
        timeline.lap("dns")
    _end_sessions(new)
    aftermath.stop_direction(
        old, new, deployment=plan.deployment, direction=plan.direction, seconds=30
    )
    if plan.old_side == "closed":
        old.tool.execute("SELECT public.close_roles(%s)", (login_roles(plan, old),))
        _end_sessions(old)
    slipped = aftermath.count_slipped(
        old, attempt, deployment=plan.deployment, direction=plan.direction
    )
    register.finish(old.tool, attempt, slipped)
    timeline.lap("after")
    opening = register.last_opening(new.tool)
    assert opening is not None, "it has just been opened"
    if slipped:
        log.error(
            "%s: %d write(s) came after its barrier and are not on %s", plan.old, slipped, plan.new
        )
    return Switched(opening[1], attempt, slipped, timeline.phases_ms, repeated)
