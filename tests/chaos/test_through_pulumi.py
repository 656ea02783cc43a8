"""The same through `pulumi up`: the real engine and provider host are killed within a switch.

Afterwards the writer is on exactly one side without anybody's help, and the next `pulumi up`
completes the switch.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from bluegreen.switch.step import Step
from tests.chaos.rounds import LIMIT_SECONDS
from tests.fixtures.lab import SOURCE, Lab, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SITE = Path(__file__).with_name("site")
_number = itertools.count(1)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a lab of its own: whichever side is the writer at the end, nobody else finds it."""
    with running(f"test-kill-{os.getpid()}") as made:
        yield made


@pytest.fixture(scope="module")
def deployment(lab: Lab) -> str:
    """Return a deployment that is stood up and follows its source."""
    stack = lab.new_stack()
    lab.up(stack)
    with lab.connect() as conn:
        conn.execute("CREATE ROLE chaos_app LOGIN PASSWORD 'chaos'; GRANT ALL ON item TO chaos_app")
    with lab.connect(stack) as conn:
        conn.execute("CREATE ROLE chaos_app LOGIN PASSWORD 'chaos'; GRANT ALL ON item TO chaos_app")
    return stack


@pytest.fixture
def kill(lab: Lab, tmp_path: Path) -> Iterator[Callable[[str, Step], None]]:
    """Return a function that lets the next update kill `who` behind a step."""
    environment = lab.world.environment
    before = dict(environment)

    def arm(who: str, step: Step) -> None:
        environment.update(
            PYTHONPATH=f"{before['PYTHONPATH']}:{SITE}",
            CHAOS_AT=step.value,
            CHAOS_KILL=who,
            CHAOS_DONE=str(tmp_path / "done"),
        )

    yield arm
    environment.clear()
    environment.update(before)


def _writable(lab: Lab, stack: str) -> int | None:
    """Return the row that an application could commit there, None when it could not."""
    host = lab.world.resolve(lab.world.outputs(stack)["endpoint"])
    try:
        with psycopg.connect(
            host=host,
            port=lab.world.place.port,
            dbname="app",
            user="chaos_app",
            password="chaos",
            autocommit=True,
        ) as conn:
            row = conn.execute("INSERT INTO item DEFAULT VALUES RETURNING id").fetchone()
    except psycopg.Error:
        return None
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    ("who", "step"),
    [
        ("host", Step.READY),
        ("host", Step.REGISTER),
        ("host", Step.FENCE),
        ("host", Step.DRAIN),
        ("host", Step.SEQUENCES),
        ("host", Step.DECIDE),
        ("host", Step.OPEN),
        ("host", Step.CLOSE),
        ("pulumi", Step.FENCE),
        ("pulumi", Step.DECIDE),
        ("pulumi,host", Step.DRAIN),
        ("fuse", Step.FENCE),
        ("fuse,host", Step.DRAIN),
        ("fuse,host", Step.DECIDE),
    ],
)
def test_an_update_killed_within_a_switch_is_completed_by_the_next(
    lab: Lab,
    deployment: str,
    kill: Callable[[str, Step], None],
    tmp_path: Path,
    who: str,
    step: Step,
) -> None:
    to_target = next(_number) % 2 == 1
    old, new = (SOURCE, deployment) if to_target else (deployment, SOURCE)
    lab.set(deployment, f"bluegreen:cutover={str(to_target).lower()}")
    written = {_writable(lab, old)}
    assert None not in written
    kill(who, step)
    code, text = lab.world.try_pulumi(
        "up", "-s", deployment, "--yes", "--skip-preview", "--non-interactive", "--color=never"
    )
    assert (tmp_path / "done").exists(), f"nothing was killed: {text}"
    assert code != 0 or who == "fuse", text
    if (who, step) != ("fuse,host", Step.DECIDE):
        written.add(_opened_side(lab, old, new))
    if "pulumi" in who:
        lab.world.pulumi("cancel", "-s", deployment, "--yes", check=False)
    _up_until_done(lab, deployment)
    assert _writable(lab, old) is None
    last = _writable(lab, new)
    assert last is not None
    with lab.connect(new) as conn:
        there = {int(str(n)) for (n,) in conn.execute("SELECT id FROM item")}
    assert written | {last} <= there


def _opened_side(lab: Lab, old: str, new: str) -> int:
    """Return what could be written on the one side that is open, as soon as one is."""
    deadline = time.monotonic() + 10 + LIMIT_SECONDS  # the server fuse's deadline, and then some
    while True:
        rows = [row for row in (_writable(lab, old), _writable(lab, new)) if row is not None]
        assert len(rows) < 2, "both sides take writes"
        if rows:
            return rows[0]
        assert time.monotonic() < deadline, "nobody is writable"


def _up_until_done(lab: Lab, stack: str) -> None:
    """Repeat `pulumi up` as its message says; a host that is dying may still be at work."""
    deadline = time.monotonic() + 120
    while True:
        code, text = lab.world.try_pulumi(
            "up", "-s", stack, "--yes", "--skip-preview", "--non-interactive", "--color=never"
        )
        if code == 0:
            return
        assert "Traceback" not in text, text
        assert time.monotonic() < deadline, text
