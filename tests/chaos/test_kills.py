"""The machine's processes killed at every step: exactly one side takes writes, and soon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bluegreen.switch.step import Step
from tests.chaos.orchestrator import Order
from tests.chaos.rig import AFTER_DECISION, BEFORE_DECISION, Clients, Rig
from tests.fixtures.switchable import Switchable

# One way round in every run; the other in `make test-long`.
pytestmark = pytest.mark.parametrize(
    "pair",
    [
        pytest.param((16, 18), id="16-to-18"),
        pytest.param((18, 16), id="18-to-16", marks=pytest.mark.long),
    ],
    indirect=True,
)

_SOON = 2.0
_FUSE = 2.0  # the server fuse's deadline in these tests
_SLACK = 2.0  # for a busy machine


@pytest.fixture
def rig(switchable: Switchable) -> Iterator[Rig]:
    """Return a deployment under load; at its end everything is compared."""
    made = Rig(switchable, Clients(switchable))
    made.clients.start()
    try:
        made.wait_for_clients()
        yield made
    finally:
        made.clients.stop()
    made.check()


def _kill(rig: Rig, step: Step, **who: bool) -> None:
    rig.prepare()
    code, said = rig.run(Order(rig.plan().to_line(), die_after=step, **who))
    assert code == -9, said


def test_the_orchestrator_killed_after_any_step(rig: Rig) -> None:
    """The local fuse does at once what the register says; the next switch goes on from there."""
    for step in (*BEFORE_DECISION, *AFTER_DECISION):
        _kill(rig, step)
        writer = rig.old if step in BEFORE_DECISION else rig.new
        rig.wait_until_open([writer.cluster], _SOON + _SLACK)
        rig.wait_for_clients()
        rig.switch_again()
        rig.wait_for_clients()


@pytest.mark.slow
def test_the_orchestrator_and_the_local_fuse_killed_after_any_step(rig: Rig) -> None:
    """Before the decision the server fuse opens again; after it the next switch carries it out."""
    for step in (*BEFORE_DECISION, *AFTER_DECISION):
        _kill(rig, step, local_fuse_too=True)
        if step in BEFORE_DECISION:
            rig.wait_until_open([rig.old.cluster], _FUSE + _SLACK)
        elif step is Step.DECIDE:
            assert rig.open_sides() == [], rig.describe()
        else:
            rig.wait_until_open([rig.new.cluster], _SLACK)
        rig.switch_again()
        rig.wait_for_clients()


@pytest.mark.slow
def test_the_orchestrator_and_both_fuses_killed_after_any_step(rig: Rig) -> None:
    """Nobody is left: the fence stays until the next switch, which waits for the deadline."""
    for step in (Step.REGISTER, Step.FENCE, Step.DRAIN, Step.SEQUENCES, Step.DECIDE):
        _kill(rig, step, local_fuse_too=True, server_fuse_too=True)
        assert rig.open_sides() == ([rig.old.cluster] if step is Step.REGISTER else [])
        rig.switch_again()
        rig.wait_for_clients()
