"""Tables and partitions made while a deployment runs: a plain update notices and takes them in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynamic_providers.caught_up import CaughtUpProvider
from dynamic_providers.subscription import SubscriptionProvider
from lab.postgres.clone import wait_until
from tests.fixtures.provider_host import Host, HostError, Made, ProviderHost
from tests.fixtures.subscribed import Subscribed

PARENT = """
CREATE TABLE m (id int, month int, PRIMARY KEY (id, month)) PARTITION BY LIST (month);
CREATE TABLE m_1 PARTITION OF m FOR VALUES IN (1);
GRANT SELECT ON ALL TABLES IN SCHEMA public TO replicator
"""
# As pg_partman makes one: a table like its parent, with its privileges, attached.
NEXT = """
BEGIN;
CREATE TABLE m_2 (LIKE m INCLUDING ALL);
GRANT SELECT ON m_2 TO replicator;
ALTER TABLE m ATTACH PARTITION m_2 FOR VALUES IN (2);
COMMIT
"""


class Update:
    """What `pulumi up` does with the two resources, when nothing in the program has changed."""

    def __init__(self, hosts: Host, this: Subscribed) -> None:
        self.subscriptions: ProviderHost = hosts.of(SubscriptionProvider())
        self.gates: ProviderHost = hosts.of(CaughtUpProvider())
        self.this = this
        self.gate_props = {
            "publisher": this.source.to_props(),
            "subscriber": this.target.to_props(),
            "databases": [this.database],
            "deployment": this.deployment,
            "direction": "forward",
            "lag_seconds": 5,
            "stable_seconds": 0.1,
            "timeout_seconds": 60,
        }
        self.subscription: Made = self.subscriptions.create(this.props)
        self.gate: Made = self.gates.create(self.gate_props)

    def take_in(self) -> bool:
        """Update the subscription if it asks for it; tell whether it did."""
        changes = bool(self.subscriptions.diff(self.subscription, self.this.props).changes)
        if changes:
            self.subscription = self.subscriptions.update(self.subscription, self.this.props)
        return changes

    def run(self) -> list[str]:
        """Do what the diffs ask for; return which resources changed."""
        changed = ["Subscription"] if self.take_in() else []
        if self.gates.diff(self.gate, self.gate_props).changes:
            self.gate = self.gates.update(self.gate, self.gate_props)
            changed.append("CaughtUp")
        return changed


@pytest.fixture
def made(provider_host: Host, subscribe_pair: Callable[..., Subscribed]) -> Callable[..., Update]:
    """Return a function that makes a running deployment, 16 to 18."""

    def make(setup: str, *, via_root: bool = False) -> Update:
        this = subscribe_pair(16, 18)
        this.on_source(f"ALTER PUBLICATION {this.name} SET (publish_via_partition_root={via_root})")
        for run in (this.on_target, this.on_source):
            run(setup)
        return Update(provider_host, this)

    return make


def _rows(run: Callable[..., list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    return run("SELECT * FROM m ORDER BY 1, 2")


def test_a_partition_made_on_both_sides_is_noticed_copied_and_waited_for(
    made: Callable[..., Update],
) -> None:
    update = made(PARENT)
    this = update.this
    assert update.run() == []
    for run in (this.on_target, this.on_source):
        run(NEXT)
    this.on_source("INSERT INTO m SELECT g, 1 + g % 2 FROM generate_series(1, 2000) g")
    with this.target_lab.connect(this.database) as holder:
        holder.execute("BEGIN; LOCK TABLE m_2 IN SHARE MODE")  # the copy waits, as if it were long
        assert update.take_in()
        assert update.gates.diff(update.gate, update.gate_props).changes
        this.on_source("INSERT INTO m SELECT g, 2 FROM generate_series(3001, 3100) g")
    assert not update.take_in()
    update.run()
    wait_until(lambda: _rows(this.on_source) == _rows(this.on_target), "all rows of both months")
    assert update.run() == []
    this.on_source("DROP TABLE m_1")  # what retention does
    assert update.run() == ["Subscription"]
    assert update.run() == []


def test_a_partition_made_on_the_writer_alone_waits_for_its_twin(
    made: Callable[..., Update],
) -> None:
    """Until it is on the standby an update leaves it alone, and the gate names it."""
    update = made(PARENT)
    this = update.this
    this.on_source(NEXT)
    assert update.run() == []
    with pytest.raises(HostError, match=r"missing on the standby: public\.m_2.*create them there"):
        update.gates.create(update.gate_props)
    this.on_source("INSERT INTO m SELECT g, 2 FROM generate_series(1, 500) g")
    this.on_target(NEXT)
    assert update.run()[0] == "Subscription"
    wait_until(lambda: _rows(this.on_source) == _rows(this.on_target), "all rows of both months")


def test_a_partition_needs_no_update_when_its_root_is_published(
    made: Callable[..., Update],
) -> None:
    update = made(PARENT, via_root=True)
    this = update.this
    for run in (this.on_target, this.on_source):
        run(NEXT)
    this.on_source("INSERT INTO m SELECT g, 1 + g % 2 FROM generate_series(1, 500) g")
    assert update.run() == []
    wait_until(lambda: _rows(this.on_source) == _rows(this.on_target), "all rows of both months")


def test_what_can_not_be_copied_whole_is_refused_by_name(made: Callable[..., Update]) -> None:
    """Rows on both sides, no SELECT, row security: none of them may copy a part in silence."""
    update = made("CREATE TABLE parent (id int PRIMARY KEY)")
    this = update.this
    for run in (this.on_target, this.on_source):
        run("CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1)")
    with pytest.raises(HostError, match=r"public\.late .*has rows here.*truncate it"):
        update.run()
    this.on_target("TRUNCATE late")

    with pytest.raises(
        HostError, match=r"public\.late can't be copied: 'replicator'.*GRANT SELECT"
    ):
        update.run()
    this.on_source(
        "GRANT SELECT ON late TO replicator; ALTER TABLE late ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY own ON late FOR SELECT USING (id > 10)"
    )
    with pytest.raises(HostError, match=r"row security hides rows from 'replicator'") as hidden:
        update.run()
    assert "BYPASSRLS" in str(hidden.value)
    this.on_source("CREATE POLICY copy ON late FOR SELECT TO replicator USING (true)")
    assert update.run()[0] == "Subscription"
    wait_until(lambda: this.on_target("SELECT id FROM late") == [(1,)], "the copied row")


def test_an_inheritance_parent_is_no_filled_table(made: Callable[..., Update]) -> None:
    """Its children's rows are theirs: a copy takes each table for itself."""
    update = made("CREATE TABLE child (id int PRIMARY KEY, v int)")
    this = update.this
    this.on_source("INSERT INTO child VALUES (1, 1)")
    wait_until(lambda: bool(this.on_target("SELECT FROM child")), "the child's row")
    for run in (this.on_target, this.on_source):
        run(
            "CREATE TABLE root (id int PRIMARY KEY, v int); ALTER TABLE child INHERIT root;"
            "GRANT SELECT ON root TO replicator"
        )
    this.on_source("INSERT INTO root VALUES (2, 2)")
    assert update.run()[0] == "Subscription"
    root = "SELECT id FROM root ORDER BY id"
    wait_until(lambda: this.on_target(root) == [(1,), (2,)], "the root's own row")
