"""The last snapshot's name: another for each life of a cluster, and never too long."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from components.primary import final_snapshot


@pytest.mark.parametrize("cluster", ["orders", "a" * 63, "a" * 40 + "-" + "b" * 22])
def test_it_is_a_name_that_aws_takes(cluster: str) -> None:
    name = final_snapshot(cluster, datetime(2026, 11, 29, 17, 5, 9, tzinfo=UTC))
    assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)
    assert name.endswith("-final-20261129-170509")
    assert len(name) <= 63


def test_two_lives_have_two_names() -> None:
    lives = [datetime(2026, 11, 29, hour, tzinfo=UTC) for hour in (1, 2)]
    assert len({final_snapshot("orders", life) for life in lives}) == 2
