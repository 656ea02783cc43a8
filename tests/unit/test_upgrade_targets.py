"""What a cluster can be upgraded to, as the lab's AWS answers."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from bluegreen.aws.cluster import Cluster
from bluegreen.errors import Refused
from bluegreen.postgres.server import Credentials, Server
from bluegreen.upgrade import engine
from bluegreen.upgrade.engine import Upgrade
from bluegreen.upgrade.engine_version import EngineVersion
from bluegreen.upgrade.parameters import AllowReboot
from tests.fixtures.aws_api import REGION, AwsApi
from tests.fixtures.made_up import CLUSTER

pytestmark = pytest.mark.usefixtures("library_at_aws_api")


def _running(version: str) -> Cluster:
    return replace(CLUSTER, identifier="orders-1", region=REGION, engine_version=version)


def test_a_version_that_no_new_cluster_can_have_is_upgraded_all_the_same() -> None:
    assert engine.targets(_running("16.10")) == {
        "16.13": False,
        "16.14": False,
        "17.6": True,
        "18.4": True,
    }


def test_a_version_that_is_out_of_reach_is_refused_with_those_that_are_not() -> None:
    found = _running("16.14")
    for reached in ("16.14", "18.4"):
        engine.require_reachable(found, EngineVersion.parse(reached))
    with pytest.raises(Refused, match=r"no upgrade from 16\.14 to 18\.9; allowed to 18: 18\.4"):
        engine.require_reachable(found, EngineVersion.parse("18.9"))


def test_a_maintenance_window_is_left_to_aws(library_at_aws_api: AwsApi) -> None:
    rds = library_at_aws_api.make_cluster("windowed", EngineVersion="16.13")
    server = Server("windowed", REGION, "127.0.0.1", 5432, Credentials("a", "r", tls="disable"))
    wanted = Upgrade(server, ("app",), EngineVersion.parse("16.14"), None, None, AllowReboot.WINDOW)
    for _ in range(2):
        actual = engine.ensure(wanted, asked_before=None, deadline=time.monotonic() + 30)
        assert actual == "16.13"
        found = rds.describe_db_clusters(DBClusterIdentifier="windowed")["DBClusters"][0]
        assert found["PendingModifiedValues"]["EngineVersion"] == "16.14"
    sent = [
        line
        for line in map(json.loads, library_at_aws_api.log.read_text().splitlines())
        if line["operation"] == "ModifyDBCluster"
        and line["parameters"]["DBClusterIdentifier"] == "windowed"
    ]
    assert len(sent) == 1
