"""AWS calls: each that the library sends, with the smallest arguments that an answer needs.

RDS has no dry run. A call that changes something is sent by `--write` only, and to a name that
nothing has: who may not send it is told so before AWS looks for the name. A policy that allows it
for some names only refuses this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bluegreen.aws.clients import client
from bluegreen.aws.dns import plain
from bluegreen.probe.row import AwsRow, Mode, Place, Verdict, differs, works

_NO_ZONE = "needs --zone"

# What `bluegreen.aws.cluster` reads without a default.
_CLUSTER_KEYS = (
    "DBClusterIdentifier",
    "DBClusterArn",
    "DbClusterResourceId",
    "Status",
    "Engine",
    "EngineVersion",
    "ClusterCreateTime",
)
_MEMBER_KEYS = ("DBInstanceIdentifier", "IsClusterWriter", "DBClusterParameterGroupStatus")


def _lacking(found: Mapping[str, Any], keys: tuple[str, ...]) -> Verdict:
    missing = [key for key in keys if found.get(key) is None]
    return differs(f"lacks {', '.join(missing)}") if missing else works()


def _cluster(answer: Mapping[str, Any]) -> Verdict:
    found = answer["DBClusters"][0]
    judged = _lacking(found, _CLUSTER_KEYS)
    members = found.get("DBClusterMembers", ())
    if judged.said or not members:
        return judged if judged.said else differs("lacks members")
    return _lacking(members[0], _MEMBER_KEYS)


def _account(answer: Mapping[str, Any]) -> Verdict:
    return works() if answer.get("Account") else differs("lacks Account")


def _instance(answer: Mapping[str, Any]) -> Verdict:
    return _lacking(answer["DBInstances"][0], ("DBInstanceIdentifier", "DBInstanceStatus"))


def _versions(answer: Mapping[str, Any]) -> Verdict:
    found = answer["DBEngineVersions"]
    if not found:
        return differs("no version: AWS does not list the one that the cluster runs")
    targets = [one for version in found for one in version.get("ValidUpgradeTarget", ())]
    return works(f"{len(targets)} targets of an upgrade")


def _parameters(answer: Mapping[str, Any]) -> Verdict:
    names = {one["ParameterName"] for one in answer["Parameters"]}
    return works() if names else differs("no parameters")


def _secret(answer: Mapping[str, Any]) -> Verdict:
    try:
        kept = json.loads(answer["SecretString"])
    except (KeyError, ValueError):
        return differs("is no JSON")
    missing = [key for key in ("username", "password") if key not in kept]
    return differs(f"lacks {', '.join(missing)}") if missing else works()


def _anything(answer: Any) -> Verdict:
    del answer
    return works()


def _done_anyway(answer: Any) -> Verdict:
    del answer
    return differs("taken, expected to be refused")


def _described(place: Place, *keys: str) -> Mapping[str, Any] | str:
    """Return what the cluster's description has under `keys`, or why that can't be asked."""
    if place.described is None:
        return "DescribeDBClusters gave no answer"
    return {key: place.described.get(key) for key in keys}


def _writer(place: Place) -> Mapping[str, Any] | str:
    for member in (place.described or {}).get("DBClusterMembers", ()):
        if member.get("IsClusterWriter"):
            return {"DBInstanceIdentifier": member["DBInstanceIdentifier"]}
    return "the cluster has no writer"


def _group(place: Place) -> Mapping[str, Any] | str:
    found = _described(place, "DBClusterParameterGroup")
    if isinstance(found, str):
        return found
    return {"DBClusterParameterGroupName": found["DBClusterParameterGroup"]}


def _family(place: Place) -> Mapping[str, Any] | str:
    found = _described(place, "EngineVersion")
    if isinstance(found, str):
        return found
    major = str(found["EngineVersion"]).partition(".")[0]
    return {"DBParameterGroupFamily": f"aurora-postgresql{major}", "MaxRecords": 20}


def _family_parameters(answer: Mapping[str, Any]) -> Verdict:
    found = answer["EngineDefaults"].get("Parameters", ())
    lacking = [one for one in found if not {"ParameterName", "ApplyType"} <= one.keys()]
    return works() if found and not lacking else differs("no parameters with their types")


def _orderable(place: Place) -> Mapping[str, Any] | str:
    found = _described(place, "Engine", "EngineVersion")
    return found if isinstance(found, str) else {**found, "MaxRecords": 20}


def _classes(answer: Mapping[str, Any]) -> Verdict:
    found = answer["OrderableDBInstanceOptions"]
    if not found:
        return differs("no options: AWS does not offer the version that the cluster runs")
    judged = _lacking(found[0], ("DBInstanceClass", "SupportsGlobalDatabases"))
    return judged if judged.said else works(f"{len(found)} options on a page")


def _zone(place: Place, key: str, **more: Any) -> Mapping[str, Any] | str:
    return _NO_ZONE if place.zone_id is None else {key: place.zone_id, **more}


def _record(place: Place) -> dict[str, Any]:
    """Return a record of the probe's own, which leads nowhere."""
    found = client("route53", place.region).get_hosted_zone(Id=place.zone_id)
    return {
        "Name": f"_{place.unused.replace('_', '-')}.{plain(found['HostedZone']['Name'])}",
        "Type": "TXT",
        "TTL": 60,
        "ResourceRecords": [{"Value": '"bluegreen probe"'}],
    }


def _batch(place: Place) -> Mapping[str, Any] | str:
    if place.zone_id is None:
        return _NO_ZONE
    change = {"Action": "UPSERT", "ResourceRecordSet": _record(place)}
    return {"HostedZoneId": place.zone_id, "ChangeBatch": {"Changes": [change, change]}}


def _take_back(place: Place) -> None:
    """Delete the record of a batch that was taken."""
    change = {"Action": "DELETE", "ResourceRecordSet": _record(place)}
    client("route53", place.region, once=True).change_resource_record_sets(
        HostedZoneId=place.zone_id, ChangeBatch={"Changes": [change]}
    )


def _changing(what: str, method: str, code: str, settles: str, **arguments: Any) -> AwsRow:
    """Return a call that changes something, to a name that nothing has: the first argument's."""
    name, *_ = arguments
    return AwsRow(
        what=what,
        service="rds",
        method=method,
        right=f"{code}: it may be sent, and there is none of this name",
        settles=settles,
        arguments=lambda place: arguments | {name: place.unused.replace("_", "-")},
        judge=_done_anyway,
        answers=(code,),
        mode=Mode.WRITE,
    )


ROWS: tuple[AwsRow, ...] = (
    AwsRow(
        what="describe the cluster",
        service="rds",
        method="describe_db_clusters",
        right="one cluster, with every field that is read",
        settles="A cluster counts as gone only when AWS says so.",
        arguments=lambda place: {"DBClusterIdentifier": place.cluster},
        judge=_cluster,
    ),
    AwsRow(
        what="the account",
        service="sts",
        method="get_caller_identity",
        right="an account, which is not shown",
        settles="A cluster that is not found may be in another account, and is not gone then.",
        arguments=lambda _: {},
        judge=_account,
    ),
    AwsRow(
        what="describe its writer",
        service="rds",
        method="describe_db_instances",
        right="one instance, with its status",
        settles="Available means that the writer is, too.",
        arguments=_writer,
        judge=_instance,
    ),
    AwsRow(
        what="versions that it can be upgraded to",
        service="rds",
        method="describe_db_engine_versions",
        right="the version that it runs, with its targets",
        settles="An upgrade's target is looked up. A version that can't be created any more may"
        " be missing.",
        arguments=lambda place: _engine(place),
        judge=_versions,
    ),
    AwsRow(
        what="parameters of its group",
        service="rds",
        method="describe_db_cluster_parameters",
        right="a page of parameters",
        settles="A reboot for a parameter that is in no group would be for nothing.",
        arguments=_group,
        judge=_parameters,
    ),
    AwsRow(
        what="global databases",
        service="rds",
        method="describe_global_clusters",
        right="an answer: none need to be there",
        settles="A member of a global database is patched after its secondaries.",
        arguments=lambda _: {"MaxRecords": 20},
        judge=_anything,
    ),
    AwsRow(
        what="parameters of the engine's family",
        service="rds",
        method="describe_engine_default_cluster_parameters",
        right="a page of parameters, with their types",
        settles="Which parameters there are, what they may be, and which need a reboot.",
        arguments=_family,
        judge=_family_parameters,
    ),
    AwsRow(
        what="instance classes of its version",
        service="rds",
        method="describe_orderable_db_instance_options",
        right="options, each with its class",
        settles="A class that isn't offered is refused before anything is made.",
        arguments=_orderable,
        judge=_classes,
    ),
    AwsRow(
        what="the secret that opens it",
        service="secretsmanager",
        method="get_secret_value",
        right="JSON with username and password, which are not shown",
        settles="Logins are fetched anew for every connection.",
        arguments=lambda place: (
            "needs --admin-secret-arn"
            if place.secret_arn is None
            else {"SecretId": place.secret_arn}
        ),
        judge=_secret,
    ),
    AwsRow(
        what="a token of IAM",
        service="rds",
        method="generate_db_auth_token",
        right="a token, which is not shown; made without asking AWS",
        settles="credentials.admin_iam_user.",
        arguments=lambda place: {
            "DBHostname": place.host,
            "Port": place.port,
            "DBUsername": place.unused,
            "Region": place.region,
        },
        judge=_anything,
    ),
    AwsRow(
        what="the hosted zone",
        service="route53",
        method="get_hosted_zone",
        right="the zone",
        settles="Names are looked at before the fence.",
        arguments=lambda place: _zone(place, "Id"),
        judge=_anything,
    ),
    AwsRow(
        what="its records",
        service="route53",
        method="list_resource_record_sets",
        right="records",
        settles="The same.",
        arguments=lambda place: _zone(place, "HostedZoneId", MaxItems="1"),
        judge=_anything,
    ),
    AwsRow(
        what="a batch that has a record twice: TXT, of the probe's own",
        service="route53",
        method="change_resource_record_sets",
        right="InvalidChangeBatch: permitted, and nothing is changed",
        settles="A switch asks for its permission so, before the fence.",
        arguments=_batch,
        judge=_done_anyway,
        answers=("InvalidChangeBatch",),
        mode=Mode.WRITE,
        after=_take_back,
    ),
    AwsRow(
        what="how far a change of records is",
        service="route53",
        method="get_change",
        right="NoSuchChange: it may be asked, and there is none of this name",
        settles="After a switch pulumi up says when the names are in sync.",
        arguments=lambda place: _NO_ZONE if place.zone_id is None else {"Id": "C0BLUEGREENPROBE"},
        judge=_anything,
        answers=("NoSuchChange",),
    ),
    _changing(
        "modify a cluster",
        "modify_db_cluster",
        "DBClusterNotFoundFault",
        "The upgrade, and parameter groups.",
        DBClusterIdentifier="",
        ApplyImmediately=True,
    ),
    _changing(
        "modify an instance",
        "modify_db_instance",
        "DBInstanceNotFound",
        "An instance's parameter group.",
        DBInstanceIdentifier="",
        ApplyImmediately=True,
    ),
    _changing(
        "reboot an instance",
        "reboot_db_instance",
        "DBInstanceNotFound",
        "environment.allow_reboot.",
        DBInstanceIdentifier="",
    ),
)


def _engine(place: Place) -> Mapping[str, Any] | str:
    return _described(place, "Engine", "EngineVersion")
