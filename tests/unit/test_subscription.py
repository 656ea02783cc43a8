"""What a subscription shall be, by version; and what is read out of a slot when it stops."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.postgres.subscriptions import Streaming, Subscription, problems
from bluegreen.replication.subscription import failing_transaction, options, start_notes
from bluegreen.replication.subscription.options import SubscriptionSpec

WANTED = SubscriptionSpec(name="bg", publications=("bg",), slot_name="bg_app", start=Lsn(1))

LIVE = Subscription(
    oid=1,
    name="bg",
    database="app",
    enabled=True,
    owner="admin",
    slot_name="bg_app",
    publications=["bg"],
    stream="p",
    synchronous_commit="off",
    binary=False,
    origin="none",
    disable_on_error=False,
    run_as_owner=False,
    two_phase=False,
    failover=False,
    skipped=None,
    applied="0/1",
    readable=True,
    worker_pid=7,
    apply_errors=0,
    sync_errors=0,
    conflicts=None,
)


@pytest.mark.parametrize(
    ("major", "more"),
    [
        (14, {"streaming": "on"}),
        (15, {"streaming": "on", "disable_on_error": "false"}),
        *(
            (
                major,
                {
                    "streaming": "parallel",
                    "disable_on_error": "false",
                    "origin": "none",
                    "run_as_owner": "false",
                },
            )
            for major in (16, 17, 18)
        ),
    ],
)
def test_each_major_gets_the_best_that_it_has(major: int, more: dict[str, str]) -> None:
    found = options.options(major, WANTED)
    assert found == {"binary": "false", "synchronous_commit": "off"} | more


@pytest.mark.parametrize(
    ("wanted", "major", "named"),
    [
        (replace(WANTED, streaming="parallel"), 15, "streaming=parallel"),
        (replace(WANTED, disable_on_error=True), 14, "disable_on_error"),
        (replace(WANTED, run_as_owner=True), 15, "run_as_owner"),
        (replace(WANTED, origin="none"), 15, "origin=none"),
    ],
)
def test_what_is_asked_for_by_name_must_be_there(
    wanted: SubscriptionSpec, major: int, named: str
) -> None:
    with pytest.raises(Refused, match=rf"subscription bg: {named}.* needs PostgreSQL {major + 1}"):
        options.require_features(major, wanted)
    options.require_features(major + 1, wanted)


def test_what_matches_has_no_difference() -> None:
    assert options.alterable(18, LIVE, WANTED) == []
    assert options.fixed(LIVE, WANTED) == []


def test_an_option_that_the_major_lacks_is_no_difference() -> None:
    old = replace(LIVE, stream="true", origin=None)
    assert options.alterable(14, old, WANTED) == []


def test_publications_are_a_set() -> None:
    live = replace(LIVE, publications=["b", "a"])
    assert options.alterable(18, live, replace(WANTED, publications=("a", "b"))) == []


@pytest.mark.parametrize(
    ("live", "said"),
    [
        (replace(LIVE, two_phase=True), "two_phase is on, expected off"),
        (replace(LIVE, failover=True), "failover is on, expected off"),
        (replace(LIVE, slot_name=None), "reads slot None, expected 'bg_app'"),
    ],
)
def test_what_can_not_be_altered_is_named(live: Subscription, said: str) -> None:
    assert options.fixed(live, WANTED) == [said]


@pytest.mark.parametrize(
    ("live", "said"),
    [
        (LIVE, []),
        (replace(LIVE, worker_pid=None), ["no worker runs"]),
        (replace(LIVE, enabled=False), ["disabled"]),
        (
            replace(LIVE, enabled=False, apply_errors=1, disable_on_error=True),
            ["1 apply error(s)", "disabled by disable_on_error"],
        ),
        (
            replace(LIVE, skipped="0/2"),
            ["skips the transaction that finishes at 0/2: its rows are missing"],
        ),
    ],
)
def test_trouble_in_words(live: Subscription, said: list[str]) -> None:
    assert problems(live) == said


@pytest.mark.parametrize("wish", [None, "off", "on", "parallel"])
@pytest.mark.parametrize("major", [14, 15, 16, 17, 18])
def test_only_parallel_needs_a_version(wish: Streaming | None, major: int) -> None:
    said = options.streaming_problem(wish, major, f"target runs {major}.4")
    if wish == "parallel" and major < 16:
        assert said is not None
        assert said.startswith(f"got 'parallel', but target runs {major}.4; allowed from 16 on")
    else:
        assert said is None


def _begin(finish: int, xid: int) -> bytes:
    return b"B" + struct.pack("!QqI", finish, 0, xid)


def _relation(number: int, schema: str, name: str) -> bytes:
    return b"R" + struct.pack("!I", number) + f"{schema}\0{name}\0d".encode()


def _insert(number: int) -> bytes:
    return b"I" + struct.pack("!I", number)


def test_the_failing_transaction_is_the_first_after_the_position() -> None:
    """A table that an earlier one wrote is named too, though its name comes only once."""
    messages = [
        _begin(100, 1), _relation(5, "public", "a"), _insert(5),
        _begin(200, 2), _insert(5), _relation(6, "s", "b"), _insert(6), _insert(6),
        _begin(300, 3), _insert(6),
    ]  # fmt: skip
    found = failing_transaction.first_after(Lsn(150), messages)
    assert found is not None
    assert (found.xid, found.finished_at, found.tables) == (2, Lsn(200), ("public.a", "s.b"))
    assert "finished at 0/C8" in str(found)


def test_nothing_left_is_no_failing_transaction() -> None:
    assert failing_transaction.first_after(Lsn(150), [_begin(100, 1)]) is None


UNREADABLE = replace(LIVE, applied=None, readable=False)


@pytest.mark.parametrize(
    ("have", "confirmed", "noted", "made", "position"),
    [
        pytest.param(UNREADABLE, 90, None, True, 0, id="made just now"),
        pytest.param(UNREADABLE, 90, 100, False, 100, id="its start was set, nothing confirmed"),
        pytest.param(UNREADABLE, 120, 100, False, 120, id="it has applied and confirmed more"),
        pytest.param(UNREADABLE, 120, None, False, 120, id="it was enabled before notes"),
        pytest.param(
            replace(UNREADABLE, enabled=False), 90, None, False, 0, id="it was never enabled"
        ),
        pytest.param(
            replace(UNREADABLE, enabled=False), 120, None, False, 0, id="a slot moved by hand"
        ),
        pytest.param(replace(UNREADABLE, enabled=False), 90, 50, False, 90, id="another's start"),
    ],
)
def test_without_an_origins_position_the_slot_and_the_note_prove_one(
    have: Subscription, confirmed: int, noted: int | None, made: bool, position: int
) -> None:
    """0/0 means that the start is set, which a slot that has passed it forbids."""
    found = start_notes.proven(
        have,
        replace(WANTED, start=Lsn(100)),
        Lsn(confirmed),
        None if noted is None else Lsn(noted),
        made=made,
    )
    assert found == position


def test_an_enabled_one_whose_start_nobody_noted_is_refused_until_its_slot_has_passed_it() -> None:
    with pytest.raises(Refused, match="nobody noted its start 0/64; its position can't be read"):
        start_notes.proven(UNREADABLE, replace(WANTED, start=Lsn(100)), Lsn(90), None, made=False)


def test_what_was_applied_already_is_no_failing_transaction_where_the_position_is_unknown() -> None:
    assert failing_transaction.find(None, "bg_app", ["bg"], None) is None  # type: ignore[arg-type]
