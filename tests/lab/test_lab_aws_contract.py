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
    return name


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
    there.modify_db_cluster(DBClusterIdentifier=second, **newer)
    rds.modify_db_cluster(DBClusterIdentifier=primary, **newer)
    assert _describe(rds, primary)["EngineVersion"] == "16.14"


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
