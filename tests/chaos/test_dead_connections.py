"""Connections that die without a word while new ones work: a switch never waits for them for ever.

What a failover to another host, or a firewall that forgets, looks like. TCP notices nothing here:
the proxies go on acknowledging.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from bluegreen.errors import BlueGreenError, Retry
from bluegreen.postgres import server
from bluegreen.switch.completion import Switched
from bluegreen.switch.step import OUTAGE, Step
from bluegreen.switch.switchover import switch
from bluegreen.switch.timeline import Timeline
from lab.proxy import Proxy
from tests.chaos.servers import APP, PASSWORD, Deployment, Part
from tests.fixtures.switchable import wait_until

# The goal is 2 s; this only separates "at once" from "not at all" on a busy machine.
_SOON_SECONDS = 30.0

_DARK_SECONDS = 75.0  # longer than the switch itself insists

_DIRECTIONS = {
    "both": {},
    "to-server": {"to_client": False},
    "to-client": {"to_target": False},
}


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with Deployment.made() as made:
        yield made


@pytest.fixture
def world(deployment: Deployment) -> Iterator[Deployment]:
    """Return it ready for its next switch; afterwards nothing is frozen."""
    server.remember(deployment.logins)
    deployment.prepare()
    yield deployment
    for part in (deployment.source, deployment.target):
        part.to_orchestrator.thaw()


@contextmanager
def _at(step: Step, act: str, monkeypatch: pytest.MonkeyPatch, *proxies: Proxy) -> Iterator[None]:
    """Freeze the connections that are there once `step` is passed, the first time."""
    passed, met = Timeline.passed, list[float]()

    def pass_and_freeze(timeline: Timeline, now: Step) -> None:
        passed(timeline, now)
        if now is step and not met:
            met.append(time.monotonic())
            for proxy in proxies:
                if act == "dark":
                    proxy.black_hole()
                else:
                    proxy.freeze(**_DIRECTIONS[act])

    with monkeypatch.context() as patched:
        patched.setattr(Timeline, "passed", pass_and_freeze)
        yield
    assert met, "the step was passed"


def _writable(part: Part) -> bool:
    try:
        with part.connect("app", user=APP, password=PASSWORD) as conn:
            conn.execute("CREATE TEMPORARY TABLE it_writes (n int)")
            conn.execute(
                "INSERT INTO counter (client, value) VALUES (77, 1) ON CONFLICT DO NOTHING"
            )
    except psycopg.Error:
        return False
    return True


def _switch_and_settle(world: Deployment) -> tuple[str, float]:
    """Switch; demand one writer, and turn the replication when it is the new one.

    Returns what became of it, and how many seconds it took.
    """
    began = time.monotonic()
    done: Switched | None = None
    with contextlib.suppress(Retry):  # it was aborted
        done = switch(world.plan(fuse_seconds=90.0, drain_seconds=60.0))
    took = time.monotonic() - began
    assert (_writable(world.old), _writable(world.new)) == (done is None, done is not None)
    if done is None:
        return "aborted", took
    assert world.aws.writer() == world.new.lab.host
    world.turn(done.mark)
    return "switched", took


def _frozen(world: Deployment, which: str) -> list[Proxy]:
    parts = {"old": [world.old], "new": [world.new], "all": [world.old, world.new]}[which]
    return [part.to_orchestrator for part in parts]


_BEFORE = {Step.ARM, Step.REGISTER, Step.FENCE, Step.DRAIN, Step.SEQUENCES}


@pytest.mark.parametrize(
    ("step", "which", "direction", "expected"),
    [
        (Step.FENCE, "old", "both", {"aborted"}),
        (Step.SEQUENCES, "old", "to-client", {"switched"}),  # it is made, and its answer is lost
        (Step.DECIDE, "all", "to-client", {"switched"}),
        (Step.STOP, "old", "both", {"switched"}),
    ],
)
def test_a_switch_goes_on_over_new_connections_or_gives_up_at_once(
    world: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    step: Step,
    which: str,
    direction: str,
    expected: set[str],
) -> None:
    with _at(step, direction, monkeypatch, *_frozen(world, which)):
        ended, took = _switch_and_settle(world)
    logging.getLogger(__name__).info("%s %s %s: %s, %.2f s", step, which, direction, ended, took)
    assert ended in expected
    assert took < _SOON_SECONDS


@pytest.mark.long
@pytest.mark.parametrize("direction", _DIRECTIONS)
@pytest.mark.parametrize("which", ["old", "new", "all"])
@pytest.mark.parametrize("step", list(Step))
def test_at_every_step(
    world: Deployment, monkeypatch: pytest.MonkeyPatch, step: Step, which: str, direction: str
) -> None:
    with _at(step, direction, monkeypatch, *_frozen(world, which)):
        ended, took = _switch_and_settle(world)
    logging.getLogger(__name__).info("%s %s %s: %s, %.2f s", step, which, direction, ended, took)
    if step not in (*OUTAGE, *_BEFORE, Step.READY) or step is Step.OPEN:
        assert ended == "switched"
    assert took < _SOON_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "which"),
    [
        pytest.param(Step.FENCE, "old", marks=pytest.mark.long),
        pytest.param(Step.SEQUENCES, "old", marks=pytest.mark.long),
        (Step.DECIDE, "new"),
        pytest.param(Step.OPEN, "all", marks=pytest.mark.long),
    ],
)
def test_after_a_minute_and_more_without_any_network_one_side_is_open_soon(
    world: Deployment, monkeypatch: pytest.MonkeyPatch, step: Step, which: str
) -> None:
    """New connections fail too; whoever is left goes on as soon as the network is back."""
    proxies = _frozen(world, which)
    with _at(step, "dark", monkeypatch, *proxies):
        for proxy in proxies:
            threading.Timer(_DARK_SECONDS, proxy.heal).start()
        with contextlib.suppress(BlueGreenError):
            switch(world.plan(fuse_seconds=20.0, drain_seconds=10.0))
    wait_until(lambda: not any(proxy.dark for proxy in proxies), "light", seconds=2 * _DARK_SECONDS)
    wait_until(lambda: _writable(world.old) != _writable(world.new), "one writer")
    done = switch(world.plan(fuse_seconds=90.0, drain_seconds=60.0))
    assert (_writable(world.old), _writable(world.new)) == (False, True)
    world.turn(done.mark)
