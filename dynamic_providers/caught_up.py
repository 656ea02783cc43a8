"""`postgres:CaughtUp`: a gate that opens when the standby keeps up with the writer."""

from __future__ import annotations

from typing import Annotated, TypedDict, Unpack

import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen import names
from bluegreen.names import Direction
from bluegreen.postgres import presence, subscriptions
from bluegreen.postgres.server import Server
from bluegreen.replication import caught_up
from dynamic_providers.inputs import UPDATES, Value, properties
from dynamic_providers.live_tables import covered
from dynamic_providers.provider import Props, Provider, inputs_only
from dynamic_providers.value_types import NamesInput, SecondsInput, ServerInput
from dynamic_providers.values import Values


class CaughtUpInputs(TypedDict):
    """What a gate waits for, and how long."""

    publisher: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that publishes, and references to its credentials."""
    subscriber: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that subscribes, and references to its credentials."""
    databases: Annotated[NamesInput, UPDATES]
    """The databases, all of which must be current."""
    deployment: Annotated[pulumi.Input[str], UPDATES]
    """The deployment's name, from which the names of slots and subscriptions are made."""
    direction: Annotated[pulumi.Input[str], Value(Direction), UPDATES]
    """`forward` or `reverse`."""
    lag_seconds: Annotated[SecondsInput, UPDATES]
    """A heartbeat has to cross within this time, in seconds; until one has, nothing is current."""
    stable_seconds: Annotated[SecondsInput, UPDATES]
    """How long the lag has to stay under it, in seconds."""
    timeout_seconds: SecondsInput
    """How long to wait, in seconds; then it fails, with what is left and how fast it goes. Changing
    it alone does not make it wait again."""


class CaughtUpProvider(Provider):
    """Waits on create and on every change; deleting it does nothing."""

    inputs = CaughtUpInputs

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        found = super().diff(_id, olds, news)
        if not contains_unknowns(news):
            found.changes = found.changes or _copies_run(self.values(news))
        return found

    def create(self, props: Props) -> CreateResult:
        return CreateResult(f"{props['deployment']}/{props['direction']}", self._waited(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._waited(news))

    def _waited(self, props: Props) -> Props:
        given = self.values(props)
        lag_ms = caught_up.wait(
            given["publisher"],
            given["subscriber"],
            databases=given["databases"],
            deployment=given["deployment"],
            direction=given["direction"],
            limits=caught_up.Limits(
                lag_ms=given["lag_seconds"] * 1000,
                stable_seconds=given["stable_seconds"],
                timeout_seconds=given["timeout_seconds"],
            ),
        )
        return {**inputs_only(props), "lag_ms": round(lag_ms, 1)}

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return what was; gone without a subscription, so that the next update waits again."""
        given = self.values(props)
        name = names.subscription(given["deployment"], given["direction"])
        server: Server = given["subscriber"]
        for database in given["databases"]:
            conn = presence.connect_unless_gone(server, database)
            if conn is None:
                return ReadResult(None, {})
            with conn:
                if subscriptions.inspect(conn, name) is None:
                    return ReadResult(None, {})
        live = inputs_only(props)
        return ReadResult(id_, live, self.inputs_in(live))

    def delete(self, _id: str, _props: Props) -> None:
        """Nothing exists outside the state."""


def _copies_run(given: Values) -> bool:
    """Return whether a table is being or has to be copied: then the gate is closed again."""
    deployment, direction = given["deployment"], given["direction"]
    for database in given["databases"]:
        found = covered(
            given["publisher"],
            given["subscriber"],
            database,
            publications=[names.publication(deployment, direction)],
            subscription=names.subscription(deployment, direction),
        )
        if found is not None and (found.unready or found.unsubscribed):
            return True
    return False


class CaughtUp(Resource, module="postgres", name="CaughtUp"):
    """Created once lag has stayed under the limit in every database; waits again on any change.

    All published tables must be subscribed then, and their first copies over. While one is not, an
    update waits again without any other change.

    Errors:
        refused: as soon as waiting is in vain: no subscription, another slot, new apply errors
            (with the transaction that fails, where it finishes and which tables it writes),
            disabled, no worker, a publisher that refuses the worker's login (with its message); a
            wrong password or database; a missing privilege, with the statement that grants it.
        retry: a lag that stays over the limit for `timeout_seconds`; a server out of reach for
            longer than a restart or failover takes.
        clone again: a slot that is missing, lost or invalidated; a slot or subscription that is
            past a heartbeat which has not arrived: moved or recreated by hand, rows are missing.
    """

    lag_ms: pulumi.Output[float]
    """The worst lag of the databases when it opened, in milliseconds."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[CaughtUpInputs],
    ) -> None:
        props = properties(CaughtUpInputs, inputs, CaughtUp)
        super().__init__(CaughtUpProvider(), resource_name, props, opts)
