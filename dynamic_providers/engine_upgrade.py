"""`aurora:EngineUpgrade`: the engine version and parameter groups that a cluster runs."""

from __future__ import annotations

import time
from typing import Annotated, NotRequired, TypedDict, Unpack

import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen.postgres.server import Server
from bluegreen.upgrade import engine
from bluegreen.upgrade.engine_version import EngineVersion
from bluegreen.upgrade.parameters import AllowReboot
from dynamic_providers.inputs import UPDATES, Default, Value, properties
from dynamic_providers.provider import Props, Provider, inputs_only
from dynamic_providers.value_types import NamesInput, SecondsInput, ServerInput, Version
from dynamic_providers.values import Values


class EngineUpgradeInputs(TypedDict):
    """The version that a cluster is to run, and its groups."""

    server: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the cluster, and references to its credentials."""
    databases: Annotated[NamesInput, UPDATES]
    """The databases that get statistics and newer extensions afterwards."""
    engine_version: Annotated[pulumi.Input[str], Value(Version), UPDATES]
    """The version that is to run, such as `18.4`."""
    cluster_parameter_group: NotRequired[Annotated[pulumi.Input[str] | None, UPDATES]]
    """The cluster parameter group of the new family."""
    instance_parameter_group: NotRequired[Annotated[pulumi.Input[str] | None, UPDATES]]
    """The instance parameter group of the new family."""
    allow_reboot: NotRequired[Annotated[pulumi.Input[str] | None, Value(AllowReboot)]]
    """When an environment that serves may be restarted for another minor version. None for a clone,
    which serves nobody yet and is brought to another major too."""
    timeout_seconds: NotRequired[Annotated[SecondsInput, UPDATES, Default(7200)]]
    """How long the upgrade may take, in seconds."""


class EngineUpgradeProvider(Provider):
    """Upgrades in place; deleting it leaves the cluster as it is."""

    inputs = EngineUpgradeInputs

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the inputs, and the live version with the desired one."""
        found = super().diff(_id, olds, news)
        desired, actual = news.get("engine_version"), olds.get("engine_version_actual")
        if not contains_unknowns(desired) and desired and actual:
            # A newer minor came by AWS's maintenance: nothing that an update could fix.
            behind = EngineVersion.parse(actual) < EngineVersion.parse(desired)
            found.changes = bool(found.changes or behind)
        return found

    def create(self, props: Props) -> CreateResult:
        """Upgrade where the version isn't reached yet; verify what already is."""
        given = self.values(props)
        actual = _ensured(given, asked_before=None)
        outputs = {**inputs_only(props), "engine_version_actual": actual}
        return CreateResult(given["server"].cluster, outputs)

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Upgrade to the version that is desired now."""
        actual = _ensured(self.values(news), asked_before=olds.get("engine_version"))
        return UpdateResult({**inputs_only(news), "engine_version_actual": actual})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the version that runs; gone when AWS says that the cluster is gone."""
        server: Server = self.values(props)["server"]
        found = server.find_cluster()
        if found is None:
            return ReadResult(None, {})
        inputs = self.inputs_in(props)
        return ReadResult(id_, {**inputs, "engine_version_actual": found.engine_version}, inputs)

    def delete(self, _id: str, props: Props) -> None:
        """Do nothing: Aurora can't go back to an older version."""


def _ensured(given: Values, *, asked_before: str | None) -> str:
    desired = engine.Upgrade(
        server=given["server"],
        databases=given["databases"],
        version=given["engine_version"],
        cluster_parameter_group=given["cluster_parameter_group"],
        instance_parameter_group=given["instance_parameter_group"],
        allow_restart=given["allow_reboot"],
    )
    return engine.ensure(
        desired,
        asked_before=EngineVersion.parse(asked_before) if asked_before else None,
        deadline=time.monotonic() + given["timeout_seconds"],
    )


class EngineUpgrade(Resource, module="aurora", name="EngineUpgrade"):
    """The engine version of a cluster, brought about by the RDS API.

    Errors:
        refused: a version that AWS doesn't offer or that can't be reached from the one that runs;
            what `pg_upgrade` would fail on (named): prepared transactions, slots, subscriptions,
            invalid databases, columns that hold numbers of objects; a cluster that serves clients;
            in place, another major version, and a minor one unless `allow_reboot` lets it restart.
        retry: an upgrade that takes longer than `timeout_seconds`; AWS or a server out of reach.
    """

    engine_version_actual: pulumi.Output[str]
    """The version that runs: a newer minor than asked for is no difference."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[EngineUpgradeInputs],
    ) -> None:
        props = properties(EngineUpgradeInputs, inputs, EngineUpgrade)
        super().__init__(EngineUpgradeProvider(), resource_name, props, opts)
