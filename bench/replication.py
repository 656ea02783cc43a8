"""`make bench-replication`: how the resources of the replication grow with tables and sequences.

Each figure is one call of a resource's provider, as the engine makes it, between two real servers;
the engine's own time is not in it. `MAJOR`, `TABLES`, `SEQUENCES` and `REPEATS` of the environment
choose another run. Verification of contents is not measured: nothing in the product does it yet.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from bench import report
from bench.report import Goal, Spread
from bench.world import World, world
from bluegreen import names
from bluegreen.names import Direction
from bluegreen.replication import sequences
from dynamic_providers.publication import PublicationProvider
from dynamic_providers.replication_slot import ReplicationSlotProvider
from dynamic_providers.sequence_values import SequenceValuesProvider
from dynamic_providers.subscription import SubscriptionProvider

Props = dict[str, Any]

DEPLOYMENT = "bench"
# Inside the outage, with connections warm: DESIGN's goal for the exact values.
SEQUENCE_GOALS = {10_000: Goal(100, "ms")}
_MOVED = 100  # one in so many sequences has moved between the pre-set and the switch


@dataclass(slots=True)
class Measured:
    """Milliseconds and bytes by figure and count."""

    ms: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    bytes: dict[str, dict[int, int]] = field(default_factory=dict)

    def take(self, figure: str, count: int, action: Callable[[], Any]) -> Any:
        """Run `action` and keep how long it took."""
        started = time.perf_counter()
        result = action()
        taken = (time.perf_counter() - started) * 1000
        self.ms.setdefault(figure, {}).setdefault(count, []).append(taken)
        return result

    def keep_state(self, resource: str, count: int, outputs: Props) -> None:
        """Keep how large a resource is in the state."""
        size = len(json.dumps(outputs, separators=(",", ":")))
        self.bytes.setdefault(resource, {})[count] = size

    def spreads(self, figure: str) -> dict[int, Spread]:
        """Return one figure's spread by count."""
        return {count: report.spread(values) for count, values in self.ms[figure].items()}


def tables_round(made: World, measured: Measured, count: int, number: int) -> None:
    """Make everything over `count` tables, publish one table more, and refresh."""
    database, direction = made.tables_database(count), Direction.FORWARD
    publication = {
        "server": made.source.to_props(),
        "database": database,
        "name": names.publication(DEPLOYMENT, direction),
        "scope": {"kind": "all"},
        "replica_identity": {},
    }
    published = measured.take(
        "publication", count, lambda: PublicationProvider().create(publication)
    )
    wanted_slot = {
        "server": made.source.to_props(),
        "database": database,
        "name": names.slot(DEPLOYMENT, direction, database),
        "publication": publication["name"],
        "wait_seconds": 60,
    }
    slotted = measured.take("slot", count, lambda: ReplicationSlotProvider().create(wanted_slot))
    with made.target_lab.connect(database) as conn:
        # What a clone has from its source, the heartbeat included.
        made.make_tool_tables(conn)
    wanted = {
        "server": made.target.to_props(),
        "publisher": made.source.to_props(),
        "database": database,
        "name": names.subscription(DEPLOYMENT, direction),
        "publication": publication["name"],
        "slot_name": wanted_slot["name"],
        "start_lsn": slotted.outs["consistent_point"],
        "enabled": True,
        "streaming": "parallel",
        "disable_on_error": True,
        "run_as_owner": False,
    }
    subscribed = measured.take("subscription", count, lambda: SubscriptionProvider().create(wanted))
    for lab in (made.target_lab, made.source_lab):
        with lab.connect(database) as conn:
            name = sql.Identifier(f"later_{number}")
            conn.execute(sql.SQL("CREATE TABLE {} (id int PRIMARY KEY)").format(name))
    refreshed = measured.take(
        "refresh",
        count,
        lambda: SubscriptionProvider().update(subscribed.id, subscribed.outs, wanted),
    )
    measured.keep_state("Publication", count, published.outs)
    measured.keep_state("ReplicationSlot", count, slotted.outs)
    measured.keep_state("Subscription", count, refreshed.outs)
    _wait_for_copies(made, database)
    SubscriptionProvider().delete(subscribed.id, refreshed.outs)
    ReplicationSlotProvider().delete(slotted.id, slotted.outs)
    PublicationProvider().delete(published.id, published.outs)


def _wait_for_copies(made: World, database: str) -> None:
    """Wait until the table that was taken in is copied: its slot would be left behind."""
    deadline = time.monotonic() + 60
    with made.target_lab.connect(database) as conn:
        while conn.execute("SELECT FROM pg_subscription_rel WHERE srsubstate <> 'r'").fetchone():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{database}: the new table is not copied within 60 s")
            time.sleep(0.02)


def sequences_round(made: World, measured: Measured, count: int, number: int) -> None:
    """Copy values that have all moved, and then what a switch copies while writers wait."""
    database = made.sequences_database(count)
    made.move_sequences(database, every=1, to=number * 1000 + 1)
    wanted = {
        "writer": made.source.to_props(),
        "standby": made.target.to_props(),
        "databases": [database],
        "tolerance": 1_000_000,
    }
    copied = measured.take("sequences", count, lambda: SequenceValuesProvider().create(wanted))
    measured.keep_state("SequenceValues", count, copied.outs)
    with made.source.connect(database) as writer, made.target.connect(database) as standby:
        reader = sequences.Reader(writer)
        known = reader.read()
        sequences.write(standby, dict(list(known.items())[:1]))  # warm, as before a fence
        made.move_sequences(database, every=_MOVED, to=number * 1000 + 2)

        def exact() -> None:
            values = reader.read()
            sequences.write(standby, sequences.changed(values, known))

        measured.take("sequences_outage", count, exact)


def run(
    major: int, tables: tuple[int, ...], counts: tuple[int, ...], repeats: int
) -> tuple[Measured, Mapping[str, object]]:
    """Measure everything; return it with the servers' versions."""
    measured = Measured()
    with world(major, tables, counts) as made:
        for number in range(repeats):
            for count in tables:
                tables_round(made, measured, count, number)
            for count in counts:
                sequences_round(made, measured, count, number)
        return measured, {"postgresql": made.version()}


def main() -> int:
    """Run the bench, print its tables and write its JSON."""
    # Ended from outside, it takes its servers along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    major = int(os.environ.get("MAJOR", "18"))
    tables = _numbers("TABLES", "50,500,5000")
    counts = _numbers("SEQUENCES", "10,100,1000,10000,50000")
    repeats = int(os.environ.get("REPEATS", "5"))
    started_on = report.machine()
    measured, versions = run(major, tables, counts, repeats)
    for figure in ("publication", "slot", "subscription", "refresh"):
        report.show_growth(figure, "tables", measured.spreads(figure))
    report.show_growth("sequences, all moved", "sequences", measured.spreads("sequences"))
    report.show_growth(
        f"sequences in the outage: read all, write 1 in {_MOVED}",
        "sequences",
        measured.spreads("sequences_outage"),
        SEQUENCE_GOALS,
    )
    rows = [
        (resource, *(f"{sizes.get(count, 0):,}" if count in sizes else "" for count in columns))
        for resource, sizes in measured.bytes.items()
        for columns in [sorted({*tables, *counts})]
    ]
    head = ("resource", *(f"{count:,}" for count in sorted({*tables, *counts})))
    report.show("bytes in the state, by tables or sequences", head, rows)
    result: dict[str, Any] = {"versions": versions, "repeats": repeats}
    result |= {f"{figure}_ms": measured.spreads(figure) for figure in measured.ms}
    result["state_bytes"] = measured.bytes
    result["goals"] = {"sequences_outage_ms": {10_000: SEQUENCE_GOALS[10_000].limit}}
    print(report.write("replication", result, started_on=started_on))
    return 0


def _numbers(name: str, otherwise: str) -> tuple[int, ...]:
    return tuple(int(one) for one in os.environ.get(name, otherwise).split(","))


if __name__ == "__main__":
    sys.exit(main())
