"""The local fuse's own ends; what it does for a killed switch is in tests/chaos."""

from __future__ import annotations

import sys

import pytest

from bluegreen.errors import Retry
from bluegreen.switch.local_fuse import LocalFuse
from tests.fixtures.switchable import Switchable


@pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)
def test_a_fuse_that_cannot_start_is_said_at_once(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        LocalFuse(switchable.cutover(), "green-1") as fuse,
        pytest.raises(Retry, match="nothing was touched"),
    ):
        fuse.wait_until_armed()
