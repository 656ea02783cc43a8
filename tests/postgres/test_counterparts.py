"""A table on the writer that is another one than the standby has the rows of, under one name."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bluegreen.finding import Level
from bluegreen.lsn import Lsn
from bluegreen.postgres.table_names import TableName
from bluegreen.replication import counterparts, coverage
from bluegreen.replication.subscription import subscribing
from bluegreen.replication.subscription.options import SubscriptionSpec
from lab.postgres.clone import wait_until
from tests.fixtures.rds import REPLICATOR
from tests.fixtures.subscribed import Subscribed

REPORT = f"CREATE TABLE report (n int); GRANT SELECT ON report TO {REPLICATOR}"
SWAP = """
BEGIN;
ALTER TABLE live RENAME TO next; ALTER TABLE staging RENAME TO live;
ALTER TABLE next RENAME TO staging;
COMMIT
"""


def _subscribe(this: Subscribed) -> None:
    """Make or update the subscription, as `pulumi up` does."""
    wanted = SubscriptionSpec(this.name, (this.name,), this.slot, Lsn.parse(this.start))
    with this.target.connect(this.database) as here, this.source.connect(this.database) as there:
        subscribing.ensure(
            here, there, this.source, wanted, alter=True, deadline=time.monotonic() + 30
        )


def _blockers(this: Subscribed, *may_stay: TableName) -> list[str]:
    with this.target.connect(this.database) as here, this.source.connect(this.database) as there:
        found = coverage.inspect(there, here, [this.name], this.name)
    judged = coverage.judge(this.database, found, may_stay)
    return [one.line() for one in judged if one.level is Level.BLOCK]


def _both(this: Subscribed, statements: str) -> None:
    for run in (this.on_target, this.on_source):
        run(statements)


def _rows(this: Subscribed, side: str) -> list[tuple[object, ...]]:
    run = this.on_source if side == "source" else this.on_target
    return run("SELECT n FROM report ORDER BY n")


@pytest.fixture
def this(subscribe_pair: Callable[..., Subscribed]) -> Subscribed:
    """Return a pair, 16 to 18, of which all tables are published."""
    return subscribe_pair(16, 18)


def test_a_report_that_a_job_makes_anew_each_night_is_not_there_twice(this: Subscribed) -> None:
    """The standby is not told of the DROP: it has the rows of both nights."""
    _both(this, REPORT)
    _subscribe(this)
    this.on_source("INSERT INTO report VALUES (1)")
    wait_until(lambda: _rows(this, "target") == [(1,)], "the first night's row")
    assert _blockers(this) == []

    this.on_source("DROP TABLE report")
    this.on_source(REPORT)
    this.on_source("INSERT INTO report VALUES (2)")
    wait_until(lambda: _rows(this, "target") == [(1,), (2,)], "the rows of both nights")
    (line,) = _blockers(this)
    assert "made anew, or renamed, on the writer alone: public.report" in line
    assert _blockers(this, ("public", "report")) == []

    this.on_target("DROP TABLE report")
    this.on_target(REPORT)
    _subscribe(this)
    wait_until(lambda: _rows(this, "target") == [(2,)], "the second night's row")
    wait_until(lambda: _blockers(this) == [], "the copy's end")


def test_a_table_that_takes_another_ones_name_is_told_from_it(this: Subscribed) -> None:
    _both(this, "CREATE TABLE live (n int); CREATE TABLE staging (n int)")
    _subscribe(this)
    this.on_source(SWAP)
    (line,) = _blockers(this)
    assert "on the writer alone: public.live, public.staging" in line
    this.on_target(SWAP)
    assert _blockers(this) == []


def test_what_is_made_anew_between_the_clone_and_its_subscription_is_told(
    this: Subscribed,
) -> None:
    """A clone's tables have its source's oids, and an upgrade keeps them."""
    _both(this, REPORT)
    with this.target_lab.connect(this.database) as conn:
        counterparts.note_clone(conn)
    _subscribe(this)
    # No clone of this source: each of its tables was made apart.
    (line,) = _blockers(this)
    assert "public.orders, public.report" in line
