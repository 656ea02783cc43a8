"""Looking clusters up: gone is what AWS says is gone, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bluegreen.aws import cluster
from bluegreen.aws.cluster import Cluster
from bluegreen.deployment.first_look import room_problem
from bluegreen.errors import Refused, Retry
from tests.fixtures.aws_api import AwsApi
from tests.fixtures.rds import REGION, PlacedClusters


@pytest.fixture
def make(placed: PlacedClusters) -> Callable[..., Cluster]:
    def make(identifier: str = "orders-1") -> Cluster:
        placed.rds.create_db_cluster(
            DBClusterIdentifier=identifier,
            Engine="aurora-postgresql",
            EngineVersion="16.4",
            MasterUsername="clusteradmin",
            MasterUserPassword="not a secret",
            Port=5433,
            DeletionProtection=True,
        )
        for n in (1, 2):
            placed.rds.create_db_instance(
                DBInstanceIdentifier=f"{identifier}-{n}",
                DBClusterIdentifier=identifier,
                Engine="aurora-postgresql",
                DBInstanceClass="db.r6g.large",
            )
        return cluster.get(REGION, identifier)

    return make


def test_a_cluster_is_found_with_what_others_ask_of_it(make: Callable[..., Cluster]) -> None:
    found = make("orders-1")
    assert (found.identifier, found.region, found.engine_version) == ("orders-1", REGION, "16.4")
    assert found.arn.endswith(":cluster:orders-1")
    assert found.endpoint.startswith("orders-1.cluster-")
    assert found.port == 5433
    assert found.deletion_protection
    assert found.global_cluster is None
    assert found.writer is not None
    assert [member.is_writer for member in found.members].count(True) == 1


@pytest.mark.usefixtures("placed")
def test_a_cluster_that_aws_does_not_know_is_none_or_refused() -> None:
    assert cluster.find(REGION, "orders-9") is None
    with pytest.raises(Refused, match="cluster orders-9: not found in eu-west-1"):
        cluster.get(REGION, "orders-9")


@pytest.mark.usefixtures("unreachable_aws")
def test_an_aws_out_of_reach_is_never_gone() -> None:
    with pytest.raises(Retry, match="AWS can't be reached: EndpointConnectionError"):
        cluster.find(REGION, "orders-1")


def test_waiting_returns_at_once_when_all_is_available(make: Callable[..., Cluster]) -> None:
    found = make()
    reports: list[str] = []
    waited = cluster.wait_until_available(
        REGION, found.identifier, deadline=time.monotonic() + 30, report=reports.append
    )
    assert waited.status == "available"


def test_waiting_ends_at_its_deadline_and_says_for_what(make: Callable[..., Cluster]) -> None:
    make()
    reports: list[str] = []
    with pytest.raises(Retry, match=r"cluster orders-1: still available .* expected the moon"):
        cluster.wait_until(
            REGION,
            "orders-1",
            lambda _: False,
            deadline=time.monotonic(),
            report=reports.append,
            awaited="the moon",
        )
    (said,) = reports
    assert said.startswith("cluster orders-1: available, waiting for the moon (")


def test_a_state_that_no_waiting_mends_is_refused(
    make: Callable[..., Cluster], placed: PlacedClusters
) -> None:
    make()
    placed.rds.stop_db_cluster(DBClusterIdentifier="orders-1")
    with pytest.raises(Refused, match="cluster orders-1: is stopp"):
        cluster.wait_until_available(REGION, "orders-1", deadline=time.monotonic() + 30)


def test_the_lineage_of_a_cluster_is_all_that_share_its_storage(
    library_at_aws_api: AwsApi,
) -> None:
    rds = library_at_aws_api.make_cluster("lineage")
    for source, clone in (("lineage", "lineage-a"), ("lineage-a", "lineage-b")):
        rds.restore_db_cluster_to_point_in_time(
            DBClusterIdentifier=clone,
            SourceDBClusterIdentifier=source,
            RestoreType="copy-on-write",
            UseLatestRestorableTime=True,
        )
        library_at_aws_api.make_instance(clone)
    group = cluster.get(REGION, "lineage-b").clone_group_id
    assert group is not None
    assert cluster.lineage(REGION, group) == ["lineage", "lineage-a", "lineage-b"]
    assert cluster.lineage(REGION, "another") == []


@pytest.mark.parametrize(("clones", "fits"), [(0, True), (14, True), (15, False), (16, False)])
def test_a_sixteenth_clone_would_be_a_copy(clones: int, fits: bool) -> None:
    lineage = ["orders", *(f"orders-clone-{n}" for n in range(clones))]
    reason = room_problem("orders", lineage)
    assert (reason is None) is fits
    if reason is not None:
        assert f"shares its storage with {clones} clusters already" in reason
