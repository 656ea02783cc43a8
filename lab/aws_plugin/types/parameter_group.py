"""aws:rds/clusterParameterGroup:ClusterParameterGroup and aws:rds/parameterGroup:ParameterGroup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from lab.aws_plugin import rules
from lab.aws_plugin.errors import code, doing
from lab.aws_plugin.spec import Aws, Made, Spec, names
from lab.aws_plugin.types import tagging
from lab.aws_plugin.values import Props

_AT_ONCE = 20  # parameters in one request, AWS's own limit


@dataclass(frozen=True, slots=True)
class _Calls:
    """The same five calls under two names each."""

    what: str
    key: str
    create: str
    modify: str
    reset: str
    delete: str
    describe: str
    listed: str
    values: str
    arn: str


_CLUSTER = _Calls(
    what="RDS Cluster Parameter Group",
    key="DBClusterParameterGroupName",
    create="create_db_cluster_parameter_group",
    modify="modify_db_cluster_parameter_group",
    reset="reset_db_cluster_parameter_group",
    delete="delete_db_cluster_parameter_group",
    describe="describe_db_cluster_parameter_groups",
    listed="DBClusterParameterGroups",
    values="describe_db_cluster_parameters",
    arn="DBClusterParameterGroupArn",
)
_INSTANCE = _Calls(
    what="RDS DB Parameter Group",
    key="DBParameterGroupName",
    create="create_db_parameter_group",
    modify="modify_db_parameter_group",
    reset="reset_db_parameter_group",
    delete="delete_db_parameter_group",
    describe="describe_db_parameter_groups",
    listed="DBParameterGroups",
    values="describe_db_parameters",
    arn="DBParameterGroupArn",
)


class _Group:
    def __init__(self, calls: _Calls) -> None:
        self._calls = calls

    def create(self, aws: Aws, news: Props, made: Made) -> None:
        rds, calls = aws.client("rds", news.get("region")), self._calls
        with doing(f"creating {calls.what} ({news['name']})"):
            getattr(rds, calls.create)(
                **{calls.key: news["name"]},
                DBParameterGroupFamily=news["family"],
                Description=news.get("description") or "Managed by Pulumi",
                Tags=tagging.as_list(news),
            )
        made(news["name"])
        with doing(f"modifying {calls.what} ({news['name']})"):
            self._send(rds, news["name"], news.get("parameters") or [])

    def read(self, aws: Aws, identity: str, known: Props) -> Props | None:
        rds, calls = aws.client("rds", known.get("region")), self._calls
        try:
            groups = getattr(rds, calls.describe)(**{calls.key: identity})[calls.listed]
        except ClientError as error:
            if "NotFound" in error.response["Error"]["Code"]:
                return None
            raise
        if not groups:
            return None
        found = groups[0]
        arn = found[calls.arn]
        listed = getattr(rds, calls.values)(**{calls.key: identity}, Source="user")["Parameters"]
        tags = rds.list_tags_for_resource(ResourceName=arn)["TagList"]
        live = {
            "arn": arn,
            "description": found["Description"],
            "family": found["DBParameterGroupFamily"],
            "name": found[calls.key],
            "parameters": [
                {
                    "name": value["ParameterName"],
                    "value": value.get("ParameterValue", ""),
                    "applyMethod": value.get("ApplyMethod", "immediate"),
                }
                for value in listed
            ],
            "region": arn.split(":")[3],
        }
        return live | tagging.as_map(aws, tags, known)

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        old = {item["name"]: item for item in olds.get("parameters") or []}
        new = {item["name"]: item for item in news.get("parameters") or []}
        changed = [item for name, item in new.items() if not _same(old.get(name), item)]
        gone = [_request(item) for name, item in old.items() if name not in new]
        with doing(f"modifying {self._calls.what} ({identity})"):
            self._send(rds, identity, changed)
            for few in batched(gone):
                getattr(rds, self._calls.reset)(**{self._calls.key: identity}, Parameters=few)
        tagging.update(rds, olds.get("arn") or "", olds, news)

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        rds = aws.client("rds", olds.get("region"))
        if self.read(aws, identity, olds) is None:
            return
        with doing(f"deleting {self._calls.what} ({identity})"):
            aws.patiently(
                lambda: getattr(rds, self._calls.delete)(**{self._calls.key: identity}),
                lambda error: code(error) == "InvalidDBParameterGroupState",
                minutes=3,
            )

    def _send(self, rds: Any, name: str, parameters: list[Props]) -> None:
        for few in batched([_request(item) for item in parameters]):
            getattr(rds, self._calls.modify)(**{self._calls.key: name}, Parameters=few)


def batched(parameters: list[dict[str, str]]) -> list[list[dict[str, str]]]:
    """Return parameters in as many requests as they need."""
    return [parameters[n : n + _AT_ONCE] for n in range(0, len(parameters), _AT_ONCE)]


def _request(item: Props) -> dict[str, str]:
    return {
        "ParameterName": item["name"],
        "ParameterValue": str(item["value"]),
        "ApplyMethod": item.get("applyMethod", "immediate"),
    }


def _same(old: Props | None, new: Props) -> bool:
    return old is not None and _request(old) == _request(new)


def _spec(calls: _Calls, *more: str) -> Spec:
    return Spec(
        operations=_Group(calls),
        required=names("family"),
        optional=names("description name namePrefix parameters") | frozenset(more),
        computed=names("description name namePrefix"),
        outputs=names("arn"),
        replaces=names("description family name namePrefix"),
        sets=names("parameters"),
        autonamed=True,
        rules=(
            rules.group_name("name"),
            rules.apart("name", "namePrefix"),
            rules.apply_methods,
        ),
    )


CLUSTER_SPEC = _spec(_CLUSTER)
INSTANCE_SPEC = _spec(_INSTANCE, "skipDestroy")
