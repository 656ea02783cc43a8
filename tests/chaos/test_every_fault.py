"""Every fault at every step, as a library with real processes: the directions take turns."""

from __future__ import annotations

import pytest

from bluegreen.switch.step import OUTAGE, Step
from tests.chaos.faults import DNS, Fault
from tests.chaos.rounds import Arena

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

QUICK = {Fault.NONE, Fault.HOST, Fault.ENGINE, Fault.EVERYTHING}

# They take the longest, and are what OLD_DEAD, BOTH_DEAD and PEER_DEAD are, on other lines.
_ALIKE = {Fault.NEW_DEAD, Fault.OLD_DEAF, Fault.NEW_DEAF, Fault.OLD_MUTE, Fault.NEW_MUTE}


def _steps(fault: Fault) -> list[Step]:
    """Return where a fault can make a difference."""
    if fault in DNS:
        return [Step.OPEN]
    if fault in QUICK:
        return list(Step)
    return [Step.REGISTER, *OUTAGE, Step.STOP]


@pytest.mark.parametrize(
    "fault",
    [pytest.param(one, marks=[pytest.mark.long] if one in _ALIKE else []) for one in Fault],
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
