"""The seam under load: a clone and what its subscription brings are the source, row for row."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psycopg
import pytest

from bluegreen import names
from bluegreen.names import Direction
from bluegreen.postgres.publications import Publication
from bluegreen.postgres.server import Server
from bluegreen.postgres.table_names import TableName
from bluegreen.replication import coverage
from bluegreen.replication.publication import publishing
from lab.postgres import clone as copies
from lab.postgres.binaries import binaries
from lab.postgres.server import LabServer
from lab.workload import contents
from tests.fixtures import canary
from tests.fixtures.cloned import Cloning, Way
from tests.fixtures.databases import soon
from tests.fixtures.postgres import MASTER, PASSWORD
from tests.fixtures.replicated import DATABASE, DEPLOYMENT
from tests.fixtures.zoo import DECLARED, make_zoo, stored_tables, write_zoo
from tests.versions import life as steps

WAYS = {"base-backup": copies.clone, "recovery-target": copies.clone_at_target}
CLIENTS, CANARIES, LONG, ZOOS = 8, 2, 2, 1
NIGHTLY = "CREATE TABLE nightly (n int PRIMARY KEY)"
_PAUSE_SECONDS = 0.01  # 8 clients of 100 a second each, beside pgbench's 200
_ZOO_PAUSE_SECONDS = 0.2  # a round writes to each of 60 tables, half a megabyte in all
_rounds = itertools.count(1)  # of the zoo; none is written twice


@dataclass(slots=True)
class Load:
    """Clients that write until told to stop; an error in one of them fails the test."""

    source: LabServer
    stop: threading.Event = field(default_factory=threading.Event)
    errors: list[Exception] = field(default_factory=list)
    written: int = 0
    zoo_rounds: int = 0

    def client(self, conn: psycopg.Connection[tuple[object, ...]], number: int) -> None:
        """Insert, update, and roll back now and then."""
        turn = 0
        while not self.stop.wait(_PAUSE_SECONDS):
            turn += 1
            with conn.transaction(force_rollback=turn % 7 == 0):
                conn.execute("INSERT INTO work (client, turn) VALUES (%s, %s)", (number, turn))
                conn.execute(
                    "UPDATE work SET turn = -turn WHERE client = %s AND turn = %s",
                    (number, turn - 3),
                )
            self.written += 1

    def canary(self, conn: psycopg.Connection[tuple[object, ...]], number: int) -> None:
        """Write numbered rows without a gap."""
        n = 0
        while not self.stop.wait(_PAUSE_SECONDS):
            canary.write(conn, number, n)
            n += 1

    def long(self, conn: psycopg.Connection[tuple[object, ...]], number: int) -> None:
        """Hold a transaction with savepoints open for a second, again and again."""
        turn = 0
        while not self.stop.is_set():
            turn += 1
            with conn.transaction():
                conn.execute(
                    "INSERT INTO work (client, turn) VALUES (%s, %s)", (100 + number, turn)
                )
                with conn.transaction(force_rollback=True):
                    conn.execute(
                        "INSERT INTO work (client, turn) VALUES (%s, %s)", (200 + number, turn)
                    )
                self.stop.wait(1)

    def zoo(self, conn: psycopg.Connection[tuple[object, ...]], _: int) -> None:
        """Insert, update and delete in every table of the zoo."""
        while not self.stop.wait(_ZOO_PAUSE_SECONDS):
            write_zoo(conn, next(_rounds), keyless=True)
            self.zoo_rounds += 1

    def run(self, work: Callable[..., None], number: int) -> None:
        """Do `work` on a connection of its own."""
        try:
            with self.source.connect(DATABASE) as conn:
                work(conn, number)
        except Exception as error:  # noqa: BLE001  told to the test
            self.errors.append(error)


@contextmanager
def load(source: LabServer) -> Iterator[Load]:
    """Let 8 clients, 4 of pgbench, 2 long transactions, the zoo's and the canaries write."""
    made = Load(source)
    jobs: list[tuple[Callable[..., None], int]] = [(made.client, n) for n in range(CLIENTS)]
    jobs += [(made.canary, n) for n in range(CANARIES)]
    jobs += [(made.long, n) for n in range(LONG)]
    jobs += [(made.zoo, n) for n in range(ZOOS)]
    threads = [threading.Thread(target=made.run, args=job) for job in jobs]
    with pgbench(source, "-n", "-c", "4", "-R", "200", "-T", "3600"):
        for thread in threads:
            thread.start()
        try:
            copies.wait_until(
                lambda: (made.written > 50 and made.zoo_rounds > 1) or bool(made.errors),
                "the first writes",
            )
            yield made
        finally:
            made.stop.set()
            for thread in threads:
                thread.join()
    assert made.errors == []


@contextmanager
def pgbench(source: LabServer, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run pgbench on the source while the block runs."""
    tools = binaries(18)
    command = [tools.tool("pgbench"), "-h", source.host, "-p", str(source.port), "-U", MASTER]
    process = subprocess.Popen(
        [*command, *arguments, DATABASE],
        env=tools.environment | {"PGPASSWORD": PASSWORD},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


@pytest.fixture
def busy(cloning: Cloning) -> Cloning:
    """Return a source with the tables that the load writes to, the schema zoo among them."""
    with cloning.source.connect(DATABASE) as conn:
        conn.execute(
            "CREATE TABLE work (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " client int NOT NULL, turn int NOT NULL); CREATE INDEX ON work (client, turn);"
            f"{NIGHTLY}"
        )
    with pgbench(cloning.source, "-i", "-q", "-I", "dtGp", "-s", "1") as init:
        assert init.wait(60) == 0
    with cloning.source.connect(DATABASE) as conn:
        conn.execute("ALTER TABLE pgbench_history REPLICA IDENTITY FULL")
        make_zoo(conn)
        published = Publication(names.publication(DEPLOYMENT, Direction.FORWARD), all_tables=True)
        publishing.ensure(conn, published, DECLARED, alter=True, deadline=soon())
        assert set(stored_tables(conn)) <= set(contents.tables(conn))
    return cloning


def _replaced(busy: Cloning, clone: Server) -> tuple[TableName, ...]:
    """Return the tables that are other ones on the source than when the clone was made."""
    name = names.publication(DEPLOYMENT, Direction.FORWARD)
    with busy.life.source.connect(DATABASE) as there, clone.connect(DATABASE) as here:
        return coverage.inspect(there, here, [name], name).replaced


def clone_and_compare(busy: Cloning, way: Way) -> None:
    """Clone under load, subscribe at the LSN, catch up, and compare every table."""
    with busy.source.connect(DATABASE) as conn:
        canary.clear(conn)
    with ExitStack() as stack:
        writers = stack.enter_context(load(busy.source))
        slot = busy.slot()
        lab, clone = busy.clone(way)
        start = busy.life.origin(clone)
        with busy.source.connect(DATABASE) as conn:
            conn.execute(f"DROP TABLE nightly; {NIGHTLY}")
        before, rounds = writers.written, writers.zoo_rounds
        subscription = busy.life.subscribe(
            clone, lab.major, busy.life.source, Direction.FORWARD, start
        )
        copies.wait_until(
            lambda: writers.written > before + 50 and writers.zoo_rounds > rounds + 1,
            "writes after the subscription",
        )
    assert steps.differences(busy.source, lab) == []
    assert _replaced(busy, clone) == (("public", "nightly"),)
    with busy.source.connect(DATABASE) as there, lab.connect(DATABASE) as here:
        written = canary.count(there)
        copies.wait_until(lambda: canary.count(here).rows >= written.rows, "the last canary", 30)
        assert canary.count(here) == written
    assert written.rows > 0
    assert (written.lost, written.doubled) == (0, 0)
    busy.life.unsubscribe(subscription)
    busy.life.drop_slot(slot)
    busy.remove(lab)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(copies.clone, id="base-backup", marks=pytest.mark.slow),
        pytest.param(copies.clone_at_target, id="recovery-target"),
    ],
)
def test_a_clone_made_under_load_loses_and_doubles_nothing(busy: Cloning, way: Way) -> None:
    clone_and_compare(busy, way)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_seven_clones_in_a_row_under_load_lose_and_double_nothing(busy: Cloning, way: Way) -> None:
    for _ in range(7):
        clone_and_compare(busy, way)


def test_a_start_after_the_clone_loses_rows_that_only_the_canary_shows(busy: Cloning) -> None:
    with load(busy.source) as writers:
        busy.slot()
        lab, clone = busy.clone()
        busy.life.origin(clone)
        before = writers.written
        copies.wait_until(lambda: writers.written > before + 200, "writes after the clone")
        with busy.source.connect() as conn:
            row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert row is not None
        busy.life.subscribe(clone, lab.major, busy.life.source, Direction.FORWARD, row[0])
        before = writers.written
        copies.wait_until(lambda: writers.written > before + 100, "writes after the subscription")
    with busy.source.connect(DATABASE) as conn:
        last = conn.execute("SELECT writer, max(n) FROM canary GROUP BY 1 ORDER BY 1")
        wanted = last.fetchall()
    with lab.connect(DATABASE) as conn:
        query = "SELECT writer, max(n) FROM canary GROUP BY 1 ORDER BY 1"
        copies.wait_until(lambda: conn.execute(query).fetchall() == wanted, "the last canary", 30)
        errors = conn.execute("SELECT sum(apply_error_count) FROM pg_stat_subscription_stats")
        assert errors.fetchone() == (0,)
        tally = canary.count(conn)
    assert tally.lost > 0
    assert tally.doubled == 0
