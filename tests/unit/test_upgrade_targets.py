"""What a cluster can be upgraded to, as the lab's AWS answers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bluegreen.aws.cluster import Cluster
from bluegreen.errors import Refused
from bluegreen.upgrade import engine
from bluegreen.upgrade.engine_version import EngineVersion
from tests.fixtures.aws_api import REGION

pytestmark = pytest.mark.usefixtures("library_at_aws_api")


def _running(version: str) -> Cluster:
    return Cluster(
        identifier="orders-1",
        arn="arn",
        resource_id="cluster-1",
        region=REGION,
        status="available",
        engine="aurora-postgresql",
        endpoint="orders-1",
        reader_endpoint="orders-1",
        port=5432,
        engine_version=version,
        pending_engine_version=None,
        clone_group_id=None,
        members=(),
        parameter_group="",
        deletion_protection=False,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        global_cluster=None,
    )


def test_a_version_that_no_new_cluster_can_have_is_upgraded_all_the_same() -> None:
    assert engine.targets(_running("16.10")) == {"16.14": False, "17.6": True, "18.4": True}


def test_a_version_that_is_out_of_reach_is_refused_with_those_that_are_not() -> None:
    found = _running("16.14")
    for reached in ("16.14", "18.4"):
        engine.require_reachable(found, EngineVersion.parse(reached))
    with pytest.raises(Refused, match=r"no upgrade from 16\.14 to 18\.9; allowed to 18: 18\.4"):
        engine.require_reachable(found, EngineVersion.parse("18.9"))
