"""What the stand-in AWS plugin refuses at preview, and how it tells differences: by the table.

The texts are those that were recorded from the official plugin's parts.
"""

from __future__ import annotations

from typing import Any

import pytest

from lab.aws_plugin.check import check
from lab.aws_plugin.diff import Kind, compare
from lab.aws_plugin.types import SPECS
from lab.aws_plugin.values import UNKNOWN

CLUSTER = "rds/cluster:Cluster"
INSTANCE = "rds/clusterInstance:ClusterInstance"
GROUP = "rds/clusterParameterGroup:ClusterParameterGroup"
INSTANCE_GROUP = "rds/parameterGroup:ParameterGroup"
SUBNETS = "rds/subnetGroup:SubnetGroup"
GLOBAL = "rds/globalCluster:GlobalCluster"
RECORD = "route53/record:Record"

ENOUGH: dict[str, dict[str, Any]] = {
    CLUSTER: {"clusterIdentifier": "c", "engine": "aurora-postgresql"},
    INSTANCE: {
        "clusterIdentifier": "c",
        "engine": "aurora-postgresql",
        "identifier": "i",
        "instanceClass": "db.r6g.large",
    },
    GROUP: {"family": "aurora-postgresql16", "name": "g"},
    INSTANCE_GROUP: {"family": "aurora-postgresql16", "name": "g"},
    SUBNETS: {"name": "s", "subnetIds": ["subnet-1"]},
    GLOBAL: {"globalClusterIdentifier": "w"},
    RECORD: {"name": "x", "records": ["a"], "ttl": 5, "type": "CNAME", "zoneId": "Z1"},
}


def _failures(kind: str, inputs: dict[str, Any]) -> list[str]:
    return sorted(check(SPECS[f"aws:{kind}"], "it", {}, inputs, "eu-west-1", {})[1])


@pytest.mark.parametrize("kind", ENOUGH)
def test_what_is_right_is_taken(kind: str) -> None:
    assert _failures(kind, ENOUGH[kind]) == []
    everything = dict.fromkeys(ENOUGH[kind], UNKNOWN)
    assert _failures(kind, everything) == []  # nothing is judged before it is known


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        (
            RECORD,
            {"records": None, "ttl": None},
            [
                ("aliases", 'Invalid combination of arguments. "alias": one of `alias,records` must'
                 " be specified"),
                ("records", 'Invalid combination of arguments. "records": one of `alias,records`'
                 " must be specified"),
            ],
        ),
        (
            CLUSTER,
            {"engine": "oracle"},
            [
                ("engine", 'expected engine to be one of ["aurora-mysql" "aurora-postgresql"'
                 ' "mysql" "postgres"], got oracle'),
                ("engine", "invalid value for engine (must begin with custom-)"),
            ],
        ),
        (
            CLUSTER,
            {"engine": None},
            [
                ("engine", 'Missing required argument. The argument "engine" is required, but no'
                 " definition was found."),
            ],
        ),
        (
            SUBNETS,
            {"name": "UPPER_x"},
            [
                ("name", "only lowercase alphanumeric characters, hyphens, underscores, periods,"
                 ' and spaces allowed in "name"'),
            ],
        ),
        (
            GROUP,
            {"name": "Bad Name"},
            [
                ("name", 'first character of parameter group "name" must be a letter'),
                ("name", "only lowercase alphanumeric characters, periods, and hyphens allowed in"
                 ' parameter group "name"'),
            ],
        ),
        (
            GROUP,
            {"parameters": [{"applyMethod": "sometimes", "name": "x", "value": "1"}]},
            [
                ("parameters", 'expected apply_method to be one of ["immediate" "pending-reboot"],'
                 " got sometimes"),
            ],
        ),
        (
            GROUP,
            {"namePrefix": "g-"},
            [
                ("name", 'Conflicting configuration arguments. "name": conflicts with name_prefix'),
                ("namePrefix", 'Conflicting configuration arguments. "name_prefix": conflicts with'
                 " name"),
            ],
        ),
        (GROUP, {"skipDestroy": True}, [("skipDestroy", "Invalid or unknown key")]),
        (INSTANCE_GROUP, {"skipDestroy": True}, []),
        (
            INSTANCE,
            {"identifier": "Bad_ID"},
            [
                ("identifier", 'first character of "identifier" must be a letter'),
                ("identifier", "only lowercase alphanumeric characters and hyphens allowed in"
                 ' "identifier"'),
            ],
        ),
        (
            GLOBAL,
            {"sourceDbClusterIdentifier": "arn"},
            [
                ("sourceDbClusterIdentifier", 'Missing required argument.'
                 ' "source_db_cluster_identifier": all of'
                 " `force_destroy,source_db_cluster_identifier` must be specified"),
            ],
        ),
        (GLOBAL, {"sourceDbClusterIdentifier": "arn", "forceDestroy": True}, []),
        (
            CLUSTER,
            {"masterPassword": "p", "manageMasterUserPassword": True},
            [
                ("manageMasterUserPassword", "Conflicting configuration arguments."
                 ' "manage_master_user_password": conflicts with master_password'),
                ("masterPassword", "Conflicting configuration arguments."
                 ' "master_password": conflicts with manage_master_user_password'),
            ],
        ),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_in_the_official_words(
    kind: str, more: dict[str, Any], said: list[tuple[str, str]]
) -> None:
    expected = sorted(f"{text}. Examine values at 'it.{name}'." for name, text in said)
    assert _failures(kind, ENOUGH[kind] | more) == expected


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (RECORD, {"ttl": "five"}),
        (RECORD, {"type": "NONE"}),
        (CLUSTER, {"backupRetentionPeriod": 36}),
        (CLUSTER, {"clusterIdentifier": "a--b"}),
        (CLUSTER, {"clusterIdentifier": "a-"}),
        (CLUSTER, {"finalSnapshotIdentifier": "a_b"}),
        (INSTANCE, {"promotionTier": 16}),
        (INSTANCE, {"monitoringInterval": 7}),
    ],
)
def test_more_is_refused_of_which_the_words_are_not_known(kind: str, more: dict[str, Any]) -> None:
    assert len(_failures(kind, ENOUGH[kind] | more)) == 1


def test_tags_of_the_provider_come_to_those_of_the_resource() -> None:
    spec, given = SPECS[f"aws:{GROUP}"], ENOUGH[GROUP] | {"tags": {"a": "mine"}}
    inputs, _ = check(spec, "it", {}, given, "eu-west-1", {"a": "theirs", "b": "theirs"})
    assert inputs["tags"] == {"a": "mine"}
    assert inputs["tagsAll"] == {"a": "mine", "b": "theirs"}


def _log(value: str) -> dict[str, str]:
    return {"name": "log_statement", "value": value, "applyMethod": "immediate"}


_LOGICAL = {"name": "rds.logical_replication", "value": "1", "applyMethod": "pending-reboot"}


@pytest.mark.parametrize(
    ("kind", "old", "new", "paths", "replaces"),
    [
        (CLUSTER, {"storageEncrypted": True}, {"storageEncrypted": False},
         {"storageEncrypted": Kind.UPDATE}, True),
        (CLUSTER, {"storageEncrypted": True}, {}, {}, False),
        (CLUSTER, {"skipFinalSnapshot": True}, {"skipFinalSnapshot": False},
         {"skipFinalSnapshot": Kind.UPDATE}, False),
        (CLUSTER, {"deletionProtection": False}, {"deletionProtection": True},
         {"deletionProtection": Kind.UPDATE}, False),
        (CLUSTER, {"deletionProtection": True}, {}, {"deletionProtection": Kind.DELETE}, False),
        (CLUSTER, {}, {"finalSnapshotIdentifier": "fs"},
         {"finalSnapshotIdentifier": Kind.ADD}, False),
        (CLUSTER, {"globalClusterIdentifier": ""}, {"globalClusterIdentifier": "w"},
         {"globalClusterIdentifier": Kind.UPDATE}, False),
        (CLUSTER, {"vpcSecurityGroupIds": ["sg-0"]}, {"vpcSecurityGroupIds": ["sg-1", "sg-2"]},
         {"vpcSecurityGroupIds[0]": Kind.UPDATE, "vpcSecurityGroupIds[1]": Kind.ADD}, False),
        (CLUSTER, {"availabilityZones": ["a", "b", "c"]}, {"availabilityZones": ["b", "a"]},
         {"availabilityZones[2]": Kind.DELETE}, True),
        (INSTANCE, {"promotionTier": 1}, {"promotionTier": 0},
         {"promotionTier": Kind.UPDATE}, False),
        (SUBNETS, {"subnetIds": ["a", "b", "c"]}, {"subnetIds": ["c", "b"]},
         {"subnetIds[0]": Kind.DELETE}, False),
        (GROUP, {"parameters": [_log("ddl"), _LOGICAL]}, {"parameters": [_LOGICAL, _log("all")]},
         {"parameters[0]": Kind.DELETE, "parameters[1]": Kind.ADD}, False),
        (GROUP, {"parameters": [_log("ddl")]}, {"parameters": [_log("all")]},
         {"parameters[0].value": Kind.UPDATE}, False),
        (GROUP, {"parameters": [_log("ddl"), _LOGICAL]}, {"parameters": [_LOGICAL, _log("ddl")]},
         {}, False),
        (GROUP, {"parameters": [_LOGICAL]}, {}, {"parameters": Kind.DELETE}, False),
        (RECORD, {"records": ["a"]}, {"records": ["b"]}, {"records[0]": Kind.UPDATE}, False),
    ],
)  # fmt: skip
def test_differences_are_told_as_the_official_plugin_tells_them(
    kind: str, old: dict[str, Any], new: dict[str, Any], paths: dict[str, Kind], replaces: bool
) -> None:
    found = compare(SPECS[f"aws:{kind}"], old, new, [])
    more = 1 if replaces else 0
    assert found.detailed == {path: one.value + more for path, one in paths.items()}
    assert bool(found.replaces) == replaces
