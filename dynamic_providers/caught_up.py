"""`postgres:CaughtUp`: a gate that opens when the standby keeps up with the writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen import names
from bluegreen.names import Direction
from bluegreen.postgres import presence, subscriptions
from bluegreen.replication import caught_up
from dynamic_providers.live_tables import covered
from dynamic_providers.props import server as server_of
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
        found = explicit_diff(olds, news, updates=_UPDATES)
        found.changes = found.changes or _copies_run(news)
        return found

    def create(self, props: Props) -> CreateResult:
        return CreateResult(f"{props['deployment']}/{props['direction']}", self._waited(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._waited(news))

    def _waited(self, props: Props) -> Props:
        lag_ms = caught_up.wait(
            server_of(props["publisher"]),
            server_of(props["subscriber"]),
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
        server = server_of(props["subscriber"])
        for database in props["databases"]:
            conn = presence.connect_unless_gone(server, database)
            if conn is None:
                return ReadResult(None, {})
            with conn:
                if subscriptions.inspect(conn, name) is None:
                    return ReadResult(None, {})
        live = inputs_only(props)
        return ReadResult(id_, live, {k: v for k, v in live.items() if k not in _OUTPUTS})

    def delete(self, _id: str, _props: Props) -> None:
        """Nothing exists outside the state."""


def _copies_run(props: Props) -> bool:
    """Tell whether a table is being copied, or is to be: then the gate is closed again."""
    if contains_unknowns(props):
        return False
    direction = Direction(props["direction"])
    for database in props["databases"]:
        found = covered(
            props["publisher"],
            props["subscriber"],
            database,
            publications=[names.publication(props["deployment"], direction)],
            subscription=names.subscription(props["deployment"], direction),
        )
        if found is not None and (found.unready or found.unsubscribed):
            return True
    return False


class CaughtUp(Resource, module="postgres", name="CaughtUp"):
    """Created once lag has stayed under the limit in every database; waits anew on any change.

    All published tables must be subscribed then, and their first copies over; while one is not, an
    update waits anew without any other change.

    Inputs:
        publisher: Writer endpoint of the environment that publishes, and references to its
            credentials.
        subscriber: Writer endpoint of the environment that subscribes, and references to its
            credentials.
        databases: The databases that must all be current.
        deployment: The deployment's name, of which those of slots and subscriptions are made.
        direction: `forward` or `reverse`.
        lag_seconds: A heartbeat has to cross within this time, in seconds; none yet is not current.
        stable_seconds: How long the lag has to stay under it, in seconds.
        timeout_seconds: How long to wait, in seconds; then it fails, with what is left and how fast
            it goes. A change of it alone is no reason to wait anew.

    Errors:
        refused: as soon as waiting is in vain: no subscription, another slot, new apply errors
            (with the transaction that fails, where it finishes and which tables it writes),
            disabled, no worker, a publisher that doesn't let the worker in (in its words); a wrong
            password or database; a missing privilege, with the statement that grants it.
        retry: a lag that stays over the limit for `timeout_seconds`; a server out of reach for
            longer than a restart or failover takes.
        clone again: a slot that is missing, lost or invalidated; a slot or subscription that is
            past a heartbeat which has not arrived: moved or made anew by hand, rows are missing.
    """

    lag_ms: pulumi.Output[float]
    """The worst lag of the databases when it opened, in milliseconds."""

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
