"""The fence on real servers: whom it closes out, and that it comes off exactly as it went on."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Self

import psycopg
import pytest
from psycopg import sql

from bluegreen.errors import Refused, Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import closing, register
from bluegreen.switch import fence
from bluegreen.switch.server_fuse import ServerFuse
from bluegreen.switch.switchover import switch
from bluegreen.switch.watchdog import Watchdog
from lab.postgres import replicator
from tests.fixtures.lost_machine import lose_machine_before_opening
from tests.fixtures.postgres import MASTER
from tests.fixtures.rds import REPLICATOR
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import APP, Switchable, wait_until

MODES = ("read-only", "no-login")


def _prepare(world: Switchable) -> None:
    """Give the writer settings of all kinds, whose order and spelling are to come back."""
    with world.pair.source_lab.connect() as conn:
        for name in ("was_on", "was_off", "was_spelt", "plain"):
            conn.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        conn.execute(
            "ALTER DATABASE was_on SET default_transaction_read_only = on;"
            "ALTER DATABASE was_off SET work_mem = '5MB';"
            "ALTER DATABASE was_off SET default_transaction_read_only = off;"
            "ALTER DATABASE was_off SET search_path = 'a=b', public;"
            "ALTER DATABASE was_spelt SET default_transaction_read_only = 'FALSE';"
            f"ALTER DATABASE {DATABASE} SET work_mem = '5MB';"
            'CREATE ROLE staff NOLOGIN; CREATE ROLE "Odd \'one" LOGIN IN ROLE staff;'
            "CREATE ROLE reader LOGIN; ALTER ROLE reader SET default_transaction_read_only = on;"
            f"ALTER ROLE reader IN DATABASE {DATABASE} SET default_transaction_read_only = 'true'"
        )


def test_an_abort_behind_the_fence_restores_what_was_there(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fence is up when the drain fails: everything is as before, down to the last byte."""
    world, pair = switchable, switchable.pair
    _prepare(world)
    before = world.catalogs(pair.source)
    locker = pair.connect(pair.target)
    put_up = fence.put_up
    under: list[psycopg.Connection[tuple[object, ...]]] = []

    def fence_and_block(*args: object, **kwargs: object) -> None:
        locker.execute("BEGIN; LOCK TABLE bluegreen.heartbeat IN ACCESS EXCLUSIVE MODE")
        put_up(*args, **kwargs)  # type: ignore[arg-type]
        assert world.catalogs(pair.source) != before
        if current == "no-login":
            with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
                world.connect(pair.source)
        else:
            under.append(world.connect(pair.source))

    monkeypatch.setattr(fence, "put_up", fence_and_block)
    for current in MODES:  # the fence looks at it
        with pytest.raises(Retry, match="has not caught up"):
            switch(world.cutover(drain_seconds=0.3, fence=current))
        locker.execute("ROLLBACK")
        assert world.catalogs(pair.source) == before
        assert world.open_sides() == [pair.source.cluster]
    (born_read_only,) = under
    with pytest.raises(psycopg.OperationalError, match="terminating"):
        born_read_only.execute("SELECT 1")
    locker.close()
    with pair.source.connect(TOOL_DATABASE) as conn:
        assert register.find_live(conn) is None


@pytest.mark.parametrize("mode", [MODES[0], pytest.param(MODES[1], marks=pytest.mark.slow)])
def test_the_way_there_and_back_restores_what_was_there(switchable: Switchable, mode: str) -> None:
    world, pair = switchable, switchable.pair
    _prepare(world)
    before = world.catalogs(pair.source)
    there = switch(world.cutover(fence=mode))
    assert world.logins(pair.source) == {REPLICATOR, MASTER}
    world.run_reverse(str(there.mark))
    pair.publish_again_after_drop(pair.source)
    switch(world.rollback(fence=mode))
    assert world.catalogs(pair.source) == before


@pytest.mark.slow
def test_a_readable_old_side_lets_in_whom_only_the_fence_kept_out(switchable: Switchable) -> None:
    world, pair = switchable, switchable.pair
    switch(world.cutover(fence="no-login", old_side="readable"))
    with world.connect(pair.source) as conn:
        assert conn.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
    assert world.open_sides() == [pair.target.cluster]


@pytest.mark.slow
def test_roles_that_are_listed_lose_login_and_no_other(switchable: Switchable) -> None:
    world, pair = switchable, switchable.pair
    for lab in (pair.source_lab, pair.target_lab):
        with lab.connect() as conn:
            conn.execute("CREATE ROLE reader LOGIN")
    switch(world.cutover(roles=(APP,)))
    assert world.logins(pair.source) == {REPLICATOR, MASTER, "reader"}
    assert world.open_sides() == [pair.target.cluster]


def test_a_session_from_before_the_clock_was_set_back_is_ended(switchable: Switchable) -> None:
    """By the clock it begins behind the fence; it has read the old default, and would write on."""
    world, pair = switchable, switchable.pair
    attempt = "clock"
    with ExitStack() as stack:
        conn = stack.enter_context(pair.source.connect(TOOL_DATABASE))
        client = stack.enter_context(world.connect(pair.source))
        client.execute("INSERT INTO ledger DEFAULT VALUES")
        register.begin(conn, attempt, pair.target.cluster, seconds=60, databases=[DATABASE])
        fuse = stack.enter_context(ServerFuse(pair.source, attempt))
        conn.execute(
            "CREATE SCHEMA earlier; CREATE FUNCTION earlier.clock_timestamp() RETURNS timestamptz"
            " RETURN pg_catalog.clock_timestamp() - interval '1 hour';"
            "SET search_path = earlier, pg_catalog"
        )
        fence.put_up(
            conn,
            attempt,
            databases=[DATABASE],
            roles=sql.SQL("'{}'::text[]"),
            fuse=fuse.pid,
            ours=[conn.info.backend_pid, fuse.pid],
            seconds=10,
        )
        with pytest.raises(psycopg.OperationalError, match="terminating"):
            client.execute("INSERT INTO ledger DEFAULT VALUES")
        assert register.abort(conn, attempt)


def test_a_role_that_keeps_login_and_may_write_is_refused_by_name(switchable: Switchable) -> None:
    """It would be a second writer on the old side, by BEGIN READ WRITE."""
    world, pair = switchable, switchable.pair
    with pair.source_lab.connect(DATABASE) as conn:
        conn.execute(
            "CREATE ROLE reader LOGIN; CREATE ROLE batch LOGIN; GRANT SELECT ON ledger TO reader"
        )
        replicator.allow(conn, "batch")
    refused: list[tuple[dict[str, object], str]] = [
        ({"spare_roles": (APP,)}, rf"roles that keep LOGIN and may write: {APP} \(public\."),
        ({"roles": ("reader",)}, rf"roles that keep LOGIN and may write: {APP} \(public\."),
        ({"roles": (APP, "nobody")}, "switch.roles and switch.spare_roles: nobody does not exist"),
        ({"roles": (APP, MASTER)}, f"switch.spare_roles: {MASTER} is the administrator"),
        ({"roles": (APP, REPLICATOR)}, f"switch.spare_roles: {REPLICATOR} is the role that repl"),
    ]
    for settings, said in refused:
        with pytest.raises(Refused, match=said):
            switch(world.cutover(**settings))
    with pair.source_lab.connect(DATABASE) as conn:
        conn.execute("GRANT UPDATE (n) ON ledger TO batch")
    with pytest.raises(Refused, match=r"keep LOGIN and may write: batch \(public.ledger\)"):
        switch(world.cutover())
    assert world.open_sides() == [pair.source.cluster]
    with pair.source_lab.connect(DATABASE) as conn:
        conn.execute("REVOKE UPDATE (n) ON ledger FROM batch")
    switch(world.cutover(spare_roles=("reader",)))
    assert world.logins(pair.source) == {REPLICATOR, MASTER, "reader", "batch"}


def test_who_may_replicate_by_a_membership_keeps_login(switchable: Switchable) -> None:
    """As consumers of changes may on Aurora, where the attribute shows on nobody."""
    world, pair = switchable, switchable.pair
    with pair.source_lab.connect(DATABASE) as conn:
        conn.execute("CREATE ROLE consumer LOGIN; GRANT rds_replication TO consumer")
    switch(world.cutover())
    assert world.logins(pair.source) == {REPLICATOR, MASTER, "consumer"}


def test_a_role_with_a_read_write_default_of_its_own_is_refused_by_name(
    switchable: Switchable,
) -> None:
    """It beats the database's; that of AWS's own, or a read-only one, is no concern."""
    world, pair = switchable, switchable.pair
    with pair.source_lab.as_superuser() as conn:
        conn.execute(
            "ALTER ROLE rdsadmin SET default_transaction_read_only = off;"  # as AWS has it
            f"ALTER ROLE {REPLICATOR} SET default_transaction_read_only = on"
        )
        for where, named in (("", APP), (f"IN DATABASE {DATABASE}", f"{APP} in {DATABASE}")):
            conn.execute(f"ALTER ROLE {APP} {where} SET default_transaction_read_only = 'no'")
            with pytest.raises(Refused, match=f"default of their own: {named};"):
                switch(world.cutover())
            conn.execute(f"ALTER ROLE {APP} {where} RESET default_transaction_read_only")
    switch(world.cutover())
    assert world.open_sides() == [pair.target.cluster]


def test_a_decision_is_durable_even_if_the_administrators_commits_are_not(
    switchable: Switchable,
) -> None:
    """The old writer crashes right behind it; else nobody would know that there is only forward."""
    world, pair = switchable, switchable.pair
    with pair.source_lab.as_superuser() as conn:
        conn.execute(
            f"ALTER ROLE {MASTER} SET synchronous_commit = off;"
            f"ALTER ROLE {MASTER} IN DATABASE {TOOL_DATABASE} SET synchronous_commit = off;"
            f"ALTER DATABASE {TOOL_DATABASE} SET synchronous_commit = off"
        )
        conn.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        conn.execute("SELECT pg_reload_conf()")

    lose_machine_before_opening(world.cutover(), pair.source_lab.kill)
    pair.source_lab.start()
    with pair.source.connect(TOOL_DATABASE) as conn:
        live = register.find_live(conn)
    assert live is not None
    assert live.state is register.AttemptState.DECIDED


def test_who_comes_early_or_late_is_told_so_while_replication_goes_the_other_way(
    switchable: Switchable,
) -> None:
    """Pools that came to the new side while it was closed, and clients who stay with the old."""
    world, pair = switchable, switchable.pair
    with world.connect(pair.target) as early:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            early.execute("INSERT INTO ledger VALUES (1)")
        done = switch(world.cutover())
        with pytest.raises(psycopg.OperationalError, match="terminating"):
            early.execute("SELECT 1")
    world.run_reverse(str(done.mark))
    with world.connect(pair.target) as conn:
        conn.execute("INSERT INTO ledger VALUES (1)")
    wait_until(lambda: world.rows(pair.source) == [1], "the row of the way back")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        world.connect(pair.source)
    with pair.source.connect(TOOL_DATABASE) as conn:
        assert closing.is_closed(conn, [DATABASE])


@pytest.mark.slow
@pytest.mark.alone
def test_an_abort_has_taken_the_fence_off_right_behind_the_deadline(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And an application that tries again and again commits soon after."""
    world, pair = switchable, switchable.pair
    locker = pair.connect(pair.target)
    put_up = fence.put_up
    deadlines: list[float] = []

    def fence_and_block(*args: object, **kwargs: object) -> None:
        locker.execute("BEGIN; LOCK TABLE bluegreen.heartbeat IN ACCESS EXCLUSIVE MODE")
        put_up(*args, **kwargs)  # type: ignore[arg-type]

    class Noted(Watchdog):
        def __enter__(self) -> Self:
            deadlines.append(self.deadline)
            return super().__enter__()

    monkeypatch.setattr("bluegreen.switch.switchover.Watchdog", Noted)
    monkeypatch.setattr(fence, "put_up", fence_and_block)
    off_ms, late_ms = [], []
    for _ in range(5):
        with world.writers() as writers:
            writers.wait_for(10, pair.source.cluster)
            with pytest.raises(Retry, match="has not caught up"):
                switch(world.cutover(drain_seconds=0.5))
            locker.execute("ROLLBACK")
            writers.wait_for(10, pair.source.cluster)
        first = min(at for at, _, _ in writers.acknowledged if at > deadlines[-1])
        late_ms.append((first - deadlines[-1]) * 1000)
        with pair.source.connect(TOOL_DATABASE) as conn:
            row = conn.execute(
                "SELECT extract(epoch FROM max(ended_at))::float8 FROM bluegreen.register"
            ).fetchone()
        assert row is not None
        deadline = time.time() - (time.monotonic() - deadlines[-1])  # by the server's clock
        off_ms.append((row[0] - deadline) * 1000)
    locker.close()
    for what, ms in (("the fence's end", off_ms), ("the first commit", late_ms)):
        with capsys.disabled():
            print(f"\nfrom the deadline to {what}, ms:", [f"{one:.1f}" for one in ms])  # noqa: T201
    assert max(late_ms) < 200
