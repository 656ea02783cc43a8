"""Slots without a server: what is left of one, and whether it may be taken over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.postgres.slots import Slot, Status, status
from bluegreen.replication.slot import RETAINED_BYTES, retained_problem, takeover_problem

FIT = Slot(
    name="bg_green_forward_app",
    type="logical",
    plugin="pgoutput",
    database="app",
    temporary=False,
    active_pid=None,
    reader=None,
    wal_status="reserved",
    invalidated=None,
    inactive_since=None,
    retained_bytes="56",
    written="0/1A2B74",
    confirmed_flush="0/1A2B3C",
    replayed=None,
)


@pytest.mark.parametrize(
    ("have", "found"),
    [
        (None, Status.MISSING),
        (FIT, Status.RESERVED),
        (replace(FIT, wal_status="extended"), Status.EXTENDED),
        (replace(FIT, wal_status="unreserved"), Status.UNRESERVED),
        (replace(FIT, wal_status="lost"), Status.LOST),
        (replace(FIT, wal_status="lost", invalidated="wal_removed"), Status.LOST),
        (replace(FIT, invalidated="idle_timeout"), Status.INVALIDATED),
        (replace(FIT, invalidated="wal_level_insufficient"), Status.INVALIDATED),
        (replace(FIT, wal_status=None), Status.INVALIDATED),
        (replace(FIT, wal_status="something new"), Status.INVALIDATED),
    ],
)
def test_what_is_left_of_a_slot(have: Slot | None, found: Status) -> None:
    assert status(have) is found


@pytest.mark.parametrize(
    ("have", "why"),
    [
        (FIT, None),
        (replace(FIT, active_pid=7, reader="bg_green_forward"), None),
        (replace(FIT, type="physical"), "is physical, expected logical"),
        (replace(FIT, plugin="test_decoding"), "uses plugin test_decoding, expected pgoutput"),
        (replace(FIT, database="other"), "belongs to database 'other', expected 'app'"),
        (replace(FIT, temporary=True), "is temporary, expected permanent"),
        (
            replace(FIT, active_pid=7, reader="debezium"),
            "is read by pid 7 ('debezium'), expected 'bg_green_forward' or nobody",
        ),
        (replace(FIT, wal_status="lost"), "is lost, expected reserved or extended"),
    ],
)
def test_only_a_slot_that_fits_is_taken_over(have: Slot, why: str | None) -> None:
    assert takeover_problem(have, database="app", reader="bg_green_forward") == why


@pytest.mark.parametrize(
    ("have", "reason"),
    [
        (FIT, "nobody reads it"),
        (replace(FIT, inactive_since="2026-01-01"), "nobody reads it since 2026-01-01"),
        (replace(FIT, active_pid=7), None),
        (replace(FIT, invalidated="idle_timeout"), "invalidated: idle_timeout"),
    ],
)
def test_why_nobody_reads_it(have: Slot, reason: str | None) -> None:
    assert have.inactive_reason == reason


def test_a_slot_that_is_being_made_has_no_position_and_a_physical_one_never() -> None:
    half = replace(FIT, confirmed_flush=None)
    assert half.unfinished
    assert not replace(half, type="physical").unfinished


@pytest.mark.parametrize(
    ("have", "said"),
    [
        (None, None),
        (replace(FIT, retained_bytes=None), None),  # lost, or of a server in recovery
        (replace(FIT, retained_bytes=str(RETAINED_BYTES - 1)), None),
        (replace(FIT, retained_bytes=str(RETAINED_BYTES)), "keeps 10.0 GiB of WAL"),
        (replace(FIT, retained_bytes=str(2**45)), "nobody reads it: let it catch up, or destroy"),
        (replace(FIT, retained_bytes=str(2**45), active_pid=7), "its reader is behind"),
    ],
)
def test_a_slot_that_keeps_much_is_warned_of(have: Slot | None, said: str | None) -> None:
    problem = retained_problem(have, "orders-1")
    assert (problem is None) == (said is None)
    assert (said or "") in (problem or "")


@pytest.mark.parametrize("retained", ["", "0", "-8"])
def test_what_is_nothing_is_little(retained: str) -> None:
    assert retained_problem(replace(FIT, retained_bytes=retained), "orders-1") is None
