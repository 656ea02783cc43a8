"""A publication that begins to send what it left out: the rows in between are never forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from psycopg import sql

from bluegreen.errors import Refused
from bluegreen.finding import Level
from bluegreen.lsn import Lsn
from bluegreen.postgres.publications import OPERATIONS, Publication, PublishedTable
from bluegreen.replication import coverage, slot
from bluegreen.replication.publication import publishing
from bluegreen.replication.subscription import subscribing
from bluegreen.replication.subscription.options import SubscriptionSpec
from lab.postgres.clone import wait_until
from tests.fixtures.rds import REPLICATOR
from tests.fixtures.subscribed import Subscribed

ORDERS, CUSTOMERS = PublishedTable("public", "orders"), PublishedTable("public", "customers")
FILTERED = PublishedTable("public", "customers", where="id > 100")
NAMED = PublishedTable("public", "customers", columns=frozenset({"id", "region"}))


@dataclass(slots=True)
class Chosen:
    """A publisher of chosen tables and its subscriber, changed as `pulumi up` does."""

    this: Subscribed

    def publish(self, *tables: PublishedTable, operations: frozenset[str] = OPERATIONS) -> None:
        """Update the publication."""
        heartbeats = PublishedTable("bluegreen", "heartbeat")
        want = Publication(
            self.this.name,
            all_tables=False,
            tables=frozenset({heartbeats, *tables}),
            operations=operations,
        )
        with self.this.source.connect(self.this.database) as conn:
            publishing.ensure(conn, want, {}, alter=True, deadline=time.monotonic() + 10)

    def make_slot(self) -> None:
        """Make the slot, where the copy of the source begins."""
        with self.this.source.connect(self.this.database) as conn:
            made = slot.ensure(
                conn, self.this.slot, reader=self.this.name, where="orders", wait_seconds=10
            )
        self.this.start = str(made.confirmed)

    def subscribe(self) -> None:
        """Make or update the subscription."""
        this = self.this
        wanted = SubscriptionSpec(this.name, (this.name,), this.slot, Lsn.parse(this.start))
        with (
            this.target.connect(this.database) as here,
            this.source.connect(this.database) as there,
        ):
            subscribing.ensure(
                here, there, this.source, wanted, alter=True, deadline=time.monotonic() + 30
            )

    def blockers(self) -> list[str]:
        """Return what stands in the way of a switch."""
        this = self.this
        with (
            this.target.connect(this.database) as here,
            this.source.connect(this.database) as there,
        ):
            found = coverage.judge(
                this.database, coverage.inspect(there, here, [this.name], this.name)
            )
        return [one.line() for one in found if one.level is Level.BLOCK]

    def sign_up(self, number: int, region: str) -> None:
        """Write a customer on the publisher."""
        self.this.on_source("INSERT INTO customers VALUES (%s, %s, 'x')", number, region)

    def follow_the_remedy(self, *others: PublishedTable) -> None:
        """Take the customers out, empty them there, and put them in again."""
        self.publish(*others)
        self.subscribe()
        self.this.on_target("TRUNCATE customers")
        self.publish(*others, CUSTOMERS)
        self.subscribe()
        wait_until(lambda: self.customers("target") == self.customers("source"), "the copy")
        wait_until(lambda: self.blockers() == [], "the copy's end")

    def customers(self, side: str) -> list[tuple[object, ...]]:
        """Return the customers of `source` or `target`."""
        run = self.this.on_source if side == "source" else self.this.on_target
        return run("SELECT * FROM customers ORDER BY id")


@pytest.fixture
def chosen(subscribe_pair: Callable[..., Subscribed]) -> Chosen:
    """Return a pair without a publication and a slot yet."""
    this = subscribe_pair(16, 18)
    name = sql.Identifier(this.name).as_string()
    this.on_source(f"DROP PUBLICATION {name}")
    this.on_source("SELECT pg_drop_replication_slot(%s)", this.slot)
    for run in (this.on_source, this.on_target):
        run("CREATE TABLE customers (id int PRIMARY KEY, region text, note text)")
        run(f"GRANT SELECT ON customers TO {REPLICATOR}")
    return Chosen(this)


@pytest.mark.parametrize(
    ("before", "operations", "said"),
    [
        (FILTERED, OPERATIONS, "another row filter of public.customers"),
        (NAMED, OPERATIONS, "more columns of public.customers"),
        (CUSTOMERS, OPERATIONS - {"delete"}, "DELETE"),
    ],
    ids=["filter", "columns", "operations"],
)
def test_what_was_left_out_of_a_table_is_not_forgotten_when_it_is_sent_whole(
    chosen: Chosen, before: PublishedTable, operations: frozenset[str], said: str
) -> None:
    chosen.publish(ORDERS, before, operations=operations)
    chosen.make_slot()
    chosen.subscribe()
    chosen.sign_up(1, "us")
    with pytest.raises(Refused, match=rf"would begin to send {said} while slot {chosen.this.slot}"):
        chosen.publish(ORDERS, CUSTOMERS)
    if operations == OPERATIONS:
        chosen.follow_the_remedy(ORDERS)
        chosen.sign_up(2, "us")
        wait_until(lambda: chosen.customers("target") == chosen.customers("source"), "the row")


def test_less_may_be_sent_from_now_on(chosen: Chosen) -> None:
    chosen.publish(ORDERS, CUSTOMERS)
    chosen.make_slot()
    chosen.subscribe()
    chosen.publish(ORDERS, NAMED, operations=OPERATIONS - {"truncate"})
    chosen.subscribe()
    assert chosen.blockers() == []


def test_a_table_that_is_put_in_between_slot_and_subscription_is_not_taken_for_whole(
    chosen: Chosen,
) -> None:
    """A subscription takes what is published when it is made as whole from its start on."""
    chosen.publish(ORDERS)
    chosen.make_slot()
    chosen.sign_up(1, "eu")
    chosen.publish(ORDERS, CUSTOMERS)
    with pytest.raises(Refused, match=r"public\.customers put into the publication while its slot"):
        chosen.subscribe()
    chosen.follow_the_remedy(ORDERS)


def test_nor_is_one_that_was_dropped_by_hand_and_is_put_in_again(chosen: Chosen) -> None:
    chosen.publish(ORDERS, CUSTOMERS)
    chosen.make_slot()
    chosen.subscribe()
    name = sql.Identifier(chosen.this.name).as_string()
    chosen.this.on_source(f"ALTER PUBLICATION {name} DROP TABLE customers")
    chosen.sign_up(1, "eu")
    chosen.publish(ORDERS, CUSTOMERS)
    (line,) = chosen.blockers()
    assert "subscribed already: public.customers" in line
    with pytest.raises(Refused, match=r"public\.customers put into the publication while its slot"):
        chosen.subscribe()
    chosen.follow_the_remedy(ORDERS)


def test_what_was_put_in_before_a_new_slot_is_whole_for_its_reader(chosen: Chosen) -> None:
    """As before each switch back: the direction gets a slot anew."""
    chosen.publish(ORDERS)
    chosen.make_slot()
    chosen.publish(ORDERS, CUSTOMERS)
    chosen.this.on_source("SELECT pg_drop_replication_slot(%s)", chosen.this.slot)
    chosen.make_slot()
    chosen.subscribe()
    assert chosen.blockers() == []
