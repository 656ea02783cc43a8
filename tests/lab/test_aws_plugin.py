"""The stand-in AWS plugin over its real protocol: create, no change, replace, refresh, gone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from pulumi.runtime.proto import provider_pb2

from lab.aws_plugin.values import UNKNOWN, from_struct
from tests.fixtures.aws_api import REGION, AwsApi
from tests.fixtures.aws_plugin import Driver

_NUMBERS = itertools.count()
NONE, SOME = provider_pb2.DiffResponse.DIFF_NONE, provider_pb2.DiffResponse.DIFF_SOME


@dataclass(frozen=True, slots=True)
class Case:
    """One type: inputs, a change in place, a change that replaces, and what AWS decides."""

    kind: str
    inputs: dict[str, Any]
    in_place: dict[str, Any]
    replacing: dict[str, Any]
    computed: str
    deletes_first: bool = False


def _cases(api: AwsApi) -> dict[str, Case]:
    """Return inputs for each type, with what they need made beforehand."""
    number = next(_NUMBERS)
    rds, ec2, route53 = (api.client(service) for service in ("rds", "ec2", "route53"))
    base = f"base{number}"
    rds.create_db_cluster(
        DBClusterIdentifier=base,
        Engine="aurora-postgresql",
        EngineVersion="16.14",
        MasterUsername="m",
        MasterUserPassword="password",
    )
    arn = rds.describe_db_clusters(DBClusterIdentifier=base)["DBClusters"][0]["DBClusterArn"]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{letter}"
        )["Subnet"]["SubnetId"]
        for n, letter in enumerate("abc")
    ]
    domain = f"z{number}.internal"
    zone = route53.create_hosted_zone(Name=domain, CallerReference=domain)["HostedZone"]["Id"]
    parameters = [
        {"name": "log_statement", "value": "ddl", "applyMethod": "immediate"},
        {"name": "max_wal_senders", "value": "20", "applyMethod": "pending-reboot"},
    ]
    cluster = {"engine": "aurora-postgresql", "masterUsername": "m", "masterPassword": "password"}
    return {
        "Cluster": Case(
            "aws:rds/cluster:Cluster",
            cluster | {"clusterIdentifier": f"c{number}", "skipFinalSnapshot": True},
            {"backupRetentionPeriod": 3},
            {"masterUsername": "other"},
            "endpoint",
        ),
        "ClusterInstance": Case(
            "aws:rds/clusterInstance:ClusterInstance",
            {
                "identifier": f"i{number}",
                "clusterIdentifier": base,
                "engine": "aurora-postgresql",
                "instanceClass": "db.r6g.large",
            },
            {"instanceClass": "db.r6g.xlarge"},
            {"identifier": "other"},
            "endpoint",
        ),
        "ClusterParameterGroup": Case(
            "aws:rds/clusterParameterGroup:ClusterParameterGroup",
            {"name": f"g{number}", "family": "aurora-postgresql16", "parameters": parameters},
            {"parameters": parameters[:1]},
            {"family": "aurora-postgresql18"},
            "arn",
            deletes_first=True,
        ),
        "ParameterGroup": Case(
            "aws:rds/parameterGroup:ParameterGroup",
            {"name": f"p{number}", "family": "aurora-postgresql16", "parameters": parameters},
            {"parameters": parameters[:1]},
            {"family": "aurora-postgresql18"},
            "arn",
            deletes_first=True,
        ),
        "SubnetGroup": Case(
            "aws:rds/subnetGroup:SubnetGroup",
            {"name": f"s{number}", "subnetIds": subnets},
            {"subnetIds": subnets[:2]},
            {"name": "other"},
            "vpcId",
            deletes_first=True,
        ),
        "GlobalCluster": Case(
            "aws:rds/globalCluster:GlobalCluster",
            {
                "globalClusterIdentifier": f"w{number}",
                "sourceDbClusterIdentifier": arn,
                "forceDestroy": True,
            },
            {"deletionProtection": True},
            {"globalClusterIdentifier": "other"},
            "globalClusterMembers",
        ),
        "Record": Case(
            "aws:route53/record:Record",
            {
                "zoneId": zone.rpartition("/")[2],
                "name": f"writer.{domain}",
                "type": "CNAME",
                "ttl": 5,
                "records": ["a.example"],
            },
            {"ttl": 9},
            {"name": f"other.{domain}"},
            "fqdn",
        ),
    }


KINDS = ["Cluster", "ClusterInstance", "ClusterParameterGroup", "ParameterGroup"]
KINDS += ["SubnetGroup", "GlobalCluster", "Record"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_type_from_its_creation_to_its_end(plugin: Driver, kind: str) -> None:
    case = _cases(plugin.api)[kind]
    inputs, failures = plugin.check(case.kind, case.inputs)
    assert failures == []
    planned = plugin.create(case.kind, inputs, preview=True)
    assert planned.id == ""
    assert from_struct(planned.properties)[case.computed] == UNKNOWN
    made = plugin.create(case.kind, inputs)
    state = from_struct(made.properties)
    assert state[case.computed] not in (None, UNKNOWN)

    assert plugin.diff(case.kind, state, inputs).changes == NONE
    changed = plugin.diff(case.kind, state, inputs | case.in_place)
    assert (changed.changes, list(changed.replaces)) == (SOME, [])
    replaced = plugin.diff(case.kind, state, inputs | case.replacing)
    assert set(replaced.replaces) == set(case.replacing)
    assert replaced.deleteBeforeReplace == case.deletes_first
    ignored = plugin.diff(case.kind, state, inputs | case.in_place, *case.in_place)
    assert ignored.changes == NONE

    state = plugin.update(case.kind, made.id, state, inputs | case.in_place)
    live = plugin.read(case.kind, made.id, state, inputs | case.in_place)
    assert live.id == made.id
    read, read_inputs = from_struct(live.properties), from_struct(live.inputs)
    assert plugin.diff(case.kind, read, inputs | case.in_place).changes == NONE
    assert plugin.diff(case.kind, read, read_inputs).changes == NONE
    if kind == "GlobalCluster":
        plugin.api.client("rds").modify_global_cluster(
            GlobalClusterIdentifier=made.id, DeletionProtection=False
        )
    for _ in range(2):  # deleting what is gone is fine
        plugin.delete(case.kind, made.id, state)
    assert plugin.read(case.kind, made.id, state, inputs).id == ""


def test_an_unknown_type_is_refused_by_name(plugin: Driver) -> None:
    with pytest.raises(grpc.RpcError, match="aws:s3/bucket:Bucket"):
        plugin.check("aws:s3/bucket:Bucket", {})


def test_wrong_keys_and_missing_ones_are_said_as_the_official_plugin_says_them(
    plugin: Driver,
) -> None:
    kind = "aws:rds/clusterInstance:ClusterInstance"
    _, failures = plugin.check(kind, {"engin": "x", "clusterIdentifier": "c", "engine": "postgres"})
    assert failures == [
        "Invalid or unknown key. Examine values at 'it.engin'.",
        'Missing required argument. The argument "instance_class" is required, but no definition'
        " was found.. Examine values at 'it.instanceClass'.",
    ]


def test_a_restore_block_replaces_unless_it_is_ignored(plugin: Driver) -> None:
    kind = "aws:rds/cluster:Cluster"
    state = {"clusterIdentifier": "c", "engine": "aurora-postgresql", "region": "eu-west-1"}
    restored = state | {"restoreToPointInTime": {"restoreType": "copy-on-write"}}
    assert list(plugin.diff(kind, restored, state).replaces) == ["restoreToPointInTime"]
    assert plugin.diff(kind, restored, state, "restoreToPointInTime").changes == NONE
    unknown = plugin.diff(kind, state, state | {"engine": UNKNOWN})
    assert list(unknown.replaces) == ["engine"]


def test_the_order_of_sets_is_no_change(plugin: Driver) -> None:
    kind = "aws:rds/subnetGroup:SubnetGroup"
    state = {"name": "n", "subnetIds": ["a", "b"]}
    assert plugin.diff(kind, state, state | {"subnetIds": ["b", "a"]}).changes == NONE
