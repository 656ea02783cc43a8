"""A subscription that starts elsewhere than its clone ends: refused, or told by the canary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bluegreen.errors import CloneAgain, Refused
from bluegreen.lsn import Lsn
from bluegreen.replication import heartbeat
from tests.fixtures import canary
from tests.fixtures.canary import Tally
from tests.fixtures.fresh_clone import Seam, Source
from tests.fixtures.rds import PlacedClusters


@pytest.fixture(params=[pytest.param(16, marks=pytest.mark.slow), 18])
def source(request: pytest.FixtureRequest, source_of: Callable[[int], Source]) -> Source:
    """Return the module's source of each major."""
    return source_of(request.param)


def _write(source: Source, numbers: range) -> None:
    with source.connect() as conn:
        if numbers.start == 0:
            canary.clear(conn)
        for n in numbers:
            canary.write(conn, 1, n)


def _tally(seam: Seam) -> Tally:
    with seam.connect() as conn:
        return canary.count(conn)


def test_a_start_that_is_too_low_doubles_and_the_canary_says_so(
    source: Source, placed: PlacedClusters
) -> None:
    _write(source, range(2))
    point = source.make_slot()
    _write(source, range(2, 12))
    with source.cloned(placed) as seam:
        origin = seam.ensure_origin()
        _write(source, range(12, 15))
        seam.subscribe(point)
        assert point < origin.lsn
        seam.catch_up()
        tally = _tally(seam)
        assert (tally.lost, tally.doubled) == (0, 10)


def test_a_start_that_is_too_high_loses_and_the_canary_says_so(
    source: Source, placed: PlacedClusters
) -> None:
    _write(source, range(5))
    with source.connect() as conn:
        heartbeat.beat(conn)  # the clone has the row: of one that is skipped no update is seen
    with source.cloned(placed) as seam:
        seam.ensure_origin()
        _write(source, range(5, 15))
        with source.connect() as conn:
            row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert row is not None
        _write(source, range(15, 20))
        seam.subscribe(Lsn.parse(row[0]))
        seam.catch_up()
        tally = _tally(seam)
        assert (tally.lost, tally.doubled) == (10, 0)


def _write_by_hand(seam: Seam) -> None:
    """Write to the clone, so that it tells a later LSN."""
    with seam.connect() as conn:
        conn.execute("CREATE TABLE by_hand AS SELECT i FROM generate_series(1, 20000) i")
        row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        conn.execute("DROP TABLE by_hand")
    assert row is not None
    seam.tell(Lsn.parse(row[0]))


def _move_on(source: Source) -> None:
    """Let the source come past what was written to the clone by hand."""
    with source.connect() as conn:
        conn.execute("UPDATE account SET balance = balance + 1")


def test_an_lsn_read_after_a_write_on_the_clone_is_refused_once_and_for_all(
    source: Source, placed: PlacedClusters
) -> None:
    """Also when the source has come so far: the heartbeat of the first look is not in the clone."""
    with source.cloned(placed) as seam:
        _write_by_hand(seam)
        with pytest.raises(Refused, match=r"later than its source is now .* it was written to"):
            seam.ensure_origin()
        _move_on(source)
        for _ in range(2):
            with pytest.raises(CloneAgain, match=r"heartbeat .* its LSN is too high.*clone again"):
                seam.ensure_origin()


def test_an_lsn_that_the_source_had_passed_at_the_first_look_only_the_canary_can_tell(
    source: Source, placed: PlacedClusters
) -> None:
    """See docs/limits.md."""
    _write(source, range(5))
    with source.cloned(placed) as seam:
        _write_by_hand(seam)
        _write(source, range(5, 10))
        _move_on(source)
        origin = seam.ensure_origin()
        seam.subscribe(origin.lsn)
        _write(source, range(10, 12))
        seam.catch_up()
        tally = _tally(seam)
        assert (tally.lost, tally.doubled) == (5, 0)


def test_a_slot_made_after_the_clone_is_refused(source: Source, placed: PlacedClusters) -> None:
    with (
        source.cloned(placed, slot_first=False) as seam,
        pytest.raises(
            CloneAgain, match=r"before slot \w+ begins at .*: clone again, after the slot"
        ),
    ):
        seam.ensure_origin()
