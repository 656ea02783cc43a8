"""Every step of the switch, broken off in each way that leaves nobody, or somebody, to see to it.

Each round ends with the next switch, so rounds go to and fro on one deployment under clients that
write all the time; `Arena.play` raises with step, fault, direction, seed and what the servers say.
"""

from __future__ import annotations

import pytest

from bluegreen.step import Step
from tests.chaos.faults import Fault
from tests.chaos.rounds import Arena

BEFORE_DECISION = (Step.REGISTER, Step.FENCE, Step.DRAIN, Step.SEQUENCES, Step.MARK)


@pytest.mark.parametrize("fault", [Fault.HOST, Fault.ENGINE, Fault.EVERYTHING])
@pytest.mark.parametrize("step", list(Step))
def test_exactly_one_side_takes_writes_and_nothing_is_lost(
    arena: Arena, fault: Fault, step: Step
) -> None:
    outcome = arena.play(fault, step)
    assert outcome.gate, "the switch did not come as far as the step"


@pytest.mark.parametrize("step", BEFORE_DECISION)
def test_the_server_fuse_alone_brings_writers_back(arena: Arena, step: Step) -> None:
    outcome = arena.play(Fault.MACHINE, step)
    assert outcome.until_open_ms is not None
