"""Which version is newer, and what AWS is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen.errors import Refused
from bluegreen.postgres.server import Credentials, Server
from bluegreen.upgrade.engine import Upgrade, in_place_problem, request
from bluegreen.upgrade.engine_version import (
    EngineVersion,
    UpgradeStep,
    major_change_problem,
    require_target,
    step,
)
from bluegreen.upgrade.parameters import AllowReboot
from tests.fixtures.made_up import CLUSTER

V = EngineVersion.parse
SERVER = Server("orders-2", "eu-west-1", "127.0.0.1", 5432, Credentials("a", "r", tls="disable"))


def test_versions_compare_as_numbers() -> None:
    assert V("17.1") > V("16.10") > V("16.9") > V("16.8.1") > V("16.8-limitless")
    assert str(V("16.4-limitless")) == "16.4-limitless"


@pytest.mark.parametrize("text", ["17", "", "17.x", "16.6 ", "latest", "16.6;"])
def test_what_is_not_a_version_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"expected major\.minor"):
        V(text)


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        ("16.6", "16.6", UpgradeStep.NONE),
        ("16.6", "16.10", UpgradeStep.MINOR),
        ("16.6", "18.1", UpgradeStep.MAJOR),
    ],
)
def test_the_step_follows_from_the_versions(have: str, want: str, expected: UpgradeStep) -> None:
    assert step("orders-2", V(have), V(want), asked_before=None) is expected


@given(st.integers(14, 18), st.integers(0, 20), st.integers(14, 18), st.integers(0, 20))
def test_going_back_is_refused_and_nothing_else(m1: int, n1: int, m2: int, n2: int) -> None:
    have, want = V(f"{m1}.{n1}"), V(f"{m2}.{n2}")
    if want >= have:
        assert (step("c", have, want, asked_before=None) is UpgradeStep.NONE) is (have == want)
    else:
        with pytest.raises(Refused, match="can't go back"):
            step("c", have, want, asked_before=None)


def test_a_minor_that_aws_brought_is_kept() -> None:
    asked = V("16.6")
    assert step("c", V("16.8"), asked, asked_before=asked) is UpgradeStep.NONE
    with pytest.raises(Refused, match=r"set environment.engine_version to 16\.8"):
        step("c", V("16.8"), asked, asked_before=V("16.8"))
    with pytest.raises(Refused, match="can't go back"):
        step("c", V("17.1"), asked, asked_before=asked)


def test_a_version_that_aws_does_not_upgrade_to_is_refused_with_those_it_does() -> None:
    targets = {"16.10": False, "17.9": True, "17.7": True}
    require_target("orders-2", V("16.6"), V("17.7"), targets)
    with pytest.raises(Refused, match=r"allowed to 17: 17\.7, 17\.9"):
        require_target("orders-2", V("16.6"), V("17.8"), targets)
    with pytest.raises(Refused, match=r"allowed to 18: none; to any: 16\.10, 17\.7, 17\.9"):
        require_target("orders-2", V("16.6"), V("18.1"), targets)


def upgrade(version: str) -> Upgrade:
    return Upgrade(SERVER, ("app",), V(version), "cluster-18", "instance-18")


def test_a_major_upgrade_names_the_groups_of_the_new_family() -> None:
    assert request(upgrade("18.1"), UpgradeStep.MAJOR) == {
        "DBClusterIdentifier": "orders-2",
        "EngineVersion": "18.1",
        "ApplyImmediately": True,
        "AllowMajorVersionUpgrade": True,
        "DBClusterParameterGroupName": "cluster-18",
        "DBInstanceParameterGroupName": "instance-18",
    }


@pytest.mark.parametrize(
    ("allow", "version", "said"),
    [
        ("never", "16.10", "the upgrade restarts it: set environment.allow_reboot to now"),
        ("window", "16.10", None),
        ("now", "16.10", None),
        ("never", "18.1", "another major version: an upgrade in place would stop its clients"),
        ("now", "18.1", "stand a deployment up with this stack as source"),
    ],
)
def test_an_environment_that_serves_is_upgraded_when_it_may(
    allow: str, version: str, said: str | None
) -> None:
    desired = replace(upgrade(version), allow_restart=AllowReboot(allow))
    todo = step("c", V("16.6"), V(version), asked_before=None)
    reason = in_place_problem(CLUSTER, desired, todo)
    assert (said is None) == (reason is None)
    assert (said or "") in (reason or "")


def test_no_window_is_that_of_all_regions() -> None:
    desired = replace(upgrade("16.10"), allow_restart=AllowReboot.WINDOW)
    reason = in_place_problem(replace(CLUSTER, global_cluster="world"), desired, UpgradeStep.MINOR)
    assert "one Region after another: set environment.allow_reboot to now" in str(reason)


@pytest.mark.parametrize(
    ("serves", "said"),
    [(True, "with this stack as source"), (False, "destroy this deployment")],
)
def test_another_major_is_no_change_of_a_stack(serves: bool, said: str) -> None:
    assert major_change_problem("16.6", "16.10", serves=serves) is None
    assert said in str(major_change_problem("16.6", "18.1", serves=serves))
    assert said in str(major_change_problem("18.1", "16.6", serves=serves))


def test_a_minor_upgrade_sends_neither_permission_nor_groups() -> None:
    assert request(upgrade("16.10"), UpgradeStep.MINOR) == {
        "DBClusterIdentifier": "orders-2",
        "EngineVersion": "16.10",
        "ApplyImmediately": True,
    }
