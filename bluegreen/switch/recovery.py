"""How an interrupted switch is resolved: inspect, decide, report in three lines, act.

`pulumi up` does the same when it finds an attempt that was left behind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

import psycopg

from bluegreen.errors import Refused, Retry, StayFenced
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres.connection import said
from bluegreen.postgres.server import Server
from bluegreen.register import closing, register
from bluegreen.register.register import Attempt, AttemptState, Opening
from bluegreen.switch import completion
from bluegreen.switch.completion import Switched
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.side import Connection

Report = Callable[[str], None]


class Verdict(Enum):
    """What is to be done."""

    NOTHING = "nothing to do"
    WAIT = "wait"
    ABORT = "abort it, and take the fence off"
    FINISH = "carry it out"
    GO_BACK = "go back to the old writer"
    ASK = "leave it, until an operator knows more"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the decision depends on, read before it."""

    old: str
    new: str
    attempt: str | None
    state: AttemptState | None
    """The state of the live attempt on the fenced server; None without one."""
    overdue: bool
    """Whether its server fuse's deadline is past."""
    opening: Opening | None
    """Its state on the other server; None when it is unknown there, or the server out of reach."""
    new_reachable: bool
    new_exists: bool
    """Whether the other cluster exists, by AWS's word."""
    never_opened: bool
    """Whether an operator vouches that the other server never opened, and never will."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, with what was found and why, one line each."""

    verdict: Verdict
    found: str
    why: str

    def lines(self) -> list[str]:
        """Return the three lines."""
        return [
            f"found:   {self.found}",
            f"decided: {self.verdict.value}",
            f"because: {self.why}",
        ]


def decide(seen: Snapshot) -> Decision:
    """Decide what becomes of the live attempt."""
    if seen.state is None or seen.attempt is None:
        return Decision(Verdict.NOTHING, f"no attempt is live on {seen.old}", "nobody waits for it")
    here = f"attempt {seen.attempt} on {seen.old} is {seen.state}"
    match seen.state:
        case AttemptState.PREPARING if seen.overdue:
            return Decision(
                Verdict.ABORT,
                f"{here}, its deadline is past",
                "its owner has no claim any more, and nothing was opened before a decision",
            )
        case AttemptState.PREPARING:
            return Decision(
                Verdict.WAIT,
                f"{here}, its deadline is not past",
                "its owner may be at work; otherwise its server fuse aborts it by itself",
            )
        case AttemptState.DECIDED:
            return _decided(seen, here)
        case AttemptState.ABORTED | AttemptState.DONE:
            return Decision(Verdict.NOTHING, here, "it has ended")
        case _:
            assert_never(seen.state)


def _decided(seen: Snapshot, here: str) -> Decision:
    if not seen.new_reachable:
        if not seen.new_exists:
            return Decision(
                Verdict.GO_BACK,
                f"{here}, and AWS says that cluster {seen.new} does not exist",
                "a cluster that is gone never opens, so the old writer is the only one",
            )
        if seen.never_opened:
            return Decision(
                Verdict.GO_BACK,
                f"{here}, and {seen.new} is out of reach",
                "the operator vouches that it never opened, and never will",
            )
        return Decision(
            Verdict.ASK,
            f"{here}, and {seen.new} is out of reach",
            f"it may have opened: reach {seen.new} and try again; only if it is lost for good and"
            " never took a write, repeat with --new-writer-never-opened",
        )
    match seen.opening:
        case Opening.CLOSED:
            return Decision(
                Verdict.FINISH,
                f"{here}, {seen.new} is not open yet",
                "after the decision there is only forward, and nothing is lost on the way",
            )
        case Opening.OPENED:
            return Decision(
                Verdict.FINISH,
                f"{here}, {seen.new} is open",
                "names, old sessions and the old side are left to be seen to",
            )
        case Opening.GIVEN_UP:
            return Decision(
                Verdict.GO_BACK,
                f"{here}, {seen.new} was given up for it",
                "it can't open for this attempt any more",
            )
        case None:
            return Decision(
                Verdict.ASK,
                f"{here}, {seen.new} knows nothing of it",
                "that is another server than the one that was to be opened: find out what it is",
            )
        case _:
            assert_never(seen.opening)


def inspect(plan: SwitchPlan, live: Attempt | None, *, vouched: bool) -> Snapshot:
    """Read the facts; `live` is the attempt in the register of the plan's old writer."""
    seen = Snapshot(
        old=plan.old.cluster,
        new=plan.new.cluster,
        attempt=live.name if live else None,
        state=live.state if live else None,
        overdue=live.overdue if live else False,
        opening=None,
        new_reachable=True,
        new_exists=True,
        never_opened=vouched,
    )
    if live is None or live.state is not AttemptState.DECIDED:
        return seen
    try:
        with plan.new.connect(TOOL_DATABASE) as there:
            opening = register.find_opening(there, live.name)
    except Retry:
        exists = plan.new.find_cluster() is not None
        return dataclasses.replace(seen, new_reachable=False, new_exists=exists)
    return dataclasses.replace(seen, opening=opening)


def resolve_live(plan: SwitchPlan, conn: Connection, live: Attempt, report: Report) -> bool:
    """Resolve an attempt that an update finds; return whether it is to be carried out.

    False if it was aborted or reverted, and the old writer is open. Raises `Refused` while its
    owner may still be running, `StayFenced` if an operator must decide.
    """
    decision = decide(inspect(plan, live, vouched=False))
    if decision.verdict is Verdict.WAIT:
        raise Refused(
            f"{plan.old}: attempt {live.name} is under way; wait for it, or try again when it has"
            " ended"
        )
    for line in decision.lines():
        report(line)
    if decision.verdict is Verdict.ASK:
        raise StayFenced(f"{decision.found}; {decision.why}")
    if decision.verdict is Verdict.FINISH:
        return True
    act(plan, conn, live.name, decision.verdict)
    return False


def act(plan: SwitchPlan, conn: Connection, attempt: str, verdict: Verdict) -> Switched | None:
    """Do what was decided; `conn` is to the tool's database of the plan's old writer.

    Returns what the switch left that was carried out.
    """
    match verdict:
        case Verdict.ABORT:
            if not register.abort(conn, attempt):
                raise Retry(f"{plan.old}: attempt {attempt} changed meanwhile; try again")
        case Verdict.GO_BACK:
            register.go_back(conn, attempt)
        case Verdict.FINISH:
            return completion.finish(plan, attempt)
        case Verdict.NOTHING | Verdict.WAIT | Verdict.ASK:
            pass
        case _:
            assert_never(verdict)
    return None


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `recover` has found, and what it needs to act."""

    plan: SwitchPlan
    attempt: str | None
    decision: Decision


def find(plan: SwitchPlan, *, vouched: bool) -> Recovery:
    """Search both sides for a live attempt, and decide about it; nothing is touched.

    `plan` is the deployment's switch in either direction. Raises `Retry` when the side that may
    hold the register is out of reach.
    """
    unreachable: list[Server] = []
    for candidate in (plan, plan.reversed()):
        try:
            with candidate.old.connect(TOOL_DATABASE) as conn:
                live = register.find_live(conn)
                if live is not None and live.new_writer == candidate.new.cluster:
                    decision = decide(inspect(candidate, live, vouched=vouched))
                    return Recovery(candidate, live.name, decision)
        except Retry:
            if candidate.old.find_cluster() is not None:
                unreachable.append(candidate.old)
    if unreachable:
        raise Retry(
            f"{', '.join(map(str, unreachable))}: out of reach, and its register may hold an"
            " attempt; stay fenced, reach it, and try again"
        )
    return Recovery(plan, None, _at_rest(plan))


def _at_rest(plan: SwitchPlan) -> Decision:
    """Report who is the writer when no attempt is live; a cluster that is gone is none."""
    writers = []
    for server in (plan.old, plan.new):
        if server.find_cluster() is None:
            continue
        with server.connect(TOOL_DATABASE) as conn:
            if not closing.is_closed(conn, plan.databases):
                writers.append(server.cluster)
    found = f"no attempt is live; open to writers: {', '.join(writers) or 'nobody'}"
    if len(writers) == 1:
        return Decision(Verdict.NOTHING, found, "exactly one side takes writes")
    return Decision(
        Verdict.ASK, found, "no switch leaves it so: find out who changed it, and open or close it"
    )


def apply(recovery: Recovery) -> Switched | None:
    """Act on what `find` has found; return what the switch left that was carried out.

    Raises `Retry` when it has moved on since.
    """
    if recovery.attempt is None:
        return None
    try:
        with recovery.plan.old.connect(TOOL_DATABASE) as conn:
            if recovery.decision.verdict is Verdict.GO_BACK:
                _give_up_opening(recovery)
            return act(recovery.plan, conn, recovery.attempt, recovery.decision.verdict)
    except psycopg.Error as error:
        raise Retry(
            f"{recovery.plan.old}: attempt {recovery.attempt}: {said(error)}; try again"
        ) from None


def _give_up_opening(recovery: Recovery) -> None:
    """Forbid opening the other server for this attempt, if it can be reached after all."""
    assert recovery.attempt is not None
    try:
        with recovery.plan.new.connect(TOOL_DATABASE) as there:
            known = register.find_opening(there, recovery.attempt)
            if known and not register.give_up_opening(there, recovery.attempt):
                raise StayFenced(
                    f"{recovery.plan.new}: has opened for attempt {recovery.attempt}; it is the"
                    " writer: run bluegreen recover again without the flag"
                )
    except Retry:
        return  # gone, or out of reach as the operator says
