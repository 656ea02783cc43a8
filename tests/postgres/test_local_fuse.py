"""The local fuse: a switch killed by SIGKILL leaves writers on exactly one side, with no help."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from bluegreen import register, server
from bluegreen.errors import Retry
from bluegreen.local_fuse import LocalFuse
from bluegreen.names import TOOL_DATABASE
from bluegreen.step import Step
from bluegreen.switch_plan import SwitchPlan
from tests.fixtures.switchable import Switchable, wait_until

# One version pair: what is tested is the process, and the SQL it shares runs on both in its own.
pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


def _killed_after(plan: SwitchPlan, step: Step) -> None:
    """Run the switch in a process that dies right after `step`."""
    lines = [plan.to_line(), json.dumps(server.logins_of(plan.old, plan.new)), step.value]
    died = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.killed_switch"],
        input="\n".join(lines) + "\n",
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr


# A server fuse that can't be what opened: it burns long after the test.
LATE = 300.0


@pytest.mark.parametrize("step", [Step.REGISTER, Step.FENCE, Step.MARK])
def test_before_the_decision_the_old_writer_is_open_again(
    switchable: Switchable, step: Step
) -> None:
    plan = switchable.cutover(fuse_seconds=LATE)
    _killed_after(plan, step)
    wait_until(lambda: _live(switchable) is None, "the fuse ends the attempt")
    assert switchable.open_sides() == [plan.old.cluster]


@pytest.mark.parametrize("step", [Step.DECIDE, Step.OPEN])
def test_after_the_decision_the_new_writer_is_open(switchable: Switchable, step: Step) -> None:
    plan = switchable.cutover(fuse_seconds=LATE)
    _killed_after(plan, step)
    wait_until(lambda: _live(switchable) is None, "the fuse carries the attempt out")
    assert switchable.open_sides() == [plan.new.cluster]


def _live(world: Switchable) -> register.Attempt | None:
    with world.pair.source.connect(TOOL_DATABASE) as conn:
        return register.find_live(conn)


def test_a_fuse_that_cannot_start_is_said_at_once(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        LocalFuse(switchable.cutover(), "green-1") as fuse,
        pytest.raises(Retry, match="nothing was touched"),
    ):
        fuse.wait_until_armed()
