"""Names lead to the new writer: a switch moves them, and takes back what a later one has undone.

A switch is done once Route 53 has taken the change. When all of its servers answer with the new
writer is another question, which is asked afterwards: nothing waits for it but a line that says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from bluegreen.aws import dns
from bluegreen.errors import BlueGreenError, Retry
from bluegreen.finding import Finding, Level
from bluegreen.names import TOOL_DATABASE
from bluegreen.polling import poll_until
from bluegreen.postgres.server import Server
from bluegreen.register import closing, register
from bluegreen.switch.plan import SwitchPlan

Connection = psycopg.Connection[Any]

# Route 53 names 60 s "under normal conditions", and takes 5 calls a second of a whole account.
_IN_SYNC_SECONDS = 90.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 2.0


@dataclass(frozen=True, slots=True)
class Moved:
    """A change by which a switch has moved the names."""

    change: str
    """Its id at Route 53."""
    opened_at: datetime
    """When the writer was opened to which they lead; a second later where another one opened it."""


def until_in_sync(moved: Moved, plan: SwitchPlan, *, seconds: float = _IN_SYNC_SECONDS) -> Finding:
    """Wait until all of Route 53's servers lead to the new writer, and say how long that took.

    Waits for `seconds` at most. Raises nothing of Route 53's: the switch is done whatever it
    answers, and clients follow as their resolvers do.
    """
    found = ""
    for _ in poll_until(time.monotonic() + seconds, first=_FIRST_PAUSE, most=_LONGEST_PAUSE):
        try:
            if dns.is_in_sync(moved.change, plan.old.region):
                return _in_sync(moved, plan)
            found = "is not in sync yet"
        except Retry as error:
            found = f"can't be asked for: {error}"
        except BlueGreenError as error:
            found = f"can't be asked for: {error}"
            break
    return Finding(
        Level.WARN,
        "names",
        f"change {moved.change} {found}, {_since(moved):.0f} s after the opening",
        "the switch is done, and clients of the names follow as Route 53 does; look with"
        f" `aws route53 get-change --id {moved.change}`",
    )


def _in_sync(moved: Moved, plan: SwitchPlan) -> Finding:
    ttl = 0 if plan.records is None else plan.records.ttl
    return Finding(
        Level.OK,
        "names",
        f"Route 53 is in sync {_since(moved):.1f} s after the opening; a resolver may keep the old"
        f" answer {ttl} s more",
    )


def _since(moved: Moved) -> float:
    return max(0.0, (datetime.now(UTC) - moved.opened_at).total_seconds())


def lead(plan: SwitchPlan, conn: Connection, attempt: str) -> str | None:
    """Move the names to the new writer, if it still is the writer; `conn` is to its register.

    Returns the id of the change; None where there are no names to move.

    Route 53 knows nothing of the register, so a process that slept since it looked (a paused
    machine) may send its change when a later switch has moved the names on. So it looks right
    before each sending, and again behind it: what is wrong by then it takes back itself.
    Raises `Retry` when that was so, and when the names could not be moved.
    """
    records = plan.records
    if records is None:
        return None

    def is_writer(server: Server, conn: Connection | None = None) -> bool:
        if conn is None or conn.closed:
            with server.connect(TOOL_DATABASE) as fresh:
                return not closing.is_closed(fresh, plan.databases)
        return not closing.is_closed(conn, plan.databases)

    def require_opened() -> None:
        try:
            found = None if conn.closed else register.last_opening(conn)
        except psycopg.OperationalError:
            found = None
        if found is None:  # a broken connection proves nothing: ask over a new one
            with plan.new.connect(TOOL_DATABASE) as fresh:
                found = register.last_opening(fresh)
        if found is None or found[0] != attempt or not is_writer(plan.new, conn):
            raise Retry(f"attempt {attempt} is not the last one any more; the names stay")

    change = dns.move(records, plan.old.region, allowed=require_opened)
    if is_writer(plan.new, conn) or not is_writer(plan.old):
        return change  # where neither takes writes, the switch under way moves them when it opens
    if not records.others:
        raise Retry(f"{plan.old}: is the writer by now, but its names are not known")

    def require_old() -> None:
        if not is_writer(plan.old):
            raise Retry(f"{plan.old}: was closed just now; the names stay")

    dns.move(records.turned(), plan.old.region, allowed=require_old)
    raise Retry(f"{plan.old}: is the writer by now, and the names lead to it again")
