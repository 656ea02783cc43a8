"""`postgres:CaughtUp`: a gate that opens when the standby keeps up with the writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen import caught_up, names, presence
from bluegreen import subscription_state as state
from bluegreen.names import Direction
from bluegreen.server import Server
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only

_OUTPUTS = ("lag_ms",)
_UPDATES = (
    "publisher",
    "subscriber",
    "databases",
    "deployment",
    "direction",
    "lag_seconds",
    "stable_seconds",
)


class CaughtUpProvider(Provider):
    """Waits on create and on every change; holds nothing, so deleting it does nothing."""

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        return explicit_diff(olds, news, updates=_UPDATES)

    def create(self, props: Props) -> CreateResult:
        return CreateResult(f"{props['deployment']}/{props['direction']}", self._waited(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._waited(news))

    def _waited(self, props: Props) -> Props:
        lag_ms = caught_up.wait(
            Server.from_props(props["publisher"]),
            Server.from_props(props["subscriber"]),
            databases=props["databases"],
            deployment=props["deployment"],
            direction=Direction(props["direction"]),
            limits=caught_up.Limits(
                lag_ms=float(props["lag_seconds"]) * 1000,
                stable_seconds=float(props["stable_seconds"]),
                timeout_seconds=float(props["timeout_seconds"]),
            ),
        )
        return {**inputs_only(props), "lag_ms": round(lag_ms, 1)}

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return what was; gone, so that the next update waits anew, without a subscription."""
        name = names.subscription(props["deployment"], Direction(props["direction"]))
        server = Server.from_props(props["subscriber"])
        for database in props["databases"]:
            conn = presence.connect_unless_gone(server, database)
            if conn is None:
                return ReadResult(None, {})
            with conn:
                if state.find(conn, name) is None:
                    return ReadResult(None, {})
        live = inputs_only(props)
        return ReadResult(id_, live, {k: v for k, v in live.items() if k not in _OUTPUTS})

    def delete(self, _id: str, _props: Props) -> None:
        """Nothing exists outside the state."""


class CaughtUp(Resource, module="postgres", name="CaughtUp"):
    """Created once lag has stayed under the limit in every database; waits anew on any change.

    Inputs, all changed in place:

    * `publisher`, `subscriber`: the writer endpoints of the writer and the standby.
    * `databases`: all of them have to keep up.
    * `deployment`, `direction`: they name the subscription and the slots.
    * `lag_seconds`: a heartbeat has to cross within this time; none yet is not current.
    * `stable_seconds`: and all of them for so long.
    * `timeout_seconds`: then it fails, with what is left and how fast it goes. A change of it alone
      is no reason to wait anew.

    The output `lag_ms` is the worst lag of the databases when it opened. It fails early when
    waiting is in vain: no subscription, another slot, a slot that is missing, lost or invalidated,
    new apply errors (with the transaction that fails, where it finishes and which tables it
    writes), disabled, no worker, or a publisher that doesn't let the worker in (in its words). A
    restart or failover of either side is waited through.
    """

    lag_ms: pulumi.Output[float]

    def __init__(
        self,
        resource_name: str,
        *,
        publisher: pulumi.Input[Mapping[str, Any]],
        subscriber: pulumi.Input[Mapping[str, Any]],
        databases: pulumi.Input[Sequence[str]],
        deployment: pulumi.Input[str],
        direction: pulumi.Input[str],
        lag_seconds: pulumi.Input[float],
        stable_seconds: pulumi.Input[float],
        timeout_seconds: pulumi.Input[float],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "publisher": publisher,
            "subscriber": subscriber,
            "databases": databases,
            "deployment": deployment,
            "direction": direction,
            "lag_seconds": lag_seconds,
            "stable_seconds": stable_seconds,
            "timeout_seconds": timeout_seconds,
            "lag_ms": None,
        }
        super().__init__(CaughtUpProvider(), resource_name, props, opts)
