"""Moves the names to the new writer, and takes the move back if a later switch was faster."""

from __future__ import annotations

from typing import Any

import psycopg

from bluegreen.aws import dns
from bluegreen.errors import Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.postgres.server import Server
from bluegreen.register import closing, register
from bluegreen.switch.plan import SwitchPlan

Connection = psycopg.Connection[Any]


def lead(plan: SwitchPlan, conn: Connection, attempt: str) -> None:
    """Move the names to the new writer, if it still is the writer; `conn` is to its register.

    Route 53 knows nothing of the register, so a process that slept after its check (a paused
    machine) may send its change when a later switch has already moved the names. So it checks
    right before each attempt and again afterwards, and takes back a change that is wrong by then.
    Raises `Retry` when it had to, and when the names could not be moved.
    """
    records = plan.records
    if records is None:
        return

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

    dns.move(records, plan.old.region, allowed=require_opened)
    if is_writer(plan.new, conn) or not is_writer(plan.old):
        return  # if neither takes writes, the switch under way moves the names when it opens
    if not records.others:
        raise Retry(f"{plan.old}: is the writer by now, but its names are not known")

    def require_old() -> None:
        if not is_writer(plan.old):
            raise Retry(f"{plan.old}: was closed just now; the names stay")

    dns.move(records.turned(), plan.old.region, allowed=require_old)
    raise Retry(f"{plan.old}: is the writer by now, and the names lead to it again")
