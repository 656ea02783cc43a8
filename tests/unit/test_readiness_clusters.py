"""What readiness says of two clusters by what AWS keeps of each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bluegreen.aws import cluster
from bluegreen.finding import Level
from bluegreen.switch.readiness import clusters
from tests.fixtures.made_up import CLUSTER
from tests.fixtures.rds import REGION, PlacedClusters

OLD = replace(CLUSTER, identifier="orders-1", resource_id="cluster-OLD")
NEW = replace(CLUSTER, identifier="orders-2", resource_id="cluster-NEW")


def test_the_ids_that_aws_keys_things_to_are_named() -> None:
    one, _ = clusters.judge(OLD, NEW)
    assert one.level is Level.OK
    assert "cluster-NEW instead of cluster-OLD: alarms, backup plans" in one.line()


@pytest.mark.parametrize(
    ("old", "new", "level", "said"),
    [
        (False, False, Level.OK, "off on orders-1"),
        (False, True, Level.OK, "off on orders-1"),
        (True, False, Level.BLOCK, "set environment.iam_authentication to true"),
        (True, True, Level.WARN, "allow dbuser:cluster-NEW/* too, before the switch"),
    ],
)
def test_logins_by_iam_need_the_new_side(old: bool, new: bool, level: Level, said: str) -> None:
    _, found = clusters.judge(
        replace(OLD, iam_authentication=old), replace(NEW, iam_authentication=new)
    )
    assert found.level is level
    assert said in found.line()


def test_whether_tokens_are_taken_is_read_of_aws(placed: PlacedClusters) -> None:
    for name, on in (("orders-1", True), ("orders-2", False)):
        placed.rds.create_db_cluster(
            DBClusterIdentifier=name,
            Engine="aurora-postgresql",
            MasterUsername="clusteradmin",
            MasterUserPassword="not a secret",
            EnableIAMDatabaseAuthentication=on,
        )
        assert cluster.get(REGION, name).iam_authentication is on
