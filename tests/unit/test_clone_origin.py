"""The seam's bounds: which LSNs and clusters are refused, in which words."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bluegreen.aws.cluster import Cluster
from bluegreen.errors import CloneAgain, Refused
from bluegreen.lsn import Lsn
from bluegreen.replication.clone_origin import SourceSide, require_no_gap, require_this_cluster

BORN = datetime(2026, 1, 1, tzinfo=UTC)


def side(now: str, subscriptions: list[str] | None = None, **slots: str) -> SourceSide:
    return SourceSide(
        Lsn.parse(now), {name: Lsn.parse(at) for name, at in slots.items()}, subscriptions or []
    )


@pytest.mark.parametrize("lsn", ["0/9", "0/A", "0/10"], ids=["at-slot", "between", "at-source"])
def test_an_lsn_from_slot_to_source_is_taken_and_compared_as_a_number(lsn: str) -> None:
    require_no_gap("orders-2", Lsn.parse(lsn), side("0/10", s="0/9"))


def test_an_lsn_before_one_of_the_slots_says_clone_again_and_names_that_slot() -> None:
    with pytest.raises(CloneAgain, match=r"before slot late begins at 0/10.*clone again"):
        require_no_gap("orders-2", Lsn.parse("0/9"), side("0/20", early="0/8", late="0/10"))


def test_an_lsn_later_than_the_source_is_refused() -> None:
    with pytest.raises(Refused, match=r"ends at 0/11, later than its source is now \(0/10\)"):
        require_no_gap("orders-2", Lsn.parse("0/11"), side("0/10", s="0/9"))


def test_an_enabled_subscription_of_the_source_is_refused_before_anything_else() -> None:
    with pytest.raises(Refused, match="subscription a, b, whose copy"):
        require_no_gap("orders-2", Lsn.parse("0/1"), side("0/10", ["a", "b"], s="0/9"))


def cluster(**changes: Any) -> Cluster:
    empty = {
        field.name: () if field.name == "members" else "" for field in dataclasses.fields(Cluster)
    }
    known = {"identifier": "orders-1", "resource_id": "one", "clone_group_id": "volume"}
    return Cluster(**(empty | known | {"created_at": BORN} | changes))


CLONE = {"identifier": "orders-2", "resource_id": "two", "created_at": BORN + timedelta(days=1)}


def test_a_later_cluster_of_the_same_volume_is_a_clone() -> None:
    require_this_cluster(cluster(**CLONE), cluster())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resource_id": "one"}, "is the source itself"),
        ({"clone_group_id": None}, "shares no volume"),
        ({"clone_group_id": "another"}, "shares no volume"),
        ({"created_at": BORN - timedelta(days=1)}, "is older than orders-1"),
    ],
    ids=["itself", "no-clone", "of-another", "older"],
)
def test_any_other_cluster_is_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=f"clone orders-2: {said}"):
        require_this_cluster(cluster(**(CLONE | changes)), cluster())
