"""What passes the fence is noticed before the decision, or undone in time; nothing is lost.

Most of it can only pass where applications still log in: fence mode `read-only`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from bluegreen.errors import Refused, Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import register
from bluegreen.replication import heartbeat
from bluegreen.replication.heartbeat import Barrier, Connection
from bluegreen.switch import completion, fence
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.side import Side
from bluegreen.switch.switchover import switch
from tests.fixtures.readiness import blockers
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import Switchable, wait_until

# A number that no sequence gives.
LEAK = -1
_WRITE = "INSERT INTO ledger VALUES (-1)"

# Without a pause in which the decision could be made: a client's would be one, and so would a busy
# machine's, which lets one of several transactions wait before it has an id.
_WRITE_ON = """\
DO $$ BEGIN
    LOOP
        INSERT INTO ledger DEFAULT VALUES;
        PERFORM pg_sleep(0.002);
        COMMIT;
    END LOOP;
END $$"""

Hook = Callable[[Callable[[], object]], None]


@pytest.fixture
def before_fence(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Return a function that has something done after all checks, right before the fence."""
    put_up = fence.put_up

    def do(act: Callable[[], object]) -> None:
        def replaced(*args: object, **kwargs: object) -> None:
            act()
            put_up(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(fence, "put_up", replaced)

    return do


@pytest.fixture
def behind_fence(monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Return a function that has something done once the fence is up, before the barrier."""
    barrier = heartbeat.barrier

    def do(act: Callable[[], object]) -> None:
        def replaced(
            conn: Connection, number: int, *, behind: sql.Composed | None = None
        ) -> Barrier:
            if behind is not None:
                conn.execute(behind)
                act()
            return barrier(conn, number)

        monkeypatch.setattr(heartbeat, "barrier", replaced)

    return do


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> Decisions:
    """Note how often a decision was tried, and do something before the first."""
    made = Decisions()
    decide = register.decide

    def replaced(*args: object) -> bool:
        made.tried += 1
        if made.tried == 1:
            made.before_first()
        return decide(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(register, "decide", replaced)
    return made


class Decisions:
    """How often a decision was tried, and what happens before the first."""

    def __init__(self) -> None:
        self.tried = 0
        self.before_first: Callable[[], object] = lambda: None


@pytest.fixture
def left_open(
    switchable: Switchable, behind_fence: Hook, decisions: Decisions
) -> Iterator[Callable[[str], None]]:
    """Return a function that has a write open at the barrier, and ended so before the decision."""
    with contextlib.ExitStack() as stack:

        def leave(end: str) -> None:
            def write() -> None:
                conn = stack.enter_context(switchable.connect(switchable.pair.source))
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    conn.execute(_WRITE)
                conn.execute("BEGIN READ WRITE")
                conn.execute(_WRITE)
                decisions.before_first = lambda: conn.execute(end)

            behind_fence(write)

        yield leave


def test_a_write_on_purpose_that_commits_after_the_barrier_is_on_the_new_side(
    switchable: Switchable, left_open: Callable[[str], None], decisions: Decisions
) -> None:
    """Its id is older than the barrier's, so that no id is missing, and it is held no more."""
    left_open("COMMIT")
    done = switch(switchable.cutover(fence="read-only"))
    assert decisions.tried == 2
    assert (done.slipped, switchable.rows(switchable.pair.target)) == (0, [LEAK])


def test_a_transaction_prepared_after_the_checks_and_committed_after_the_barrier_is_not_lost(
    switchable: Switchable, before_fence: Hook, decisions: Decisions
) -> None:
    """COMMIT PREPARED takes no id, and no fence holds it."""
    world, source = switchable, switchable.pair.source

    def prepare() -> None:
        with world.connect(source) as conn:
            conn.execute(f"BEGIN; {_WRITE}; PREPARE TRANSACTION 'late'")

    def commit() -> None:
        with world.connect(source) as conn:
            conn.execute("COMMIT PREPARED 'late'")

    before_fence(prepare)
    decisions.before_first = commit
    done = switch(world.cutover(fence="read-only"))
    assert decisions.tried == 2
    assert (done.slipped, world.rows(switchable.pair.target)) == (0, [LEAK])


@pytest.mark.slow
def test_what_an_ended_session_had_open_at_the_barrier_costs_no_second_one(
    switchable: Switchable, left_open: Callable[[str], None], decisions: Decisions
) -> None:
    """A transaction that was rolled back is as good as none."""
    left_open("ROLLBACK")
    switch(switchable.cutover(fence="read-only"))
    assert decisions.tried == 1
    assert switchable.rows(switchable.pair.target) == []


def test_who_goes_on_writing_behind_the_fence_has_the_switch_aborted_in_time(
    switchable: Switchable, behind_fence: Hook
) -> None:
    """Again and again, or with a transaction that stays open, or stays prepared.

    In time: by the switch itself, in its own words, and not by a fuse.
    """
    world, source = switchable, switchable.pair.source
    stack = contextlib.ExitStack()

    def write_on() -> None:
        # The abort ends it: it was born under the fence.
        with contextlib.suppress(psycopg.OperationalError), world.connect(source) as conn:
            conn.execute("SET default_transaction_read_only = off")
            conn.execute(_WRITE_ON)

    def again_and_again() -> None:
        for _ in range(4):
            thread = threading.Thread(target=write_on, daemon=True)
            thread.start()
            stack.callback(thread.join)
        wait_until(lambda: len(world.rows(source)) >= 4, "rows behind the fence")

    def and_stays_open() -> None:
        conn = world.connect(source)
        stack.callback(conn.close)
        conn.execute(f"BEGIN READ WRITE; {_WRITE}")

    def and_stays_prepared() -> None:
        with world.connect(source) as conn:
            conn.execute(f"BEGIN READ WRITE; {_WRITE}; PREPARE TRANSACTION 'late'")

    for leak in (again_and_again, and_stays_open, and_stays_prepared):
        behind_fence(leak)
        with stack, pytest.raises(Retry, match="something goes on writing behind the fence"):
            switch(world.cutover(fence="read-only", drain_seconds=0.3))
        assert world.open_sides() == [source.cluster]


def test_a_session_that_is_starting_when_the_fence_goes_up_is_ended(
    switchable: Switchable, before_fence: Hook
) -> None:
    """It has read the database's settings, and no view shows it yet: the fence waits for it.

    What it writes before it is seen is before the barrier, or has it set again.
    """
    world, source = switchable, switchable.pair.source
    acknowledged: list[object] = []
    said: list[psycopg.Error] = []

    def start() -> None:
        try:
            with world.connect(source, options="-c post_auth_delay=1") as conn:
                while True:
                    query = "INSERT INTO ledger DEFAULT VALUES RETURNING n"
                    acknowledged.extend(conn.execute(query).fetchone() or ())
        except psycopg.Error as error:
            said.append(error)

    thread = threading.Thread(target=start, daemon=True)

    def let_start() -> None:
        seen: dict[int, float] = {}
        with world.pair.source_lab.connect() as conn:
            thread.start()

            def has_read_its_settings() -> bool:
                now = time.monotonic()
                pids = [pid for (pid,) in conn.execute(_STARTING).fetchall()]
                return any(now - seen.setdefault(pid, now) > 0.3 for pid in pids)

            wait_until(has_read_its_settings, "a session that starts")

    before_fence(let_start)
    done = switch(world.cutover(fence="read-only"))
    thread.join(10)
    assert isinstance(said[0], psycopg.OperationalError)  # ended, maybe before it was ready
    assert done.slipped == 0
    assert set(acknowledged) <= set(world.rows(world.pair.target))
    assert world.rows(world.pair.target) == world.rows(source)


_STARTING = """\
SELECT l.pid FROM pg_locks l
 WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND a.usename IS NOT NULL)
   AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid
        AND a.backend_type <> 'client backend')"""


def test_a_transaction_that_is_idle_when_the_fence_goes_up_is_gone(
    switchable: Switchable, before_fence: Hook
) -> None:
    world, source = switchable, switchable.pair.source
    with world.connect(source) as conn:
        before_fence(lambda: conn.execute(f"BEGIN; {_WRITE}"))
        done = switch(world.cutover())
        with pytest.raises(psycopg.OperationalError):
            conn.execute("COMMIT")
    assert (done.slipped, world.rows(source), world.rows(world.pair.target)) == (0, [], [])


@pytest.mark.slow
def test_a_superuser_who_writes_until_he_is_ended_loses_nothing(
    switchable: Switchable, before_fence: Hook
) -> None:
    """His session has a read-write default of its own: nothing but its end can stop it."""
    world = switchable
    with world.pair.source_lab.as_superuser() as conn:
        conn.execute("CREATE ROLE boss LOGIN SUPERUSER PASSWORD 'boss'")
    login = {"user": "boss", "password": "boss"}
    options = "-c default_transaction_read_only=off"
    acknowledged: list[int] = []

    def write_on() -> None:
        with (
            contextlib.suppress(psycopg.OperationalError),
            world.pair.source_lab.connect(DATABASE, **login, options=options) as conn,
        ):
            for n in range(1, 1_000_000):
                conn.execute("INSERT INTO ledger VALUES (%s)", (-n,))
                acknowledged.append(-n)

    thread = threading.Thread(target=write_on, daemon=True)
    before_fence(lambda: wait_until(lambda: len(acknowledged) > 50, "rows of a superuser"))
    thread.start()
    done = switch(world.cutover())
    thread.join(10)
    assert done.slipped == 0
    assert set(acknowledged) <= set(world.rows(world.pair.target))
    assert world.rows(world.pair.target) == world.rows(world.pair.source)


def test_a_row_of_an_asynchronous_commit_right_before_the_fence_is_not_lost(
    switchable: Switchable, before_fence: Hook
) -> None:
    """Only what is flushed is sent: the barrier's commit, always synchronous, flushes all."""
    world, source = switchable, switchable.pair.source
    with world.pair.source_lab.as_superuser() as conn:
        conn.execute(f"ALTER DATABASE {DATABASE} SET synchronous_commit = off")
        conn.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        conn.execute("SELECT pg_reload_conf()")
    with world.connect(source) as writer:
        assert writer.execute("SHOW synchronous_commit").fetchone() == ("off",)
        before_fence(lambda: writer.execute(_WRITE))
        done = switch(world.cutover())
    assert (done.slipped, world.rows(world.pair.target)) == (0, [LEAK])


def test_what_slips_in_when_nothing_is_replicated_any_more_is_counted_and_blocks_the_way_back(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very first record behind the barrier, too: it begins where the barrier ends."""
    world, pair = switchable, switchable.pair
    stop_early = completion.stop_early

    def stop_and_slip_in(plan: SwitchPlan, new: Side) -> None:
        stop_early(plan, new)
        with world.connect(pair.source) as conn:
            conn.execute("BEGIN READ WRITE")
            at = conn.execute("SELECT pg_current_wal_lsn()").fetchone()
            conn.execute("INSERT INTO probe VALUES (1)")
            conn.execute("COMMIT")
        with pair.source.connect(TOOL_DATABASE) as conn:
            conn.execute("UPDATE bluegreen.register SET barrier = %s WHERE state = 'decided'", at)

    with monkeypatch.context() as patched:
        patched.setattr(completion, "stop_early", stop_and_slip_in)
        done = switch(world.cutover(fence="read-only"))
    assert done.slipped == 1
    world.run_reverse(str(done.mark))
    pair.publish_again_after_drop(pair.source)
    assert [line for line in blockers(world, back=True) if "orders-1: 1 write(s);" in line]
    with pytest.raises(Refused, match="orders-1: 1 write"):
        switch(world.rollback())
    assert world.open_sides() == [pair.target.cluster]
