"""`postgres:CaughtUp`: the gate opens when rows really cross, and says early that they won't."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from psycopg import sql

from bluegreen.replication import heartbeat
from dynamic_providers.caught_up import CaughtUpProvider
from dynamic_providers.subscription import SubscriptionProvider
from lab.postgres.clone import wait_until
from tests.fixtures.postgres import PASSWORD
from tests.fixtures.provider_host import Host, HostError, Made, ProviderHost
from tests.fixtures.subscribed import Subscribed


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the gate in its host."""
    return provider_host.of(CaughtUpProvider())


@pytest.fixture
def subscription(provider_host: Host, subscribed: Subscribed) -> Made:
    """Return a running subscription."""
    made = provider_host.of(SubscriptionProvider()).create(subscribed.props)
    subscribed.wait_until_worker()
    return made


def _props(this: Subscribed, **changes: Any) -> dict[str, Any]:
    return {
        "publisher": this.source.to_props(),
        "subscriber": this.target.to_props(),
        "databases": [this.database],
        "deployment": this.deployment,
        "direction": "forward",
        "lag_seconds": 10,
        "stable_seconds": 0.5,
        "timeout_seconds": 60,
    } | changes


@pytest.mark.usefixtures("subscription")
def test_create_waits_until_heartbeats_cross(host: ProviderHost, subscribed: Subscribed) -> None:
    """With an idle source too: what crosses are heartbeats of its own."""
    made = host.create(_props(subscribed))
    assert made.id == f"{subscribed.deployment}/forward"
    assert 0 < made.outs["lag_ms"] < 10_000


@pytest.mark.usefixtures("subscription")
def test_change_in_place_waits_anew(host: ProviderHost, subscribed: Subscribed) -> None:
    made = host.create(_props(subscribed))
    wish = _props(subscribed, lag_seconds=5)
    assert host.diff(made, wish).changes
    assert host.diff(made, wish).replaces == []
    assert host.update(made, wish).outs["lag_seconds"] == 5


@pytest.mark.usefixtures("subscription")
def test_read_works_with_the_publisher_down(host: ProviderHost, subscribed: Subscribed) -> None:
    made = host.create(_props(subscribed))
    subscribed.source_lab.stop("immediate")
    assert host.read(made) is not None


def test_a_paused_worker_is_not_caught_up(
    host: ProviderHost, subscribed: Subscribed, subscription: Made
) -> None:
    """It is there at both ends, and its server says so; only nothing crosses."""
    del subscription
    pid = subscribed.wait_until_worker()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(HostError, match=r"not caught up with .* within 3 s: .* MB left"):
            host.create(_props(subscribed, lag_seconds=0.5, stable_seconds=0, timeout_seconds=3))
    finally:
        os.kill(pid, signal.SIGCONT)
    host.create(_props(subscribed))


@pytest.mark.usefixtures("subscription")
def test_a_heartbeat_of_the_standbys_own_does_not_count(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """It was the writer once, and its number is far higher than what is on its way."""
    subscribed.alter("DISABLE")
    wait_until(lambda: not subscribed.on_source(
        "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active", subscribed.slot
    ), "the worker to end")  # fmt: skip
    subscribed.on_target("INSERT INTO bluegreen.heartbeat VALUES (1, 1000000)")
    with subscribed.source.connect(subscribed.database) as writer:
        beat = heartbeat.beat(writer)
    with subscribed.target.connect(subscribed.database) as standby:
        assert not heartbeat.seen(standby, beat)
        subscribed.on_target("DELETE FROM bluegreen.heartbeat")
        subscribed.alter("ENABLE")
        wait_until(lambda: heartbeat.seen(standby, beat), "the heartbeat")
    host.create(_props(subscribed))


@pytest.mark.usefixtures("subscription")
def test_a_missing_slot_fails_early_with_clone_again(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    subscribed.alter("DISABLE")
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name=%s"
    wait_until(lambda: not subscribed.on_source(
        "SELECT FROM pg_replication_slots WHERE slot_name = %s AND active", subscribed.slot
    ), "the worker to end")  # fmt: skip
    subscribed.on_source(drop, subscribed.slot)
    subscribed.alter("ENABLE")
    with pytest.raises(HostError, match="is missing, expected reserved or extended; clone again"):
        host.create(_props(subscribed))


@pytest.mark.usefixtures("subscription")
def test_a_missing_heartbeat_table_is_named_with_who_makes_it(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    subscribed.on_source("DROP TABLE bluegreen.heartbeat")
    with pytest.raises(HostError, match=r'"bluegreen\.heartbeat" does not exist; .*Publication'):
        host.create(_props(subscribed))


@pytest.mark.usefixtures("subscription")
def test_an_invalidated_slot_fails_early_with_clone_again(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    subscribed.alter("DISABLE")
    subscribed.on_source("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", superuser=True)
    subscribed.on_source("SELECT pg_reload_conf()", superuser=True)
    try:
        for _ in range(3):
            subscribed.on_source("SELECT pg_logical_emit_message(false, 'fill', repeat('x', 1000))")
            subscribed.on_source("SELECT pg_switch_wal()", superuser=True)
            subscribed.on_source("CHECKPOINT")
        subscribed.alter("ENABLE")
        with pytest.raises(HostError, match=r"is lost, expected .* clone again"):
            host.create(_props(subscribed))
    finally:
        subscribed.on_source("ALTER SYSTEM RESET ALL", superuser=True)
        subscribed.source_lab.configure()
        subscribed.on_source("SELECT pg_reload_conf()", superuser=True)


@pytest.mark.parametrize("disabling", [True, False])
def test_an_apply_error_fails_early_and_names_the_transaction(
    provider_host: Host, host: ProviderHost, subscribed: Subscribed, disabling: bool
) -> None:
    """Which one, where it finishes, and its table; the LSN is the one in the server's log."""
    made = provider_host.of(SubscriptionProvider()).create(
        subscribed.props | {"disable_on_error": disabling}
    )
    subscribed.write(2)
    subscribed.wait_until_equal()
    subscribed.on_target("INSERT INTO orders VALUES (3, 'in the way')")
    failed: list[str] = []

    def wait() -> None:
        try:
            host.create(_props(subscribed, lag_seconds=1, stable_seconds=30))
        except HostError as error:
            failed.append(str(error))

    waiting = threading.Thread(target=wait)
    started = time.monotonic()
    waiting.start()
    subscribed.write(1)
    waiting.join()
    assert time.monotonic() - started < 30
    (said,) = failed
    assert "\n" not in said
    if not disabling:
        assert "new error(s)" in said
        subscribed.on_target("DELETE FROM orders WHERE id = 3")
        subscribed.wait_until_equal()
        return
    assert "disabled by disable_on_error" in said
    assert "public.orders" in said
    finished = said.partition("finished at ")[2].partition(",")[0]
    assert f"finished at {finished}" in subscribed.target_lab.log.read_text()
    live = provider_host.of(SubscriptionProvider()).read(made)
    assert live is not None
    assert live.inputs["enabled"] is False
    assert any(finished in one for one in live.outs["live"]["trouble"])
    # Mended, nothing is lost.
    subscribed.on_target("DELETE FROM orders WHERE id = 3")
    provider_host.of(SubscriptionProvider()).update(live, made.inputs)
    subscribed.wait_until_equal()


def test_a_slot_that_was_moved_over_a_failing_transaction_is_told(
    provider_host: Host, host: ProviderHost, subscribed: Subscribed
) -> None:
    """A way to go on that loses its rows: rows of later transactions come, and nothing fails."""
    provider_host.of(SubscriptionProvider()).create(subscribed.props | {"disable_on_error": True})
    host.create(_props(subscribed))
    subscribed.on_target("INSERT INTO orders VALUES (1, 'in the way')")
    subscribed.write(2)
    wait_until(
        lambda: subscribed.on_target("SELECT subenabled FROM pg_subscription") == [(False,)],
        "the error",
    )
    with pytest.raises(HostError, match="disabled by disable_on_error"):
        host.create(_props(subscribed))
    subscribed.on_source(
        "SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", subscribed.slot
    )
    subscribed.alter("ENABLE")
    subscribed.write(1)
    wait_until(lambda: subscribed.ids("target") == [1, 3], "all but the lost row")
    for _ in range(2):  # and again: no heartbeat of ours hides it
        with pytest.raises(HostError, match=r"heartbeat \d+, .* has not arrived; .*clone again"):
            host.create(_props(subscribed))


@pytest.mark.usefixtures("subscription")
def test_a_worker_that_is_not_let_in_fails_early_with_the_servers_words(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """It starts and ends, over and over, and its errors are counted nowhere."""
    subscribed.set_role_password("another")
    subscribed.set_secret("yet another")
    subscribed.source_lab.restart()
    with pytest.raises(HostError, match=r"password authentication failed .*fix the secret"):
        host.create(_props(subscribed))


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_restart_is_waited_through(
    host: ProviderHost, subscribed: Subscribed, subscription: Made, side: str
) -> None:
    del subscription
    lab = subscribed.source_lab if side == "source" else subscribed.target_lab

    def crash() -> None:
        lab.kill()
        lab.start()

    restart = threading.Timer(1.0, crash)
    restart.start()
    try:
        host.create(_props(subscribed, stable_seconds=3))
    finally:
        restart.join()


@pytest.mark.usefixtures("subscription")
def test_progress_says_what_is_left_and_how_fast(
    provider_host: Host, host: ProviderHost, subscribed: Subscribed
) -> None:
    before = len(provider_host.log.read_text())
    host.create(_props(subscribed, stable_seconds=2.5))
    shown = provider_host.log.read_text()[before:]
    line = next(line for line in shown.splitlines() if "catching up with" in line)
    assert f"{subscribed.database} " in line
    assert " MB left" in line
    assert " MB/s" in line


def test_every_database_has_to_keep_up(
    provider_host: Host, host: ProviderHost, subscribe_pair: Callable[..., Subscribed]
) -> None:
    """One that does not is named."""
    first, second = subscribe_pair(16, 18), subscribe_pair(16, 18)
    provider_host.of(SubscriptionProvider()).create(first.props)
    with pytest.raises(HostError, match=f"database '{second.database}': the subscription is gone"):
        host.create(_props(first, databases=[first.database, second.database]))


@dataclass(frozen=True, slots=True)
class _PlainAdmin:
    """The administrator of one side: it may log in, and nothing else."""

    role: str
    run: Callable[..., list[tuple[Any, ...]]]
    """Runs a statement there as AWS's superuser."""


@pytest.fixture(params=["source", "target"])
def plain_admin(
    subscribed: Subscribed, subscription: Made, request: pytest.FixtureRequest
) -> Iterator[_PlainAdmin]:
    """Let one side's administrator be a role without any right."""
    del subscription  # the administrator before made it
    side: str = request.param
    by = subscribed.on_source if side == "source" else subscribed.on_target
    run = functools.partial(by, superuser=True)
    admin = _PlainAdmin(f'plain "{subscribed.database}"', run)
    _as(subscribed, side, admin.role, PASSWORD)
    role = sql.Identifier(admin.role).as_string()
    run(f"CREATE ROLE {role} LOGIN PASSWORD {sql.Literal(PASSWORD).as_string()}")
    yield admin
    run(f"DROP OWNED BY {role}; DROP ROLE {role}")


def _as(this: Subscribed, side: str, user: str, password: str) -> str:
    """Let one side's administrator log in so, and return the secret's ARN."""
    server = this.source if side == "source" else this.target
    arn = this.placed.secret(f"{server.cluster}-other", user, password)
    server = replace(server, credentials=replace(server.credentials, admin_secret_arn=arn))
    if side == "source":
        this.source = server
    else:
        this.target = server
    return arn


def _refused(host: ProviderHost, this: Subscribed, **changes: Any) -> str:
    """Return the line of a gate that fails at once."""
    started = time.monotonic()
    with pytest.raises(HostError) as raised:
        host.create(_props(this, **changes))
    said = str(raised.value)
    assert time.monotonic() - started < 30, "it waited in vain"
    assert "\n" not in said
    assert "hunter2" not in said
    assert PASSWORD not in said
    return said


def test_a_missing_privilege_is_named_with_its_grant(
    host: ProviderHost, subscribed: Subscribed, plain_admin: _PlainAdmin
) -> None:
    """Each refusal names one; with all of them granted the gate opens."""
    database = subscribed.database
    plain_admin.run(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    plain_admin.run(f"GRANT CONNECT ON DATABASE {database} TO replicator")
    role = sql.Identifier(plain_admin.role).as_string()
    granted: list[str] = []
    made = None
    while made is None:
        try:
            made = host.create(_props(subscribed))
        except HostError as error:
            said = str(error)
            grant = said[said.find("GRANT ") :]
            assert grant.startswith("GRANT "), said
            assert grant not in granted, said
            plain_admin.run(grant)
            granted.append(grant)
    assert f'GRANT CONNECT ON DATABASE "{database}" TO {role}' == granted[0]
    assert f'GRANT USAGE ON SCHEMA "bluegreen" TO {role}' in granted
    assert f"GRANT SELECT, INSERT, UPDATE ON bluegreen.heartbeat TO {role}" == granted[-1]
