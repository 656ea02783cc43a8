"""`aurora:ParameterApply`: required static parameters, in force in the server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict, Unpack

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult
from pydantic import BeforeValidator

from bluegreen.upgrade import parameters as parameter_apply
from bluegreen.upgrade.parameters import AllowReboot
from dynamic_providers.inputs import UPDATES, Default, Value, properties
from dynamic_providers.provider import Props, Provider, inputs_only
from dynamic_providers.value_types import SecondsInput, ServerInput
from dynamic_providers.values import Values


def _text(given: Any) -> Any:
    """Return a number as a parameter group's text; all numbers arrive as floats."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return given
    return str(int(given)) if given == int(given) else str(given)


_Text = Annotated[str, BeforeValidator(_text)]


class ParameterApplyInputs(TypedDict):
    """Which parameters must be in force, and by what means."""

    server: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the cluster, and references to its credentials."""
    parameters: Annotated[pulumi.Input[Mapping[str, str]], Value(dict[str, _Text]), UPDATES]
    """Static parameters that must be in force, with their values."""
    allow_reboot: NotRequired[Annotated[pulumi.Input[str], Value(AllowReboot), Default("never")]]
    """When a reboot may bring them into force."""
    standby_databases: NotRequired[Annotated[pulumi.Input[Sequence[str]], Default(())]]
    """Databases of a clone: while they are closed to writers it serves nobody, and may be rebooted
    whatever `allow_reboot` says."""
    timeout_seconds: NotRequired[Annotated[SecondsInput, UPDATES, Default(1800)]]
    """How long that may take, in seconds."""


class ParameterApplyProvider(Provider):
    """Reboots if allowed; deleting it leaves the parameters in force."""

    inputs = ParameterApplyInputs

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the inputs; parameters that waited for a reboot are checked again."""
        found = super().diff(_id, olds, news)
        found.changes = bool(found.changes or olds.get("waiting"))
        return found

    def create(self, props: Props) -> CreateResult:
        """Bring the parameters into force, or raise why that can't be done."""
        given = self.values(props)
        return CreateResult(given["server"].cluster, {**inputs_only(props), **_ensured(given)})

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Bring the parameters that are desired now into force."""
        return UpdateResult({**inputs_only(news), **_ensured(self.values(news))})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the values in force; gone when AWS says that the cluster is gone."""
        given = self.values(props)
        server, desired = given["server"], given["parameters"]
        if server.find_cluster() is None:
            return ReadResult(None, {})
        found = parameter_apply.in_force(server, desired)
        inputs = self.inputs_in(props)
        live = {
            "effective": parameter_apply.effective(desired, found),
            "waiting": [item.name for item in parameter_apply.pending(desired, found)],
        }
        return ReadResult(id_, {**inputs, **live}, inputs)

    def delete(self, _id: str, props: Props) -> None:
        """Do nothing: the parameter groups are resources of their own."""


def _ensured(given: Values) -> Props:
    """Return the outputs."""
    server, desired = given["server"], given["parameters"]
    effective = parameter_apply.ensure(
        server,
        desired,
        allow=given["allow_reboot"],
        deadline=time.monotonic() + given["timeout_seconds"],
        standby=given["standby_databases"],
    )
    waiting = [
        item.name
        for item in parameter_apply.pending(desired, parameter_apply.in_force(server, desired))
    ]
    return {"effective": effective, "waiting": waiting}


class ParameterApply(Resource, module="aurora", name="ParameterApply"):
    """Static parameters that must be in force before anything builds on them.

    Errors:
        refused: a parameter that waits for a reboot where none is allowed; another word for
            `allow_reboot` (at preview); a value that is not in force after the reboot.
        retry: a reboot that takes longer than `timeout_seconds`; AWS or a server out of reach.
    """

    effective: pulumi.Output[dict[str, str]]
    """The values that the server says are in force."""
    waiting: pulumi.Output[list[str]]
    """Parameters that still wait for a reboot."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[ParameterApplyInputs],
    ) -> None:
        props = properties(ParameterApplyInputs, inputs, ParameterApply)
        super().__init__(ParameterApplyProvider(), resource_name, props, opts)
