"""The seam under load: a clone and its subscription have each row of the source exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bluegreen import canary
from bluegreen.canary import Verdict
from bluegreen.errors import CloneAgain, Refused
from bluegreen.lsn import Lsn
from lab.workload import contents
from tests.fixtures.cloned import Load, Seam, Source
from tests.fixtures.rds import PlacedClusters

SourceOf = Callable[[int], Source]

_MAJORS = (18, 16, 16, 18)  # with both ways of cloning, by turns


@pytest.mark.parametrize(
    "number", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 25))]
)
def test_a_clone_under_load_is_exact(
    source_of: SourceOf, placed: PlacedClusters, number: int
) -> None:
    source = source_of(_MAJORS[number % len(_MAJORS)])
    with Load(source.lab) as load, source.cloned(placed, by_target=number % 2 == 1) as seam:
        origin = seam.ensure_origin()
        seam.subscribe(origin.lsn)
        seam.catch_up()  # while they go on writing
        load.stop()
        seam.catch_up()
        assert origin.lsn == seam.lsn
        assert [str(one) for one in seam.verdicts() if not one.exact] == []
        assert _different(seam) == []


def _different(seam: Seam) -> list[contents.Difference]:
    with seam.source.connect() as there, seam.connect() as here:
        return contents.differences(there, here)


# Wrong on purpose --------------------------------------------------------------------------------


def _write(source: Source, writer: int, numbers: range) -> None:
    with source.connect() as conn:
        for n in numbers:
            canary.write(conn, writer, n)


def _of(seam: Seam, writer: int) -> Verdict:
    return next(one for one in seam.verdicts() if one.writer == writer)


def test_a_start_that_is_too_low_doubles_and_the_canary_says_so(
    source_of: SourceOf, placed: PlacedClusters
) -> None:
    source = source_of(18)
    point = source.make_slot()
    _write(source, 101, range(10))
    with source.cloned(placed) as seam:
        origin = seam.ensure_origin()
        _write(source, 101, range(10, 15))
        seam.subscribe(point)
        assert point < origin.lsn
        seam.catch_up()
        assert str(_of(seam, 101)) == "canary 101: 0 lost, 10 doubled"


def test_a_start_that_is_too_high_loses_and_the_canary_says_so(
    source_of: SourceOf, placed: PlacedClusters
) -> None:
    source = source_of(18)
    _write(source, 102, range(5))
    with source.cloned(placed) as seam:
        seam.ensure_origin()
        _write(source, 102, range(5, 15))
        with source.connect() as conn:
            row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert row is not None
        _write(source, 102, range(15, 20))
        seam.subscribe(Lsn.parse(row[0]))
        seam.catch_up()
        assert str(_of(seam, 102)) == "canary 102: 10 lost, 0 doubled"


def test_an_lsn_read_after_a_write_on_the_clone(
    source_of: SourceOf, placed: PlacedClusters
) -> None:
    """Refused while the source has not come so far; past that only the canary can tell."""
    source = source_of(18)
    _write(source, 103, range(5))
    with source.cloned(placed) as seam:
        with seam.connect() as conn:
            conn.execute("CREATE TABLE by_hand AS SELECT i FROM generate_series(1, 20000) i")
            row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
            conn.execute("DROP TABLE by_hand")
        assert row is not None
        seam.tell(Lsn.parse(row[0]))
        with pytest.raises(Refused, match=r"later than its source is now .* it was written to"):
            seam.ensure_origin()
        _write(source, 103, range(5, 10))
        with source.connect() as conn:
            conn.execute("UPDATE pgbench_accounts SET abalance = 1 WHERE aid <= 20000")
        origin = seam.ensure_origin()
        seam.subscribe(origin.lsn)
        _write(source, 103, range(10, 12))
        seam.catch_up()
        assert str(_of(seam, 103)) == "canary 103: 5 lost, 0 doubled"


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
