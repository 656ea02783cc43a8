"""A source of 15 through the real `pulumi`: settings left alone fit every major."""

from __future__ import annotations

import os

import pytest

from lab.postgres.binaries import available, binaries
from tests.engine.test_life import CHANGED
from tests.fixtures.lab import SOURCE, Lab, running

pytestmark = pytest.mark.slow


def _items(lab: Lab, stack: str) -> set[object]:
    with lab.connect(stack) as conn:
        return {n for (n,) in conn.execute("SELECT id FROM item")}


def _insert(lab: Lab, stack: str) -> object:
    with lab.connect(stack) as conn:
        row = conn.execute("INSERT INTO item DEFAULT VALUES RETURNING id").fetchone()
    assert row is not None
    return row[0]


def test_a_source_of_15_is_upgraded_switched_and_comes_back() -> None:
    if 15 not in available() or not binaries(15).complete:
        pytest.skip("PostgreSQL 15 with pg_basebackup is not installed: `make more-versions`")
    with running(f"test-15-{os.getpid()}", "bluegreen:environment.engine_version=15.13") as lab:
        written = {_insert(lab, SOURCE)}
        green = lab.new_stack("bluegreen:environment.engine_version=16.14")
        lab.up(green)
        lab.set(green, "bluegreen:cutover=true")
        lab.up(green)
        assert not CHANGED.search(lab.up(green, "--refresh"))  # 15 is the subscriber now
        written.add(_insert(lab, green))
        lab.set(green, "bluegreen:cutover=false")
        lab.up(green)
        written.add(_insert(lab, SOURCE))
        assert written == _items(lab, SOURCE)
        with lab.connect(green) as conn:
            row = conn.execute("SHOW server_version").fetchone()
        assert row is not None
        assert str(row[0]).startswith("16")
