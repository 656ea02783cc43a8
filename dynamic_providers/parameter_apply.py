"""`aurora:ParameterApply`: required static parameters, in force in the server."""

from __future__ import annotations

import time
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from bluegreen.aws import cluster
from bluegreen.upgrade import parameters as parameter_apply
from bluegreen.upgrade.parameters import AllowReboot
from dynamic_providers.props import server as server_of
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only

_INPUTS = ("server", "parameters", "allow_reboot", "timeout_seconds")


class ParameterApplyProvider(Provider):
    """Reboots if allowed; deleting it leaves the parameters in force."""

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Refuse another word for `allow_reboot` than those that mean something."""
        allow = news.get("allow_reboot")
        allowed = [str(word) for word in AllowReboot]
        if isinstance(allow, str) and allow not in allowed:
            reason = f"got {allow!r}, allowed are {', '.join(allowed)}"
            return CheckResult(news, [CheckFailure("allow_reboot", reason)])
        return CheckResult(news, [])

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the wishes; parameters that waited for a reboot are looked at again."""
        found = explicit_diff(olds, news, updates=("server", "parameters", "timeout_seconds"))
        found.changes = bool(found.changes or olds.get("waiting"))
        return found

    def create(self, props: Props) -> CreateResult:
        """Bring the parameters into force, or say why they can't be."""
        return CreateResult(props["server"]["cluster"], _ensured(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Bring the parameters asked for now into force."""
        return UpdateResult(_ensured(news))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the values in force; gone when AWS says that the cluster is."""
        server, wanted = server_of(props["server"]), _wanted(props)
        if cluster.find(server.region, server.cluster) is None:
            return ReadResult(None, {})
        found = parameter_apply.in_force(server, wanted)
        inputs = {key: props[key] for key in _INPUTS if key in props}
        live = {
            "effective": parameter_apply.effective(wanted, found),
            "waiting": [item.name for item in parameter_apply.pending(wanted, found)],
        }
        return ReadResult(id_, {**inputs, **live}, inputs)

    def delete(self, _id: str, props: Props) -> None:
        """Do nothing: the parameter groups are resources of their own."""


def _wanted(props: Props) -> dict[str, str]:
    return {name: _text(value) for name, value in props["parameters"].items()}


def _text(value: Any) -> str:
    # Numbers cross Pulumi's protocol as floats.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _ensured(props: Props) -> Props:
    server, wanted = server_of(props["server"]), _wanted(props)
    effective = parameter_apply.ensure(
        server,
        wanted,
        allow=AllowReboot(props["allow_reboot"]),
        deadline=time.monotonic() + float(props["timeout_seconds"]),
    )
    waiting = [
        item.name
        for item in parameter_apply.pending(wanted, parameter_apply.in_force(server, wanted))
    ]
    return {**inputs_only(props), "effective": effective, "waiting": waiting}


class ParameterApply(Resource, module="aurora", name="ParameterApply"):
    """Static parameters that must be in force before anything builds on them.

    Inputs:
        server: Writer endpoint of the cluster, and references to its credentials.
        parameters: Static parameters that must be in force, with their values.
        allow_reboot: When a reboot may bring them about.
        timeout_seconds: How long that may take, in seconds.

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
        name: str,
        *,
        server: pulumi.Input[dict[str, Any]],
        parameters: pulumi.Input[dict[str, str]],
        allow_reboot: pulumi.Input[str] = "never",
        timeout_seconds: pulumi.Input[float] = 1800,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "server": server,
            "parameters": parameters,
            "allow_reboot": allow_reboot,
            "timeout_seconds": timeout_seconds,
            "effective": None,
            "waiting": None,
        }
        super().__init__(ParameterApplyProvider(), name, props, opts)
