"""Positions in the WAL: which functions there are, and whether all of them count in one space.

PostgreSQL has one space of LSNs. Aurora's storage has another one besides that of its logical WAL,
and which of its functions gives which is not documented. The program takes every position from
`pg_current_wal_lsn()` (bluegreen/postgres/wal.py says why); what the others answer is a question.
"""

from __future__ import annotations

from bluegreen.lsn import Lsn
from bluegreen.probe.row import Answer, Mode, Row, Verdict, differs, works

# Two positions of one space, read within a second, are not further apart than this; a busy server
# writes some hundred MB a second. A slot may lie behind for days.
_NEAR = 4 << 30
_SLOT_BEHIND = 4 << 40

_SPACE = (
    "All positions that the program compares are of one space. Should they not be, the seam's"
    " bounds are blind, and the mark of the way back lies beyond what is written."
)
_BELOW_LOGICAL = "Reports say that Aurora refuses it with wal_level below logical."


def one_position(answer: Answer) -> Verdict:
    """Judge one position: there, and not 0/0."""
    text = answer[0][0] if answer else None
    if text is None:
        return differs("answered NULL, expected a position")
    return works(str(text)) if Lsn.parse(text) else differs("answered 0/0, expected a position")


def in_order(answer: Answer) -> Verdict:
    """Judge positions read one after the other: none lies before the one that was read earlier."""
    if not answer or None in answer[0]:
        return differs("a position is missing")
    found = [Lsn.parse(text) for text in answer[0]]
    said = ", ".join(map(str, found))
    if found != sorted(found):
        return differs(f"{said}: expected each not to lie before the one to its left")
    if found[-1] - found[0] > _NEAR:
        return differs(f"{said}: too far apart to be of one space")
    return works(said)


def not_past(answer: Answer) -> Verdict:
    """Judge where a clone began, and where it is now: that may be long ago."""
    if not answer or None in answer[0]:
        return differs("a position is missing")
    began, now = (Lsn.parse(text) for text in answer[0])
    if began > now or now - began > _SLOT_BEHIND:
        return differs(f"began at {began}, is at {now}: not of one space")
    return works(f"began at {began}, is at {now}")


def slot_behind(answer: Answer) -> Verdict:
    """Judge a slot's positions: restart, confirmed and the server's own lie in this order."""
    if not answer or None in answer[0]:
        return differs("a position is missing")
    restart, confirmed, now = (Lsn.parse(text) for text in answer[0])
    said = f"restart {restart}, confirmed {confirmed}, the server {now}"
    if not restart <= confirmed <= now:
        return differs(f"{said}: expected this order")
    if now - restart > _SLOT_BEHIND:
        return differs(f"{said}: too far apart to be of one space")
    return works(said)


def _position(function: str, settles: str, *, question: bool = False) -> Row:
    return Row(
        what=function,
        statement=f"SELECT pg_catalog.{function}()::text",
        right="a position",
        settles=f"{settles} {_BELOW_LOGICAL}",
        judge=one_position,
        writer=True,
        question=question,
    )


ROWS: tuple[Row, ...] = (
    _position(
        "pg_current_wal_lsn",
        "The mark, a clone's bound, every heartbeat, the proof that a commit is durable.",
    ),
    _position("pg_current_wal_insert_lsn", "Nothing relies on it.", question=True),
    _position("pg_current_wal_flush_lsn", "Nothing relies on it.", question=True),
    Row(
        what="flushed, written and inserted are of one space",
        statement=(
            "SELECT pg_current_wal_flush_lsn()::text, pg_current_wal_lsn()::text,"
            " pg_current_wal_insert_lsn()::text"
        ),
        right="three positions, in this order and near each other",
        settles="Nothing relies on it: whether the other two could be used.",
        judge=in_order,
        writer=True,
        question=True,
    ),
    Row(
        what="what pg_logical_emit_message answers is of the same space",
        statement=(
            "SELECT pg_current_wal_lsn()::text,"
            " pg_logical_emit_message(true, 'bluegreen', 'probe')::text"
        ),
        right="its position lies behind the other, and near it",
        settles=(
            "Reports say that its answer on Aurora is of the storage's space. The program sends the"
            " message for its commit, and takes no position from it."
        ),
        mode=Mode.ROLLED_BACK,
        judge=in_order,
        writer=True,
    ),
    Row(
        what="positions of a logical slot are of the same space",
        statement=(
            "DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_type ="
            " 'logical' AND confirmed_flush_lsn IS NOT NULL) THEN RAISE EXCEPTION 'no logical slot"
            " is there; --write makes one' USING ERRCODE = 'no_data_found'; END IF; END $do$;"
            " SELECT restart_lsn::text, confirmed_flush_lsn::text, pg_current_wal_lsn()"
            "::text FROM pg_replication_slots WHERE slot_type = 'logical' AND confirmed_flush_lsn"
            " IS NOT NULL AND restart_lsn IS NOT NULL ORDER BY confirmed_flush_lsn DESC LIMIT 1"
        ),
        right="restart, confirmed and the server's own position, in this order",
        settles=_SPACE,
        judge=slot_behind,
        writer=True,
    ),
    Row(
        what="where a clone's copy ends: aurora_volume_logical_start_lsn",
        statement="SELECT pg_catalog.aurora_volume_logical_start_lsn()::text",
        right="a position; on a fresh clone it is where its copy of the source ends",
        settles="Replication starts there. Ask it on a clone before anybody writes to it.",
        judge=one_position,
    ),
    Row(
        what="the clone's position is of the same space",
        statement=(
            "SELECT pg_catalog.aurora_volume_logical_start_lsn()::text, pg_current_wal_lsn()::text"
        ),
        right="not past what the server has written",
        settles="The bounds between which a clone's LSN must lie are compared with it.",
        judge=not_past,
        writer=True,
    ),
)
