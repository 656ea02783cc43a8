"""The program's own readers, each called once: they name the columns that it relies on.

And its own register, fence and heartbeats, as the program makes them, in a transaction that is
rolled back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bluegreen.names import TOOL_SCHEMA
from bluegreen.postgres import (
    capacity,
    open_transactions,
    owned,
    publications,
    slot_limits,
    slots,
    subscriptions,
)
from bluegreen.probe.row import NAME, Connection, Mode, Row
from bluegreen.register.schema import SCHEMA
from bluegreen.replication import heartbeat, sequences
from bluegreen.switch import fence
from bluegreen.switch.readiness import fingerprint, strangers
from bluegreen.upgrade import aftercare


class NothingToTryError(Exception):
    """It can't be tried here, and that says nothing of the server."""


def _require_unused(conn: Connection) -> None:
    if owned.find_schema(conn) is not None:
        raise NothingToTryError(
            f"the schema {TOOL_SCHEMA} exists here, and is left alone; try another --database"
        )


def _heartbeats(conn: Connection) -> None:
    _require_unused(conn)
    heartbeat.ensure(conn)
    number = time.time_ns()
    heartbeat.leave_marker(conn)
    heartbeat.barrier(conn, number)
    heartbeat.wait_until_crossed(conn, number, seconds=1)


def _register_and_fence(conn: Connection) -> None:
    _require_unused(conn)
    conn.execute(SCHEMA)
    fence.rehearse(conn)


def _reader(what: str, settles: str, call: Callable[[Connection], Any], name: str) -> Row:
    return Row(what=what, statement=name, right="an answer", settles=settles, call=call)


_IN_FULL = "Every column that the program reads is there, and may be read."

ROWS: tuple[Row, ...] = (
    _reader("slots", _IN_FULL, slots.inspect_all, "bluegreen.postgres.slots.inspect_all"),
    _reader(
        "subscriptions of all databases",
        _IN_FULL,
        subscriptions.inspect_all,
        "bluegreen.postgres.subscriptions.inspect_all",
    ),
    _reader(
        "a subscription, with its position and its counters",
        "Without it all of replication stops: the position is read from the origins' status.",
        partial(subscriptions.inspect, name=NAME),
        "bluegreen.postgres.subscriptions.inspect",
    ),
    _reader(
        "origins of no subscription",
        "Rows that are written under one do not cross, and it is named beforehand.",
        subscriptions.foreign_origins,
        "bluegreen.postgres.subscriptions.foreign_origins",
    ),
    _reader(
        "a publication",
        _IN_FULL,
        partial(publications.inspect, name=NAME),
        "bluegreen.postgres.publications.inspect",
    ),
    _reader(
        "room for replication",
        _IN_FULL,
        capacity.inspect,
        "bluegreen.postgres.capacity.inspect",
    ),
    _reader(
        "limits of slots",
        _IN_FULL,
        slot_limits.inspect,
        "bluegreen.postgres.slot_limits.inspect",
    ),
    _reader(
        "open transactions",
        "Who holds a slot's making up is named.",
        partial(open_transactions.inspect, writing=True),
        "bluegreen.postgres.open_transactions.inspect",
    ),
    _reader(
        "sessions of superusers, and logins that last",
        "Who could not be ended is named before the fence. A process of AWS's that holds a"
        " transaction and shows no user would hold it up.",
        lambda conn: (strangers.of_superusers(conn), strangers.logging_in(conn)),
        "bluegreen.switch.readiness.strangers",
    ),
    _reader(
        "values of all sequences of this database",
        _IN_FULL,
        lambda conn: sequences.Reader(conn).read(),
        "bluegreen.replication.sequences.Reader.read",
    ),
    _reader(
        "definitions of this database",
        "Readiness compares two sides by them.",
        fingerprint.of_database,
        "bluegreen.switch.readiness.fingerprint.of_database",
    ),
    _reader(
        "tables without statistics",
        "ANALYZE after an upgrade.",
        aftercare.without_statistics,
        "bluegreen.upgrade.aftercare.without_statistics",
    ),
    Row(
        what="the tool's schema and its heartbeats",
        statement="bluegreen.replication.heartbeat",
        right="made, written, waited for, and rolled back",
        settles="A barrier, and the wait for it in the server.",
        mode=Mode.ROLLED_BACK,
        writer=True,
        call=_heartbeats,
    ),
    Row(
        what="the register, and a fence that ends nobody",
        statement="bluegreen.switch.fence.rehearse",
        right="made, rehearsed, and rolled back",
        settles="All that the fence does but for ending sessions, by the program's own functions.",
        mode=Mode.ROLLED_BACK,
        writer=True,
        call=_register_and_fence,
    ),
)
