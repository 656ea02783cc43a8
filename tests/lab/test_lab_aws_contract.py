"""Every behaviour in which the lab's AWS differs from plain moto, one test each."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fixtures.aws_api import OTHER_REGION, REGION, AwsApi

_NUMBERS = itertools.count()
ENGINE = "aurora-postgresql"


def _name() -> str:
    return f"k{next(_NUMBERS)}"


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _describe(rds: Any, name: str) -> Any:
    return rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0]


def _cluster(api: AwsApi, *, version: str = "16.14", **more: Any) -> str:
    """Make a cluster with one instance and wait for it."""
    rds, name = api.client("rds"), _name()
    rds.create_db_cluster(
        DBClusterIdentifier=name,
        Engine=ENGINE,
        EngineVersion=version,
        MasterUsername="m",
        MasterUserPassword="password",
        **more,
    )
    rds.create_db_instance(
        DBInstanceIdentifier=f"{name}-1",
        DBClusterIdentifier=name,
        Engine=ENGINE,
        DBInstanceClass="db.r6g.large",
    )
    _until(lambda: _describe(rds, name)["Status"] == "available")
    _until(lambda: _instance(rds, f"{name}-1")["DBInstanceStatus"] == "available")
    return name


def _instance(rds: Any, name: str) -> Any:
    return rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]


def _refused(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404)
    return str(raised.value.response["Error"]["Code"])


def _group(api: AwsApi, family: str = "aurora-postgresql16") -> str:
    name = _name()
    api.client("rds").create_db_cluster_parameter_group(
        DBClusterParameterGroupName=name, DBParameterGroupFamily=family, Description="d"
    )
    return name


def test_an_unknown_action_is_the_callers_error(aws_api: AwsApi) -> None:
    rds = aws_api.client("rds")
    assert _refused(rds.describe_source_regions) == "InvalidAction"


def test_an_identifier_that_is_taken_is_refused_and_the_cluster_kept(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    before = _describe(rds, name)["DbClusterResourceId"]
    arguments = {"Engine": ENGINE, "MasterUsername": "m", "MasterUserPassword": "password"}
    code = _refused(rds.create_db_cluster, DBClusterIdentifier=name, **arguments)
    assert code == "DBClusterAlreadyExistsFault"
    assert _describe(rds, name)["DbClusterResourceId"] == before


@pytest.mark.parametrize("identifier", ["a" * 64, "a_b", "a--b", "a-", "1a"])
def test_what_is_no_identifier_is_refused(aws_api: AwsApi, identifier: str) -> None:
    rds, cluster = aws_api.client("rds"), _cluster(aws_api)
    login = {"MasterUsername": "m", "MasterUserPassword": "password"}
    instance = {"DBClusterIdentifier": cluster, "DBInstanceClass": "db.r6g.large"}
    for call, arguments in (
        (rds.create_db_cluster, {"DBClusterIdentifier": identifier} | login),
        (rds.create_db_instance, {"DBInstanceIdentifier": identifier} | instance),
        (rds.create_global_cluster, {"GlobalClusterIdentifier": identifier}),
    ):
        assert _refused(call, Engine=ENGINE, **arguments) == "InvalidParameterValue"


def test_a_clone_shares_the_group_and_nothing_that_is_the_sources_own(aws_api: AwsApi) -> None:
    rds, source = aws_api.client("rds"), _cluster(aws_api, DeletionProtection=True)
    arn = _describe(rds, source)["DBClusterArn"]
    rds.create_global_cluster(GlobalClusterIdentifier=_name(), SourceDBClusterIdentifier=arn)
    clone = _name()
    rds.restore_db_cluster_to_point_in_time(
        DBClusterIdentifier=clone,
        SourceDBClusterIdentifier=source,
        RestoreType="copy-on-write",
        UseLatestRestorableTime=True,
    )
    made, its = _describe(rds, clone), _describe(rds, source)
    assert made["CloneGroupId"] == its["CloneGroupId"]
    assert not made.get("GlobalClusterIdentifier")
    assert made["DeletionProtection"] is False
    assert made["EngineVersion"] == "16.14"
    assert made["DbClusterResourceId"] != its["DbClusterResourceId"]


def test_a_cluster_can_be_made_again_within_the_minute(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _name()
    arguments = {"Engine": ENGINE, "MasterUsername": "m", "MasterUserPassword": "password"}
    for _ in range(2):
        rds.create_db_cluster(DBClusterIdentifier=name, **arguments)
        rds.delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)


def test_a_final_snapshot_is_asked_about(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    code = _refused(rds.delete_db_cluster, DBClusterIdentifier=name)
    assert code == "InvalidParameterCombination"


def test_a_snapshots_name_is_taken_once_and_backups_stay_where_asked(aws_api: AwsApi) -> None:
    rds, name, snapshot = aws_api.client("rds"), _cluster(aws_api), _name()
    rds.create_db_cluster_snapshot(DBClusterIdentifier=name, DBClusterSnapshotIdentifier=snapshot)
    rds.delete_db_instance(DBInstanceIdentifier=f"{name}-1", SkipFinalSnapshot=True)
    last = {"DBClusterIdentifier": name, "FinalDBSnapshotIdentifier": snapshot}
    assert _refused(rds.delete_db_cluster, **last) == "DBClusterSnapshotAlreadyExistsFault"
    last["FinalDBSnapshotIdentifier"] = _name()
    gone = rds.delete_db_cluster(**last, DeleteAutomatedBackups=False)["DBCluster"]
    kept = rds.describe_db_cluster_automated_backups(DBClusterIdentifier=name)
    assert [one["DbClusterResourceId"] for one in kept["DBClusterAutomatedBackups"]] == [
        gone["DbClusterResourceId"]
    ]


def test_unknown_groups_are_refused(aws_api: AwsApi) -> None:
    rds = aws_api.client("rds")
    code = _refused(
        rds.modify_db_cluster,
        DBClusterIdentifier=_cluster(aws_api),
        DBClusterParameterGroupName="nothere",
    )
    assert code == "DBClusterParameterGroupNotFound"


def test_a_major_upgrade_needs_its_flag_a_target_and_a_fitting_group(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    wish = {"DBClusterIdentifier": name, "EngineVersion": "18.4", "ApplyImmediately": True}
    assert _refused(rds.modify_db_cluster, **wish) == "InvalidParameterCombination"
    wish["AllowMajorVersionUpgrade"] = True
    wrong = wish | {"DBClusterParameterGroupName": _group(aws_api)}
    assert _refused(rds.modify_db_cluster, **wrong) == "InvalidParameterCombination"
    down = wish | {"EngineVersion": "14.18"}
    assert _refused(rds.modify_db_cluster, **down) == "InvalidParameterCombination"
    rds.modify_db_cluster(**wish)
    during = _describe(rds, name)
    assert (during["Status"], during["EngineVersion"]) == ("upgrading", "16.14")
    again = {"DBClusterIdentifier": name, "BackupRetentionPeriod": 3}
    assert _refused(rds.modify_db_cluster, **again) == "InvalidDBClusterStateFault"
    code = _refused(rds.reboot_db_instance, DBInstanceIdentifier=f"{name}-1")
    assert code == "InvalidDBInstanceState"
    _until(lambda: _describe(rds, name)["Status"] == "available")
    found = _describe(rds, name)
    assert found["EngineVersion"] == "18.4"
    assert found["DBClusterParameterGroup"] == "default.aurora-postgresql18"


def test_a_refused_change_keeps_the_cluster(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    with pytest.raises(ClientError):
        rds.modify_db_cluster(DBClusterIdentifier=name, MasterUserPassword="short")
    assert _describe(rds, name)["Status"] == "available"


def test_a_cluster_shows_for_a_while_what_is_done_to_it(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    rds.modify_db_cluster(DBClusterIdentifier=name, BackupRetentionPeriod=3)
    assert _describe(rds, name)["Status"] == "modifying"
    _until(lambda: _describe(rds, name)["Status"] == "available")
    rds.create_db_cluster_snapshot(DBClusterIdentifier=name, DBClusterSnapshotIdentifier=_name())
    assert _describe(rds, name)["Status"] == "backing-up"


def test_a_change_that_is_not_immediate_is_pending(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    rds.modify_db_cluster(
        DBClusterIdentifier=name, EngineVersion="18.4", AllowMajorVersionUpgrade=True
    )
    found = _describe(rds, name)
    assert found["EngineVersion"] == "16.14"
    assert found["PendingModifiedValues"]["EngineVersion"] == "18.4"


def test_static_parameters_wait_for_a_reboot(aws_api: AwsApi) -> None:
    rds, group = aws_api.client("rds"), _group(aws_api)
    name = _cluster(aws_api, DBClusterParameterGroupName=group)
    value = {"ParameterName": "rds.logical_replication", "ParameterValue": "1"}
    rds.modify_db_cluster_parameter_group(
        DBClusterParameterGroupName=group,
        Parameters=[value | {"ApplyMethod": "pending-reboot"}],
    )

    def status() -> str:
        return str(_describe(rds, name)["DBClusterMembers"][0]["DBClusterParameterGroupStatus"])

    assert status() == "pending-reboot"
    rds.reboot_db_instance(DBInstanceIdentifier=f"{name}-1")
    _until(lambda: status() == "in-sync")


def test_a_group_in_use_stays(aws_api: AwsApi) -> None:
    rds, group = aws_api.client("rds"), _group(aws_api)
    _cluster(aws_api, DBClusterParameterGroupName=group)
    code = _refused(rds.delete_db_cluster_parameter_group, DBClusterParameterGroupName=group)
    assert code == "InvalidDBParameterGroupState"


def test_parameters_say_who_set_them_and_can_be_reset(aws_api: AwsApi) -> None:
    rds, group = aws_api.client("rds"), _group(aws_api)
    value = {"ParameterName": "max_wal_senders", "ParameterValue": "20"}
    rds.modify_db_cluster_parameter_group(
        DBClusterParameterGroupName=group, Parameters=[value | {"ApplyMethod": "pending-reboot"}]
    )

    def listed(source: str) -> list[Any]:
        answer = rds.describe_db_cluster_parameters(
            DBClusterParameterGroupName=group, Source=source
        )
        return list(answer["Parameters"])

    assert [(p["Source"], p["ApplyType"]) for p in listed("user")] == [("user", "static")]
    assert listed("system") == []
    rds.reset_db_cluster_parameter_group(
        DBClusterParameterGroupName=group, Parameters=[{"ParameterName": "max_wal_senders"}]
    )
    assert listed("user") == []


def _set(api: AwsApi, group: str, name: str, value: str, method: str) -> None:
    one = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}
    api.client("rds").modify_db_cluster_parameter_group(
        DBClusterParameterGroupName=group, Parameters=[one]
    )


@pytest.mark.parametrize(
    ("name", "value", "method", "code"),
    [
        ("max_wal_senders", "20", "immediate", "InvalidParameterCombination"),
        ("io_method", "worker", "pending-reboot", "InvalidParameterValue"),  # from 18 on
        ("fsync", "0", "immediate", "InvalidParameterValue"),
        ("max_wal_senders", "3", "pending-reboot", "InvalidParameterValue"),
        ("log_statement", "some", "immediate", "InvalidParameterValue"),
        ("shared_preload_libraries", "pgaudit,mine", "pending-reboot", "InvalidParameterValue"),
    ],
)
def test_values_that_a_parameter_cannot_have_are_refused(
    aws_api: AwsApi, name: str, value: str, method: str, code: str
) -> None:
    group = _group(aws_api)
    with pytest.raises(ClientError, match=code):
        _set(aws_api, group, name, value, method)
    rds, instances = aws_api.client("rds"), _name()
    rds.create_db_parameter_group(
        DBParameterGroupName=instances,
        DBParameterGroupFamily="aurora-postgresql16",
        Description="d",
    )
    one = {"ParameterName": name, "ParameterValue": value, "ApplyMethod": method}
    change = {"DBParameterGroupName": instances, "Parameters": [one]}
    assert _refused(rds.modify_db_parameter_group, **change) == code


@pytest.mark.parametrize(
    ("name", "value", "method"),
    [
        ("log_statement", "ddl", "immediate"),
        ("max_connections", "LEAST({DBInstanceClassMemory/9531392},200)", "pending-reboot"),
        ("shared_preload_libraries", "pg_cron, pgaudit", "pending-reboot"),
        ("autovacuum_vacuum_cost_delay", "-1", "pending-reboot"),
    ],
)
def test_values_that_a_parameter_can_have_are_taken(
    aws_api: AwsApi, name: str, value: str, method: str
) -> None:
    _set(aws_api, _group(aws_api), name, value, method)


def test_more_than_twenty_parameters_at_once_are_refused(aws_api: AwsApi) -> None:
    rds, group = aws_api.client("rds"), _group(aws_api)
    one = {"ParameterName": "work_mem", "ParameterValue": "64", "ApplyMethod": "immediate"}
    code = _refused(
        rds.modify_db_cluster_parameter_group,
        DBClusterParameterGroupName=group,
        Parameters=[one] * 21,
    )
    assert code == "InvalidParameterValue"


def test_global_clusters_in_any_region_with_a_writer_and_readers(aws_api: AwsApi) -> None:
    rds, there = aws_api.client("rds"), aws_api.client("rds", OTHER_REGION)
    primary, group, second = _cluster(aws_api), _name(), _name()
    arn = _describe(rds, primary)["DBClusterArn"]
    rds.create_global_cluster(GlobalClusterIdentifier=group, SourceDBClusterIdentifier=arn)
    there.create_db_cluster(
        DBClusterIdentifier=second, Engine=ENGINE, GlobalClusterIdentifier=group
    )
    _until(lambda: _describe(there, second)["Status"] == "available")
    found = rds.describe_global_clusters(GlobalClusterIdentifier=group)["GlobalClusters"][0]
    assert [m["IsWriter"] for m in found["GlobalClusterMembers"]] == [True, False]
    by_member = rds.describe_global_clusters(Filters=[{"Name": "db-cluster-id", "Values": [arn]}])[
        "GlobalClusters"
    ]
    assert [g["GlobalClusterIdentifier"] for g in by_member] == [group]
    assert _describe(there, second)["EngineVersion"] == "16.14"

    leave = {"GlobalClusterIdentifier": group}
    code = _refused(rds.remove_from_global_cluster, DbClusterIdentifier=arn, **leave)
    assert code == "InvalidGlobalClusterStateFault"
    code = _refused(there.delete_db_cluster, DBClusterIdentifier=second, SkipFinalSnapshot=True)
    assert code == "InvalidDBClusterStateFault"
    assert _refused(rds.delete_global_cluster, **leave) == "InvalidGlobalClusterStateFault"
    member = _describe(there, second)["DBClusterArn"]
    for one in (member, arn):
        rds.remove_from_global_cluster(DbClusterIdentifier=one, **leave)
    rds.delete_global_cluster(**leave)
    with pytest.raises(ClientError, match="GlobalClusterNotFoundFault"):
        rds.describe_global_clusters(GlobalClusterIdentifier=group)


def test_a_secondary_of_an_encrypted_primary_names_a_key_of_its_region(aws_api: AwsApi) -> None:
    rds, there = aws_api.client("rds"), aws_api.client("rds", OTHER_REGION)
    primary, group, second = _cluster(aws_api, StorageEncrypted=True), _name(), _name()
    arn = _describe(rds, primary)["DBClusterArn"]
    rds.create_global_cluster(GlobalClusterIdentifier=group, SourceDBClusterIdentifier=arn)
    wish = {
        "DBClusterIdentifier": second,
        "Engine": ENGINE,
        "GlobalClusterIdentifier": group,
        "SourceRegion": REGION,
    }

    def key(region: str) -> str:
        found = aws_api.client("kms", region).describe_key(KeyId="alias/aws/rds")
        return str(found["KeyMetadata"]["Arn"])

    assert _refused(there.create_db_cluster, **wish) == "InvalidParameterCombination"
    code = _refused(there.create_db_cluster, **wish, KmsKeyId=key(REGION))
    assert code == "KMSKeyNotAccessibleFault"
    there.create_db_cluster(**wish, KmsKeyId=key(OTHER_REGION))
    assert _describe(there, second)["StorageEncrypted"]


@pytest.mark.parametrize("key", ["alias/mine", "alias/aws/nothing", "0" * 8, "arn-of-another"])
def test_a_key_that_is_not_there_is_refused(aws_api: AwsApi, key: str) -> None:
    rds, kms = aws_api.client("rds"), aws_api.client("kms")
    if key == "arn-of-another":
        metadata = aws_api.client("kms", OTHER_REGION).create_key()["KeyMetadata"]
        key = metadata["Arn"]
    code = _refused(kms.describe_key, KeyId=key)
    assert code == "NotFoundException"
    login = {"MasterUsername": "m", "MasterUserPassword": "password"}
    wish = {"DBClusterIdentifier": _name(), "Engine": ENGINE, "StorageEncrypted": True}
    code = _refused(rds.create_db_cluster, **wish, **login, KmsKeyId=key)
    assert code == "KMSKeyNotAccessibleFault"


def test_what_is_encrypted_has_a_key_by_its_arn(aws_api: AwsApi) -> None:
    rds, kms = aws_api.client("rds"), aws_api.client("kms")
    own = kms.describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["Arn"]
    mine = kms.create_key()["KeyMetadata"]
    for given, shown in (({}, own), ({"KmsKeyId": mine["KeyId"]}, mine["Arn"])):
        name = _cluster(aws_api, StorageEncrypted=True, **given)
        assert _describe(rds, name)["KmsKeyId"] == shown
    kms.disable_key(KeyId=mine["KeyId"])
    clone = _clone_of(name) | {"KmsKeyId": mine["Arn"]}
    code = _refused(rds.restore_db_cluster_to_point_in_time, **clone)
    assert code == "KMSKeyNotAccessibleFault"
    assert not _describe(rds, _cluster(aws_api)).get("KmsKeyId")


def test_a_secret_is_found_in_its_own_region_alone(aws_api: AwsApi) -> None:
    vault, there = (aws_api.client("secretsmanager", region) for region in (REGION, OTHER_REGION))
    arn = vault.create_secret(Name=_name(), SecretString="{}")["ARN"]
    assert vault.get_secret_value(SecretId=arn)["SecretString"] == "{}"
    assert _refused(there.get_secret_value, SecretId=arn) == "ResourceNotFoundException"


def test_whose_credentials_they_are_is_told_in_each_region(aws_api: AwsApi) -> None:
    said = [aws_api.client("sts", one).get_caller_identity() for one in (REGION, OTHER_REGION)]
    assert said[0]["Account"] == said[1]["Account"]


def _clone_of(source: str) -> dict[str, Any]:
    return {
        "DBClusterIdentifier": _name(),
        "SourceDBClusterIdentifier": source,
        "RestoreType": "copy-on-write",
        "UseLatestRestorableTime": True,
    }


def test_what_no_secondary_can_be_is_refused(aws_api: AwsApi) -> None:
    rds, there = aws_api.client("rds"), aws_api.client("rds", OTHER_REGION)
    primary, group, second = _cluster(aws_api), _name(), _name()
    arn = _describe(rds, primary)["DBClusterArn"]
    rds.create_global_cluster(GlobalClusterIdentifier=group, SourceDBClusterIdentifier=arn)
    joins = {"Engine": ENGINE, "GlobalClusterIdentifier": group}
    for more, code in (
        ({"MasterUsername": "m", "MasterUserPassword": "password"}, "InvalidParameterCombination"),
        ({"DatabaseName": "app"}, "InvalidParameterCombination"),
        ({"EngineVersion": "16.13"}, "InvalidParameterValue"),
    ):
        got = _refused(there.create_db_cluster, DBClusterIdentifier=second, **joins, **more)
        assert got == code
    code = _refused(rds.create_db_cluster, DBClusterIdentifier=second, **joins)
    assert code == "InvalidParameterValue"  # the primary's own Region
    there.create_db_cluster(DBClusterIdentifier=second, **joins)
    code = _refused(there.create_db_cluster, DBClusterIdentifier=_name(), **joins)
    assert code == "InvalidParameterValue"  # it has one there


def test_groups_of_another_family_are_refused_wherever_they_are_named(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    other, instances = _group(aws_api, "aurora-postgresql18"), _name()
    rds.create_db_parameter_group(
        DBParameterGroupName=instances,
        DBParameterGroupFamily="aurora-postgresql18",
        Description="d",
    )
    login = {"MasterUsername": "m", "MasterUserPassword": "password"}
    new = {"DBClusterIdentifier": _name(), "Engine": ENGINE, "EngineVersion": "16.14"} | login
    cluster_group = {"DBClusterParameterGroupName": other}
    reader = {"DBInstanceIdentifier": f"{name}-2", "DBClusterIdentifier": name, "Engine": ENGINE}
    for call, arguments in (
        (rds.create_db_cluster, new | cluster_group),
        (rds.restore_db_cluster_to_point_in_time, _clone_of(name) | cluster_group),
        (rds.modify_db_cluster, {"DBClusterIdentifier": name} | cluster_group),
        (
            rds.create_db_instance,
            reader | {"DBInstanceClass": "db.r6g.large", "DBParameterGroupName": instances},
        ),
        (
            rds.modify_db_instance,
            {"DBInstanceIdentifier": f"{name}-1", "DBParameterGroupName": instances},
        ),
    ):
        assert _refused(call, **arguments) == "InvalidParameterCombination"


@pytest.mark.parametrize(
    "password", ["with/slash", "with@sign", 'with"quote', "with space", "ä" * 8]
)
def test_a_password_that_aws_does_not_take_is_refused(aws_api: AwsApi, password: str) -> None:
    rds = aws_api.client("rds")
    wish = {"DBClusterIdentifier": _name(), "Engine": ENGINE, "MasterUsername": "m"}
    code = _refused(rds.create_db_cluster, **wish, MasterUserPassword=password)
    assert code == "InvalidParameterValue"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("db.nope", False),
        ("r6g.large", False),
        ("db.r6g.nope", False),
        ("db.serverless", True),
        ("db.r6g.16xlarge", True),
        ("db.t4g.medium", True),
        ("db.r8gd.xlarge", True),
    ],
)
def test_classes_are_known_by_their_form(aws_api: AwsApi, name: str, known: bool) -> None:
    rds, cluster = aws_api.client("rds"), _cluster(aws_api)
    change = {"DBInstanceIdentifier": f"{cluster}-1", "DBInstanceClass": name}
    if known:
        rds.modify_db_instance(**change)
        return
    assert _refused(rds.modify_db_instance, **change) == "InvalidParameterValue"
    new = {"DBInstanceIdentifier": _name(), "DBClusterIdentifier": cluster, "Engine": ENGINE}
    assert _refused(rds.create_db_instance, **new, DBInstanceClass=name) == "InvalidParameterValue"


def test_an_instances_group_in_use_stays(aws_api: AwsApi) -> None:
    rds, group, name = aws_api.client("rds"), _name(), _cluster(aws_api)
    rds.create_db_parameter_group(
        DBParameterGroupName=group, DBParameterGroupFamily="aurora-postgresql16", Description="d"
    )
    rds.modify_db_instance(DBInstanceIdentifier=f"{name}-1", DBParameterGroupName=group)
    code = _refused(rds.delete_db_parameter_group, DBParameterGroupName=group)
    assert code == "InvalidDBParameterGroupState"
    rds.delete_db_instance(DBInstanceIdentifier=f"{name}-1", SkipFinalSnapshot=True)
    rds.delete_db_parameter_group(DBParameterGroupName=group)


def test_a_subnet_group_has_two_zones(aws_api: AwsApi) -> None:
    rds, ec2, group = aws_api.client("rds"), aws_api.client("ec2"), _name()
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    in_a, also_in_a, in_b = (
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{letter}"
        )["Subnet"]["SubnetId"]
        for number, letter in enumerate("aab")
    )
    wish = {"DBSubnetGroupName": group, "DBSubnetGroupDescription": "d"}
    few = wish | {"SubnetIds": [in_a, also_in_a]}
    code = "DBSubnetGroupDoesNotCoverEnoughAZs"
    assert _refused(rds.create_db_subnet_group, **few) == code
    rds.create_db_subnet_group(**wish, SubnetIds=[in_a, in_b])
    assert _refused(rds.modify_db_subnet_group, **few) == code


def test_a_cluster_without_instances_cannot_be_cloned(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    rds.delete_db_instance(DBInstanceIdentifier=f"{name}-1", SkipFinalSnapshot=True)
    code = _refused(rds.restore_db_cluster_to_point_in_time, **_clone_of(name))
    assert code == "InvalidDBClusterStateFault"


def test_an_instance_shows_for_a_while_what_is_done_to_it(aws_api: AwsApi) -> None:
    rds, name = aws_api.client("rds"), _cluster(aws_api)
    seen: list[str] = []

    def watched(identifier: str) -> list[str]:
        seen.clear()

        def settled() -> bool:
            status = _instance(rds, identifier)["DBInstanceStatus"]
            if status not in seen:
                seen.append(status)
            return bool(status == "available")

        _until(settled)
        return seen

    rds.create_db_instance(
        DBInstanceIdentifier=f"{name}-2",
        DBClusterIdentifier=name,
        Engine=ENGINE,
        DBInstanceClass="db.r6g.large",
        MonitoringInterval=60,
        MonitoringRoleArn="arn:aws:iam::123456789012:role/monitoring",
    )
    assert watched(f"{name}-2") == ["creating", "configuring-enhanced-monitoring", "available"]
    rds.modify_db_instance(DBInstanceIdentifier=f"{name}-2", PromotionTier=3)
    assert watched(f"{name}-2") == ["modifying", "available"]


def test_a_primary_is_patched_after_its_secondaries(aws_api: AwsApi) -> None:
    rds, there = aws_api.client("rds"), aws_api.client("rds", OTHER_REGION)
    primary, group, second = _cluster(aws_api, version="16.13"), _name(), _name()
    arn = _describe(rds, primary)["DBClusterArn"]
    rds.create_global_cluster(GlobalClusterIdentifier=group, SourceDBClusterIdentifier=arn)
    there.create_db_cluster(
        DBClusterIdentifier=second, Engine=ENGINE, GlobalClusterIdentifier=group
    )
    newer = {"EngineVersion": "16.14", "ApplyImmediately": True}
    code = _refused(rds.modify_db_cluster, DBClusterIdentifier=primary, **newer)
    assert code == "InvalidParameterCombination"
    for client, member in ((there, second), (rds, primary)):
        client.modify_db_cluster(DBClusterIdentifier=member, **newer)
        _until(lambda: _describe(client, member)["EngineVersion"] == "16.14")  # noqa: B023
    major = {"EngineVersion": "18.4", "AllowMajorVersionUpgrade": True, "ApplyImmediately": True}
    _until(lambda: _describe(rds, primary)["Status"] == "available")
    code = _refused(rds.modify_db_cluster, DBClusterIdentifier=primary, **major)
    assert code == "InvalidParameterCombination"


def test_versions_name_their_targets(aws_api: AwsApi) -> None:
    rds = aws_api.client("rds")
    found = rds.describe_db_engine_versions(Engine=ENGINE, EngineVersion="16.14")
    (version,) = found["DBEngineVersions"]
    assert version["DBParameterGroupFamily"] == "aurora-postgresql16"
    targets = {
        t["EngineVersion"]: t["IsMajorVersionUpgrade"] for t in version["ValidUpgradeTarget"]
    }
    assert targets == {"17.6": True, "18.4": True}


def test_a_version_that_nobody_can_make_any_more_is_described_on_request(
    aws_api: AwsApi,
) -> None:
    rds = aws_api.client("rds")
    asked = {"Engine": ENGINE, "EngineVersion": "16.10"}
    assert rds.describe_db_engine_versions(**asked)["DBEngineVersions"] == []
    (found,) = rds.describe_db_engine_versions(**asked, IncludeAll=True)["DBEngineVersions"]
    assert "16.14" in {target["EngineVersion"] for target in found["ValidUpgradeTarget"]}
    login = {"MasterUsername": "m", "MasterUserPassword": "password"}
    code = _refused(rds.create_db_cluster, DBClusterIdentifier=_name(), **asked, **login)
    assert code == "InvalidParameterCombination"


def _zone(api: AwsApi) -> tuple[Any, str, str]:
    route53, domain = api.client("route53"), f"{_name()}.internal"
    zone = route53.create_hosted_zone(Name=domain, CallerReference=domain)["HostedZone"]["Id"]
    return route53, zone, domain


def _change(action: str, name: str, value: str, ttl: int = 5) -> dict[str, Any]:
    record = {"Name": name, "Type": "CNAME", "TTL": ttl, "ResourceRecords": [{"Value": value}]}
    return {"Action": action, "ResourceRecordSet": record}


def test_a_batch_of_records_is_all_or_nothing(aws_api: AwsApi) -> None:
    route53, zone, domain = _zone(aws_api)

    def send(*changes: dict[str, Any]) -> Any:
        return route53.change_resource_record_sets(
            HostedZoneId=zone, ChangeBatch={"Changes": list(changes)}
        )

    writer, reader = f"writer.{domain}", f"reader.{domain}"
    change = send(_change("CREATE", writer, "a.example"))["ChangeInfo"]["Id"]
    assert route53.get_change(Id=change)["ChangeInfo"]["Status"] == "INSYNC"
    for wrong in (
        _change("CREATE", writer, "b.example"),
        _change("DELETE", writer, "b.example"),
        _change("UPSERT", "writer.elsewhere", "b.example"),
    ):
        with pytest.raises(ClientError, match="InvalidChangeBatch"):
            send(_change("UPSERT", reader, "r.example"), wrong)
    records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert [r["Name"] for r in records if r["Type"] == "CNAME"] == [f"{writer}."]
    with pytest.raises(ClientError, match="NoSuchChange"):
        route53.get_change(Id="C0000000000")


def test_the_log_has_every_call_and_no_password(aws_api: AwsApi) -> None:
    name = _cluster(aws_api)
    lines = [json.loads(line) for line in aws_api.log.read_text().splitlines()]
    made = [
        line
        for line in lines
        if line["operation"] == "CreateDBCluster"
        and line["parameters"].get("DBClusterIdentifier") == name
    ]
    assert len(made) == 1
    assert made[0]["parameters"]["MasterUserPassword"] == "***"
    assert (made[0]["service"], made[0]["region"]) == ("rds", "eu-west-1")


def test_batches_that_come_at_once_all_count(aws_api: AwsApi) -> None:
    route53, zone, domain = _zone(aws_api)
    names = [f"n{number}.{domain}" for number in range(40)]

    def create(name: str) -> None:
        change = _change("CREATE", name, "a.example")
        route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch={"Changes": [change]})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, names))
    records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert {r["Name"].rstrip(".") for r in records if r["Type"] == "CNAME"} == set(names)
