"""The checker's logic on made-up records: what is planted must be found, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.workload import keys, timeline
from lab.workload.address import Address
from lab.workload.lifeline import Lifeline
from lab.workload.live import Board
from lab.workload.probe import Look
from lab.workload.records import ClientLog, Outcome, Record, RecordWriter, read_all
from lab.workload.sequences import Position
from lab.workload.timeline import Commit
from lab.workload.transactions import DRAWN, Kind

OLD, NEW = Address("127.0.0.11", 5432), Address("127.0.0.12", 5432)
MS = 1_000_000

addresses = st.builds(
    Address,
    st.tuples(*[st.integers(0, 255)] * 4).map(lambda parts: ".".join(map(str, parts))),
    st.integers(1, 65535),
)
records = st.builds(
    Record,
    n=st.integers(1, 2**63),
    sent_ns=st.integers(0, 2**63),
    done_ns=st.integers(0, 2**63),
    server=addresses,
    kind=st.sampled_from(Kind),
    outcome=st.sampled_from(Outcome),
    sqlstate=st.sampled_from(["", "25006", "57P01", "08006"]),
    values=st.lists(st.integers(-(2**62), 2**62), max_size=4).map(tuple),
)


# Records


@given(st.lists(records, max_size=20, unique_by=lambda record: record.n), st.integers(0, 71))
def test_records_are_read_as_written_and_half_a_row_counts_as_none(
    tmp_path_factory: pytest.TempPathFactory, written: list[Record], torn: int
) -> None:
    folder = tmp_path_factory.mktemp("records")
    with RecordWriter(folder, 7) as writer:
        for record in written:
            writer.append(record)
    with (folder / "client-7.bin").open("ab") as file:
        file.write(b"x" * torn)
    (log,) = read_all(folder)
    assert (log.client, log.records) == (7, written)
    assert abs(log.wall_offset_ns + time.monotonic_ns() - time.time_ns()) < 3600 * 10**9


def test_the_last_word_about_a_transaction_counts(tmp_path: Path) -> None:
    open_question = _record(1, Outcome.UNSETTLED)
    answer = open_question._replace(outcome=Outcome.FOUND)
    with RecordWriter(tmp_path, 7) as writer:
        for record in (open_question, _record(2, Outcome.COMMITTED), answer):
            writer.append(record)
    (log,) = read_all(tmp_path)
    assert sorted(log.records) == [answer, _record(2, Outcome.COMMITTED)]


def test_no_records_are_an_error_and_not_a_proof(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no client has recorded"):
        read_all(tmp_path)


# Keys


def _record(n: int, outcome: Outcome, kind: Kind = Kind.ORDER) -> Record:
    drawn = DRAWN[kind] if outcome is Outcome.COMMITTED else ()
    values = tuple(range(10 * n, 10 * n + len(drawn)))
    return Record(n, n * MS, n * MS + MS, OLD, kind, outcome, "", values)


def _truth(record: Record) -> dict[int, int]:
    """Return the keys that a faultless server holds because of `record`."""
    match record.outcome:
        case Outcome.COMMITTED | Outcome.FOUND:
            return {record.n: record.kind}
        case Outcome.ABSENT:
            return {record.n: Kind.TOMBSTONE}
        case _:
            return {}


kinds = st.sampled_from([kind for kind in Kind if kind is not Kind.TOMBSTONE])
histories = st.lists(st.tuples(st.sampled_from(Outcome), kinds), min_size=1, max_size=30).map(
    lambda steps: [_record(n, outcome, kind) for n, (outcome, kind) in enumerate(steps, 1)]
)


def _present(history: list[Record]) -> dict[int, int]:
    return {n: kind for record in history for n, kind in _truth(record).items()}


def _judge(history: list[Record], present: dict[int, int]) -> keys.KeyReport:
    return keys.judge([ClientLog(1, 0, history)], {1: present})


def _wrong(report: keys.KeyReport) -> dict[str, tuple[keys.Key, ...]]:
    found = {name: getattr(report, name) for name in ("lost", "risen", "strange", "changed")}
    return {name: value for name, value in found.items() if value}


@given(histories, st.booleans())
def test_a_faultless_history_has_no_findings(history: list[Record], in_flight: bool) -> None:
    present = _present(history)
    if in_flight:  # the client was killed between sending its last transaction and recording it
        present[len(history) + 1] = Kind.ORDER
    report = _judge(history, present)
    assert _wrong(report) == {}
    assert report.acknowledged == sum(r.outcome is Outcome.COMMITTED for r in history)
    assert report.acknowledged + report.ambiguous + report.refused == len(history)


@given(histories, st.data())
def test_a_lost_key_is_found(history: list[Record], data: st.DataObject) -> None:
    present = _present(history)
    if not present:
        return
    n = data.draw(st.sampled_from(sorted(present)))
    del present[n]
    assert _wrong(_judge(history, present)) == {"lost": ((1, n),)}


@given(histories, st.data())
def test_a_risen_key_is_found(history: list[Record], data: st.DataObject) -> None:
    gone = [r.n for r in history if r.outcome in (Outcome.FAILED, Outcome.ABSENT)]
    if not gone:
        return
    n = data.draw(st.sampled_from(gone))
    assert _wrong(_judge(history, _present(history) | {n: Kind.ORDER})) == {"risen": ((1, n),)}


@given(histories, st.integers(2, 10))
def test_a_key_that_nobody_sent_is_found(history: list[Record], beyond: int) -> None:
    n = len(history) + beyond
    found = _wrong(_judge(history, _present(history) | {n: Kind.ORDER}))
    assert found == {"strange": ((1, n),)}


def test_an_acknowledged_key_replaced_by_a_tombstone_is_lost() -> None:
    report = _judge([_record(1, Outcome.COMMITTED)], {1: Kind.TOMBSTONE})
    assert _wrong(report) == {"lost": ((1, 1),)}


def test_a_key_of_another_kind_is_found() -> None:
    report = _judge([_record(1, Outcome.COMMITTED, Kind.ORDER)], {1: Kind.EVENT})
    assert _wrong(report) == {"changed": ((1, 1),)}


@pytest.mark.parametrize("present", [{}, {1: Kind.ORDER}, {1: Kind.TOMBSTONE}])
def test_an_unsettled_key_may_be_there_or_not(present: dict[int, int]) -> None:
    assert _wrong(_judge([_record(1, Outcome.UNSETTLED)], present)) == {}


def test_a_value_drawn_twice_is_counted_twice() -> None:
    event = _record(1, Outcome.COMMITTED, Kind.EVENT)
    again = dataclasses.replace(ClientLog(2, 0, [event]))
    drawn = keys.drawn_values([ClientLog(1, 0, [event]), again])
    assert drawn["shop.event_id_seq"] == Counter({10: 2})


def test_values_of_transactions_that_did_not_commit_are_not_counted() -> None:
    refused = _record(1, Outcome.FAILED, Kind.EVENT)
    assert not any(keys.drawn_values([ClientLog(1, 0, [refused])]).values())


# Sequences


@given(
    st.integers(-100, 100),
    st.sampled_from([-7, -1, 1, 3, 10]),
    st.booleans(),
    st.integers(-300, 300),
)
def test_a_sequence_is_past_a_value_exactly_when_it_never_returns_it(
    last: int, increment: int, called: bool, steps: int
) -> None:
    first = last + increment if called else last
    future = {first + increment * i for i in range(400)}
    used = last + increment * steps
    position = Position("s", increment, False, last, called)
    assert position.is_at_or_past(used) == (used not in future)


# Switches, from commits

plans = st.lists(
    st.tuples(st.integers(300, 3000), st.integers(1, 900)),  # length, outage after it, in ms
    min_size=1,
    max_size=5,
)


def _reign(server: Address, start_ms: int, length_ms: int, clients: int = 3) -> list[Commit]:
    """Return commits that begin and end exactly with the reign, every 10 ms a client."""
    times = [*range(start_ms, start_ms + length_ms, 10), start_ms + length_ms]
    return [Commit(i % clients, server, ms * MS - MS // 2, ms * MS) for i, ms in enumerate(times)]


def _planned(plan: list[tuple[int, int]]) -> list[Commit]:
    commits: list[Commit] = []
    start_ms = 1000
    for number, (length_ms, outage_ms) in enumerate(plan):
        commits += _reign((OLD, NEW)[number % 2], start_ms, length_ms)
        start_ms += length_ms + outage_ms
    return commits


@given(plans, st.randoms(use_true_random=False))
def test_switches_and_outages_are_those_planned(
    plan: list[tuple[int, int]], shuffle: object
) -> None:
    commits = _planned(plan)
    shuffle.shuffle(commits)  # type: ignore[attr-defined]
    reigns = timeline.reigns(commits)
    assert timeline.overlaps(reigns) == []
    found = timeline.switches(reigns)
    assert [switch.outage_ms for switch in found] == [outage for _, outage in plan[:-1]]
    assert [switch.old for switch in found] == [(OLD, NEW)[i % 2] for i in range(len(plan) - 1)]
    assert all(switch.worst_client_ms >= switch.outage_ms for switch in found)
    assert all(switch.late_acks == 0 and switch.silent_clients == 0 for switch in found)


@given(plans.filter(lambda plan: len(plan) > 1), st.data())
def test_a_stray_commit_on_the_closed_side_is_an_overlap(
    plan: list[tuple[int, int]], data: st.DataObject
) -> None:
    commits = _planned(plan)
    start_ms = 1000 + plan[0][0] + plan[0][1]  # of the second reign, on NEW
    at_ms = start_ms + data.draw(st.integers(1, plan[1][0] - 1))
    stray = Commit(9, OLD, at_ms * MS + 1000, at_ms * MS + 2000)
    reigns = timeline.reigns([*commits, stray])
    assert {frozenset((o.server, o.other)) for o in timeline.overlaps(reigns)} == {
        frozenset((OLD, NEW))
    }
    assert len(timeline.switches(reigns)) == len(plan) - 1


@given(st.integers(1, 200))
def test_a_writer_that_opens_before_the_old_one_is_closed_is_an_overlap(early_ms: int) -> None:
    commits = _reign(OLD, 1000, 1000) + _reign(NEW, 2000 - early_ms, 1000)
    (overlap,) = timeline.overlaps(timeline.reigns(commits))
    assert (overlap.server, overlap.other) == (OLD, NEW)
    assert overlap.by_ms == pytest.approx(early_ms - 0.5)


def test_an_acknowledgement_that_only_arrives_late_is_no_proof_but_is_counted() -> None:
    late = Commit(0, OLD, 2000 * MS, 2060 * MS)
    reigns = timeline.reigns([*_reign(OLD, 1000, 1000), late, *_reign(NEW, 2050, 1000)])
    assert timeline.overlaps(reigns) == []
    (switch,) = timeline.switches(reigns)
    assert (switch.late_acks, switch.outage_ms) == (1, 0)


def test_an_outage_that_ends_on_the_same_server_is_no_switch() -> None:
    commits = _reign(OLD, 1000, 1000) + _reign(OLD, 4000, 1000)
    reigns = timeline.reigns(commits)
    assert timeline.switches(reigns) == []
    assert timeline.longest_gap_ms(commits) == 2000


def test_the_worst_client_is_named_and_silent_ones_are_counted() -> None:
    commits = [
        Commit(1, OLD, 9 * MS, 10 * MS),
        Commit(2, OLD, 19 * MS, 20 * MS),
        Commit(3, OLD, 19 * MS, 20 * MS),
        Commit(2, NEW, 59 * MS, 60 * MS),
        Commit(1, NEW, 89 * MS, 90 * MS),
    ]
    (switch,) = timeline.switches(timeline.reigns(commits))
    assert (switch.outage_ms, switch.worst_client_ms, switch.worst_client) == (40, 80, 1)
    assert switch.silent_clients == 1


# Both open, from probes

spans = st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), max_size=5)


def _intervals(gaps_and_lengths: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return disjoint (start, end) in ms."""
    intervals, at = [], 0
    for gap, length in gaps_and_lengths:
        intervals.append((at + gap, at + gap + length))
        at += gap + length
    return intervals


def _looks(opened: list[tuple[int, int]], period: int, offset: int) -> list[Look]:
    """Return what a probe sees that asks every `period` ms, each question taking 2 ms.

    The answer is the truth in the middle; every time of opening is a session of its own.
    """
    looks = []
    for start in range(offset, 6000, period):
        truth = [i for i, (a, b) in enumerate(opened, 1) if a <= start + 1 <= b]
        session = truth[0] if truth else 0
        looks.append(Look(start * MS, (start + 2) * MS, session, bool(truth)))
    return looks


def _overlap_ms(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> int:
    return max((min(b, d) - max(a, c) for a, b in one for c, d in two), default=0)


@given(spans, spans, st.integers(3, 40), st.integers(0, 39), st.integers(0, 39))
def test_probes_find_every_longer_overlap_and_never_one_that_was_not(
    one: list[tuple[int, int]], two: list[tuple[int, int]], period: int, first: int, second: int
) -> None:
    old, new = _intervals(one), _intervals(two)
    looks = {OLD: _looks(old, period, first), NEW: _looks(new, period, second)}
    found = timeline.open_overlaps(looks)
    truth = _overlap_ms(old, new)
    if truth <= 0:
        assert found == []
    if truth >= 4 * period:
        assert found
    assert all(overlap.by_ms <= truth for overlap in found)


def test_a_single_look_proves_no_span() -> None:
    looks = {OLD: [Look(0, MS, 1, True)], NEW: [Look(0, MS, 1, True)]}
    assert timeline.open_overlaps(looks) == []


def test_looks_of_different_sessions_do_not_join() -> None:
    apart = [Look(0, MS, 1, True), Look(100 * MS, 101 * MS, 2, True)]
    other = [Look(ms * MS, (ms + 1) * MS, 1, True) for ms in (20, 40, 60)]
    assert timeline.open_overlaps({OLD: apart, NEW: other}) == []


# The board and the lifeline


def test_the_board_adds_up_the_clients(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "live", 2)
    one, two = board.slot(0), board.slot(1)
    one.connected(OLD)
    two.connected(NEW)
    one.committed(10 * MS)
    two.committed(35 * MS)
    one.committed(40 * MS)
    two.failed()
    two.error("25006")
    one.error("25006")
    one.lost_connection()
    live = board.read()
    assert (live.committed, live.failed, live.lost_connections, live.connects) == (3, 1, 1, 2)
    assert live.servers == (OLD, NEW)
    assert live.errors == {"25006": 2}
    assert live.longest_gap_ms == 25
    board.reset_gap()
    assert board.read().longest_gap_ms == 0


def test_more_sorts_of_errors_than_there_is_room_for_are_still_counted(tmp_path: Path) -> None:
    board = Board.create(tmp_path / "live", 1)
    slot = board.slot(0)
    for number in range(40):
        slot.error(f"{number:05}")
    errors = board.read().errors
    assert sum(errors.values()) == 40
    assert errors["XXXXX"] == 40 - 11


def test_a_lifeline_ends_with_its_descriptor_and_with_its_deadline() -> None:
    reader, writer = os.pipe()
    lifeline = Lifeline(reader)
    assert not lifeline.ended()
    os.close(writer)
    assert lifeline.wait(10)
    assert lifeline.ended()
    os.close(reader)
    assert Lifeline(None, time.monotonic() - 1).ended()
    assert not Lifeline(None, time.monotonic() + 60).ended()
