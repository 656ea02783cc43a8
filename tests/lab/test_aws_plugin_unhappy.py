"""The stand-in AWS plugin where AWS refuses, is short of something, or makes what then fails."""

from __future__ import annotations

import itertools
import re
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2, status_pb2

from lab.aws_plugin.values import from_struct
from tests.fixtures.aws_api import OTHER_REGION, AwsApi
from tests.fixtures.aws_plugin import Driver

_NUMBERS = itertools.count()
CLUSTER = "aws:rds/cluster:Cluster"
GROUP = "aws:rds/clusterParameterGroup:ClusterParameterGroup"
INSTANCE = "aws:rds/clusterInstance:ClusterInstance"
GLOBAL = "aws:rds/globalCluster:GlobalCluster"


def _name() -> str:
    return f"u{next(_NUMBERS)}"


def _cluster(plugin: Driver, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the inputs and the state of a new cluster."""
    inputs, failures = plugin.check(
        CLUSTER,
        {
            "clusterIdentifier": _name(),
            "engine": "aurora-postgresql",
            "masterUsername": "m",
            "masterPassword": "password",
            "skipFinalSnapshot": True,
        }
        | more,
    )
    assert failures == []
    return inputs, from_struct(plugin.create(CLUSTER, inputs).properties)


def _instance(cluster: str) -> dict[str, Any]:
    return {
        "identifier": _name(),
        "clusterIdentifier": cluster,
        "engine": "aurora-postgresql",
        "instanceClass": "db.r6g.large",
    }


def _failure(raised: Any) -> tuple[str, Any]:
    """Return a failure's text, and what is there of the resource all the same; None of nothing."""
    error = raised.value
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            detail = provider_pb2.ErrorResourceInitFailed()
            assert status.details[0].Unpack(detail)
            return str(error.details()), detail
    return str(error.details()), None


def _calls(api: AwsApi, operation: str, identifier: str) -> int:
    lines = api.log.read_text().splitlines()
    return sum(f'"operation": "{operation}"' in line and identifier in line for line in lines)


def test_aws_says_no_in_the_official_words(plugin: Driver) -> None:
    inputs, _ = _cluster(plugin)
    with pytest.raises(grpc.RpcError) as raised:
        plugin.create(CLUSTER, inputs)
    text, made = _failure(raised)
    name = inputs["clusterIdentifier"]
    assert re.fullmatch(
        rf"1 error occurred:\n\t\* creating RDS Cluster \({name}\): operation error RDS:"
        r" CreateDBCluster, https response error StatusCode: 400, RequestID: \S+,"
        r" DBClusterAlreadyExistsFault: DB Cluster already exists\n\n",
        text,
    )
    assert made is None


def test_a_clone_that_is_made_and_then_fails_is_kept_and_taken_up(plugin: Driver) -> None:
    source, _ = _cluster(plugin)
    plugin.create(INSTANCE, _instance(source["clusterIdentifier"]))
    name = _name()
    clone, _ = plugin.check(
        CLUSTER,
        {
            "clusterIdentifier": name,
            "engine": "aurora-postgresql",
            "masterPassword": "password",
            "restoreToPointInTime": {
                "sourceClusterIdentifier": source["clusterIdentifier"],
                "restoreType": "copy-on-write",
                "useLatestRestorableTime": True,
            },
            "skipFinalSnapshot": True,
        },
    )
    plugin.api.fault("ModifyDBCluster", code="InvalidParameterValue", message="not now")
    with pytest.raises(grpc.RpcError) as raised:
        plugin.create(CLUSTER, clone)
    text, made = _failure(raised)
    assert text.startswith(f"creating {plugin.urn(CLUSTER)}: 1 error occurred:\n\t* updating RDS")
    assert "api error InvalidParameterValue: not now" in text
    state = from_struct(made.properties)
    assert (made.id, state["clusterIdentifier"], state["endpoint"]) == (name, name, None)
    # The engine calls Update for the errors' sake: nothing differs, and all is known afterwards.
    assert plugin.diff(CLUSTER, state, clone).changes == provider_pb2.DiffResponse.DIFF_NONE
    taken_up = plugin.update(CLUSTER, name, state, clone)
    assert taken_up["endpoint"].startswith(f"{name}.cluster-")
    assert plugin.diff(CLUSTER, taken_up, clone).changes == provider_pb2.DiffResponse.DIFF_NONE
    plugin.delete(CLUSTER, name, state)  # as little as that is enough


def test_a_call_is_tried_again_while_aws_is_short_of_something(plugin: Driver) -> None:
    plugin.api.fault("CreateDBClusterParameterGroup", code="Throttling", times=13)
    name = _name()
    plugin.create(GROUP, {"name": name, "family": "aurora-postgresql16"})
    assert _calls(plugin.api, "CreateDBClusterParameterGroup", name) == 14


def test_a_call_is_given_up_after_so_many_tries(plugin: Driver) -> None:
    plugin.api.fault("CreateDBClusterParameterGroup", code="Throttling", times=25)
    with pytest.raises(grpc.RpcError) as raised:
        plugin.create(GROUP, {"name": _name(), "family": "aurora-postgresql16"})
    text, made = _failure(raised)
    assert made is None
    assert "exceeded maximum number of attempts, 25, https response error StatusCode: 400" in text


def test_an_instance_that_fails_is_said_at_once(plugin: Driver) -> None:
    inputs, _ = _cluster(plugin)
    plugin.api.fault("CreateDBInstance", outcome="failed")
    wish = _instance(inputs["clusterIdentifier"])
    with pytest.raises(grpc.RpcError) as raised:
        plugin.create(INSTANCE, wish)
    text, made = _failure(raised)
    assert made.id == wish["identifier"]
    assert "create: unexpected state 'failed', wanted target 'available'" in text


def test_a_cluster_that_lives_joins_no_global_cluster(plugin: Driver) -> None:
    inputs, state = _cluster(plugin)
    name = inputs["clusterIdentifier"]
    joining = inputs | {"globalClusterIdentifier": "w"}
    with pytest.raises(grpc.RpcError, match="cannot be added to an existing RDS Global Cluster"):
        plugin.update(CLUSTER, name, state, joining)
    elsewhere = inputs | {"globalClusterIdentifier": "other"}
    with pytest.raises(grpc.RpcError, match="cannot be migrated between existing RDS Global"):
        plugin.update(CLUSTER, name, state | {"globalClusterIdentifier": "w"}, elsewhere)


def test_a_protected_cluster_is_asked_again_and_then_kept(plugin: Driver) -> None:
    inputs, state = _cluster(plugin, deletionProtection=True)
    name = inputs["clusterIdentifier"]
    with pytest.raises(grpc.RpcError, match="Cannot delete protected Cluster") as raised:
        plugin.delete(CLUSTER, name, state)
    text, _ = _failure(raised)
    start = (
        f"deleting {plugin.urn(CLUSTER)}: 1 error occurred:\n\t* deleting RDS Cluster ({name}): "
    )
    assert text.startswith(f"{start}operation error RDS: DeleteDBCluster, https response error")
    assert _calls(plugin.api, "DeleteDBCluster", name) > 1


def test_a_group_in_use_is_asked_again_and_then_kept(plugin: Driver) -> None:
    name = _name()
    group = plugin.create(GROUP, {"name": name, "family": "aurora-postgresql16"})
    _cluster(plugin, dbClusterParameterGroupName=name, engineVersion="16.14")
    with pytest.raises(grpc.RpcError, match="deleting RDS Cluster Parameter Group"):
        plugin.delete(GROUP, name, from_struct(group.properties))
    assert _calls(plugin.api, "DeleteDBClusterParameterGroup", name) > 1


def test_a_global_cluster_lets_go_the_members_that_the_state_knows(plugin: Driver) -> None:
    _, primary = _cluster(plugin)
    wish = {
        "globalClusterIdentifier": _name(),
        "sourceDbClusterIdentifier": primary["arn"],
        "forceDestroy": True,
    }
    before = from_struct(plugin.create(GLOBAL, wish).properties)
    group = before["globalClusterIdentifier"]
    second, _ = plugin.check(
        CLUSTER,
        {
            "clusterIdentifier": _name(),
            "engine": "aurora-postgresql",
            "globalClusterIdentifier": group,
            "region": OTHER_REGION,
            "skipFinalSnapshot": True,
        },
    )
    plugin.create(CLUSTER, second)
    with pytest.raises(grpc.RpcError, match="InvalidGlobalClusterStateFault"):
        plugin.delete(GLOBAL, group, before)
    now = from_struct(plugin.read(GLOBAL, group, before, wish).properties)
    assert len(now["globalClusterMembers"]) == 2
    plugin.delete(GLOBAL, group, now)


def test_an_import_has_what_no_api_returns_by_default(plugin: Driver) -> None:
    inputs, state = _cluster(plugin, skipFinalSnapshot=False, finalSnapshotIdentifier="f")
    read = plugin.read(CLUSTER, inputs["clusterIdentifier"], {}, {})
    assert from_struct(read.properties)["skipFinalSnapshot"] is True
    wish = {
        "globalClusterIdentifier": _name(),
        "sourceDbClusterIdentifier": state["arn"],
        "forceDestroy": True,
    }
    plugin.create(GLOBAL, wish)
    imported = plugin.read(GLOBAL, wish["globalClusterIdentifier"], {}, {})
    assert from_struct(imported.properties)["sourceDbClusterIdentifier"] is None
    assert "sourceDbClusterIdentifier" not in from_struct(imported.inputs)


def test_default_tags_are_the_providers(plugin: Driver) -> None:
    plugin.configure(defaultTags='{"tags": {"team": "db"}}', region="eu-west-1")
    try:
        inputs, state = _cluster(plugin, tags={"a": "b"})
        assert inputs["tagsAll"] == {"a": "b", "team": "db"}
        assert (state["tags"], state["tagsAll"]) == ({"a": "b"}, {"a": "b", "team": "db"})
        assert plugin.diff(CLUSTER, state, inputs).changes == provider_pb2.DiffResponse.DIFF_NONE
    finally:
        plugin.configure(region="eu-west-1")


def test_further_properties_of_instances_are_sent_and_read(plugin: Driver) -> None:
    inputs, _ = _cluster(plugin)
    wish = _instance(inputs["clusterIdentifier"]) | {
        "monitoringInterval": 60,
        "monitoringRoleArn": "arn:aws:iam::123456789012:role/monitoring",
        "performanceInsightsEnabled": True,
        "performanceInsightsRetentionPeriod": 7,
        "autoMinorVersionUpgrade": False,
    }
    state = from_struct(plugin.create(INSTANCE, wish).properties)
    assert "networkType" in state
    assert state["preferredMaintenanceWindow"]
    assert state["preferredBackupWindow"]
    assert plugin.diff(INSTANCE, state, wish).changes == provider_pb2.DiffResponse.DIFF_NONE
