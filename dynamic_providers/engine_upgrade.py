"""`aurora:EngineUpgrade`: the engine version and parameter groups that a cluster runs."""

from __future__ import annotations

import time
from typing import Any

import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen.aws import cluster
from bluegreen.upgrade import engine
from bluegreen.upgrade.engine_version import EngineVersion
from dynamic_providers.props import server as server_of
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only

_INPUTS = (
    "server",
    "databases",
    "engine_version",
    "cluster_parameter_group",
    "instance_parameter_group",
    "timeout_seconds",
)


class EngineUpgradeProvider(Provider):
    """Upgrades in place; deleting it leaves the cluster as it is."""

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the wishes, and the live version with the wished one."""
        found = explicit_diff(olds, news, updates=_INPUTS)
        wanted, actual = news.get("engine_version"), olds.get("engine_version_actual")
        if not contains_unknowns(wanted) and wanted and actual:
            # A newer minor came by AWS's maintenance: nothing that an update could mend.
            behind = EngineVersion.parse(actual) < EngineVersion.parse(wanted)
            found.changes = bool(found.changes or behind)
        return found

    def create(self, props: Props) -> CreateResult:
        """Upgrade where the version isn't reached; what is there already is only verified."""
        return CreateResult(props["server"]["cluster"], _ensured(props, asked_before=None))

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Upgrade to the version asked for now."""
        return UpdateResult(_ensured(news, asked_before=olds.get("engine_version")))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the version that runs; gone when AWS says that the cluster is."""
        server = server_of(props["server"])
        found = cluster.find(server.region, server.cluster)
        if found is None:
            return ReadResult(None, {})
        inputs = {key: props[key] for key in _INPUTS if key in props}
        return ReadResult(id_, {**inputs, "engine_version_actual": found.engine_version}, inputs)

    def delete(self, _id: str, props: Props) -> None:
        """Do nothing: Aurora can't go back to an older version."""


def _ensured(props: Props, *, asked_before: str | None) -> Props:
    wanted = engine.Upgrade(
        server=server_of(props["server"]),
        databases=tuple(props["databases"]),
        version=EngineVersion.parse(props["engine_version"]),
        cluster_parameter_group=props.get("cluster_parameter_group"),
        instance_parameter_group=props.get("instance_parameter_group"),
    )
    actual = engine.ensure(
        wanted,
        asked_before=EngineVersion.parse(asked_before) if asked_before else None,
        deadline=time.monotonic() + float(props["timeout_seconds"]),
    )
    return {**inputs_only(props), "engine_version_actual": actual}


class EngineUpgrade(Resource, module="aurora", name="EngineUpgrade"):
    """The engine version of a cluster, brought about by the RDS API.

    Inputs:
        server: Writer endpoint of the clone, and references to its credentials.
        databases: The databases that get statistics and newer extensions afterwards.
        engine_version: The version that shall run, such as `18.4`.
        cluster_parameter_group: The cluster parameter group of the new family.
        instance_parameter_group: The instance parameter group of the new family.
        timeout_seconds: How long the upgrade may take, in seconds.

    Errors:
        refused: a version that AWS doesn't offer or that can't be reached from the one that runs;
            what `pg_upgrade` would fail on (named): prepared transactions, slots, subscriptions,
            invalid databases, columns that hold numbers of objects; a cluster that serves clients.
        retry: an upgrade that takes longer than `timeout_seconds`; AWS or a server out of reach.
    """

    engine_version_actual: pulumi.Output[str]
    """The version that runs: a newer minor than asked for is no difference."""

    def __init__(
        self,
        name: str,
        *,
        server: pulumi.Input[dict[str, Any]],
        databases: pulumi.Input[list[str]],
        engine_version: pulumi.Input[str],
        cluster_parameter_group: pulumi.Input[str] | None = None,
        instance_parameter_group: pulumi.Input[str] | None = None,
        timeout_seconds: pulumi.Input[float] = 7200,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "server": server,
            "databases": databases,
            "engine_version": engine_version,
            "cluster_parameter_group": cluster_parameter_group,
            "instance_parameter_group": instance_parameter_group,
            "timeout_seconds": timeout_seconds,
            "engine_version_actual": None,
        }
        super().__init__(EngineUpgradeProvider(), name, props, opts)
