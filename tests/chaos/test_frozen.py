"""The machine frozen after every step, and continued when another has moved the writer."""

from __future__ import annotations

import pytest

from tests.chaos.orchestrator import Order
from tests.chaos.rig import AFTER_DECISION, BEFORE_DECISION, Rig
from tests.chaos.test_kills import rig as rig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True),
]


@pytest.mark.parametrize(
    "there_and_back",
    [
        pytest.param(False, id="there"),
        pytest.param(True, id="there-and-back", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize(
    "with_fuse",
    [
        pytest.param(False, id="alone"),
        pytest.param(True, id="with-its-fuse", marks=pytest.mark.long),
    ],
)
def test_who_wakes_up_behind_another_switch_changes_nothing(
    rig: Rig, *, with_fuse: bool, there_and_back: bool
) -> None:
    for step in (*BEFORE_DECISION, *AFTER_DECISION):
        rig.prepare()
        order = Order(rig.plan().to_line(), die_after=step, freeze=True, local_fuse_too=with_fuse)
        with rig.frozen(order):
            rig.switch_again()
            rig.wait_for_clients()
            if there_and_back:
                rig.prepare()
                rig.switch_again()
                rig.wait_for_clients()
        assert rig.open_sides() == [rig.old.cluster], rig.describe()
        rig.wait_for_clients()
