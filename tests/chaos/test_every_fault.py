"""Every fault at every step, as a library with real processes: the directions take turns."""

from __future__ import annotations

import pytest

from bluegreen.switch.step import OUTAGE, Step
from tests.chaos.faults import DNS, Fault
from tests.chaos.rounds import Arena

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

QUICK = {Fault.NONE, Fault.HOST, Fault.ENGINE, Fault.EVERYTHING}

# What `make test-all` plays, one of every kind; the others are played by `make test-long`.
_OF_EVERY_KIND = {Fault.NONE, Fault.HOST_AND_OLD, Fault.PEER_HOLE, Fault.OLD_DEAD, *DNS}


def _steps(fault: Fault) -> list[Step]:
    """Return where a fault can make a difference."""
    if fault in DNS:
        return [Step.OPEN]
    if fault in QUICK:
        return list(Step)
    return [Step.REGISTER, *OUTAGE, Step.STOP]


@pytest.mark.parametrize(
    "fault",
    [pytest.param(one, marks=[] if one in _OF_EVERY_KIND else [pytest.mark.long]) for one in Fault],
)
def test_a_fault_at_every_step(arena: Arena, fault: Fault) -> None:
    for step in _steps(fault):
        outcome = arena.play(fault, step)
        assert outcome.gate, f"the switch did not come as far as {step}"


@pytest.mark.long
@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_at_every_step_in_both_directions(arena: Arena, fault: Fault) -> None:
    for step in _steps(fault):
        for _ in ("there", "and back"):
            outcome = arena.play(fault, step)
            assert outcome.gate, f"the switch did not come as far as {step}"
