"""A subscription that starts elsewhere than its clone ends: refused, or told by the canary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bluegreen import canary
from bluegreen.canary import Tally
from bluegreen.errors import CloneAgain, Refused
from bluegreen.lsn import Lsn
from tests.fixtures.fresh_clone import Seam, Source
from tests.fixtures.rds import PlacedClusters

SourceOf = Callable[[int], Source]


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
    source_of: SourceOf, placed: PlacedClusters
) -> None:
    source = source_of(18)
    point = source.make_slot()
    _write(source, range(10))
    with source.cloned(placed) as seam:
        origin = seam.ensure_origin()
        _write(source, range(10, 15))
        seam.subscribe(point)
        assert point < origin.lsn
        seam.catch_up()
        tally = _tally(seam)
        assert (tally.lost, tally.doubled) == (0, 10)


def test_a_start_that_is_too_high_loses_and_the_canary_says_so(
    source_of: SourceOf, placed: PlacedClusters
) -> None:
    source = source_of(18)
    _write(source, range(5))
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


def test_an_lsn_read_after_a_write_on_the_clone(
    source_of: SourceOf, placed: PlacedClusters
) -> None:
    """Refused while the source has not come so far; past that only the canary can tell."""
    source = source_of(18)
    _write(source, range(5))
    with source.cloned(placed) as seam:
        with seam.connect() as conn:
            conn.execute("CREATE TABLE by_hand AS SELECT i FROM generate_series(1, 20000) i")
            row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
            conn.execute("DROP TABLE by_hand")
        assert row is not None
        seam.tell(Lsn.parse(row[0]))
        with pytest.raises(Refused, match=r"later than its source is now .* it was written to"):
            seam.ensure_origin()
        _write(source, range(5, 10))
        with source.connect() as conn:
            conn.execute("UPDATE account SET balance = 1")
        origin = seam.ensure_origin()
        seam.subscribe(origin.lsn)
        _write(source, range(10, 12))
        seam.catch_up()
        tally = _tally(seam)
        assert (tally.lost, tally.doubled) == (5, 0)


def test_a_slot_made_after_the_clone_is_refused(
    source_of: SourceOf, placed: PlacedClusters
) -> None:
    source = source_of(18)
    with (
        source.cloned(placed, slot_first=False) as seam,
        pytest.raises(
            CloneAgain, match=r"before slot \w+ begins at .*: clone again, after the slot"
        ),
    ):
        seam.ensure_origin()
