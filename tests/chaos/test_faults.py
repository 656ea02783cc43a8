"""The engine killed at every step: nobody listens to the switch any more, and it is completed.

The rest of what runs in every round of tests is in test_kills.py; every other fault, and every step
in both directions, in test_every_fault.py among the slow ones. Each round ends with the next
switch, so rounds go to and fro on one deployment under clients that write all the time;
`Arena.play` raises with step, fault, direction, seed and what the servers say.
"""

from __future__ import annotations

import pytest

from bluegreen.switch.step import Step
from tests.chaos.faults import Fault
from tests.chaos.rounds import Arena

_ALWAYS = (Step.FENCE, Step.DECIDE, Step.STOP)
"""Behind the fence, behind the decision, behind the opening; the others in `make test-all`."""


@pytest.mark.parametrize(
    "step",
    [pytest.param(step, marks=() if step in _ALWAYS else pytest.mark.slow) for step in Step],
)
def test_a_switch_that_nobody_listens_to_is_completed(arena: Arena, step: Step) -> None:
    outcome = arena.play(Fault.ENGINE, step)
    assert outcome.gate, "the switch did not come as far as the step"
    assert (outcome.ended, outcome.next) == ("switched", "repeated")


@pytest.mark.parametrize("step", [Step.REGISTER, Step.DECIDE])
def test_without_its_local_fuse_a_switch_is_completed(arena: Arena, step: Step) -> None:
    outcome = arena.play(Fault.FUSE, step)
    assert (outcome.ended, outcome.next) == ("switched", "repeated")
