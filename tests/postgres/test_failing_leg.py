"""What fails behind the fence ends the switch at once, with its own words; nobody waits in vain."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bluegreen.errors import Refused, Retry
from bluegreen.switch import fence
from bluegreen.switch.switchover import switch
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import Switchable


def test_a_leg_that_fails_ends_the_switch_long_before_its_deadline(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The barrier's table is lost while the fence is put up, in one database on the old side."""
    pair = switchable.pair
    with pair.source_lab.as_superuser(DATABASE) as conn:
        conn.execute("DROP EXTENSION plpgsql")
        with pytest.raises(Refused, match=r"'app' on orders-1: .* plpgsql.*CREATE EXTENSION"):
            switch(switchable.cutover())
        conn.execute("CREATE EXTENSION plpgsql")
    put_up = fence.put_up

    def lose_the_table(*args: Any, **kwargs: Any) -> None:
        with pair.source_lab.connect(DATABASE) as conn:
            conn.execute("ALTER TABLE bluegreen.heartbeat RENAME TO lost")
        put_up(*args, **kwargs)

    monkeypatch.setattr(fence, "put_up", lose_the_table)
    began = time.monotonic()
    with pytest.raises(Retry, match=r'aborted: relation "bluegreen\.heartbeat" does not exist'):
        switch(switchable.cutover(drain_seconds=60.0, fuse_seconds=90.0))
    assert time.monotonic() - began < 30, "half of what the drain may take"
    assert switchable.open_sides() == [pair.source.cluster]
