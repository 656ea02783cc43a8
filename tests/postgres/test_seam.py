"""The seam under load: a clone and its subscription have each row of the source exactly once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
