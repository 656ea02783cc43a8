"""`postgres:Subscription`: what one database of the standby applies from the writer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from bluegreen import presence, subscription
from bluegreen.errors import Retry
from bluegreen.lsn import Lsn
from bluegreen.server import Server
from dynamic_providers.provider import Props, Provider, explicit_diff, fixed, inputs_only

log = logging.getLogger(__name__)

_SECONDS = 60.0
_OUTPUTS = ("live",)
_UPDATES = (
    "server",
    "publisher",
    "publication",
    "slot_name",
    "start_lsn",
    "enabled",
    "streaming",
    "disable_on_error",
    "run_as_owner",
)


class SubscriptionProvider(Provider):
    """Never makes or drops a slot; dropping a subscription does not need its publisher."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        return CheckResult(news, fixed(olds, news, ("database", "name")))

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        found = explicit_diff(olds, news, updates=_UPDATES)
        if (olds.get("live") or {}).get("drift"):
            found.changes = True
        return found

    def create(self, props: Props) -> CreateResult:
        return CreateResult(f"{props['database']}/{props['name']}", self._ensured(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._ensured(news))

    def _ensured(self, props: Props) -> Props:
        server, source = Server.from_props(props["server"]), Server.from_props(props["publisher"])
        wanted = _wanted(props)
        with (
            server.connect(props["database"]) as subscriber,
            source.connect(props["database"]) as publisher,
        ):
            have = subscription.ensure(
                subscriber, publisher, source, wanted, deadline=time.monotonic() + _SECONDS
            )
        return {**inputs_only(props), "live": _live(have, [], [])}

    def read(self, id_: str, props: Props) -> ReadResult:
        conn = presence.connect_unless_gone(Server.from_props(props["server"]), props["database"])
        if conn is None:
            return ReadResult(None, {})
        with conn:
            have = subscription.find(conn, props["name"])
            if have is None:
                return ReadResult(None, {})
            drift, trouble = _drift(conn, have, props), subscription.trouble(have)
        live = inputs_only(props) | {
            "publication": ", ".join(have.publications),
            "slot_name": have.slot_name or "",
            "enabled": have.enabled,
            # What was left to the server stays so: `drift` says when it is not at its best.
            "streaming": props.get("streaming") and have.streaming,
            "disable_on_error": None
            if props.get("disable_on_error") is None
            else have.disable_on_error,
            "run_as_owner": have.run_as_owner,
            "live": _live(have, drift, trouble),
        }
        return ReadResult(id_, live, {k: v for k, v in live.items() if k not in _OUTPUTS})

    def delete(self, _id: str, props: Props) -> None:
        conn = presence.connect_unless_gone(Server.from_props(props["server"]), props["database"])
        if conn is None:
            return
        with conn:
            deadline = time.monotonic() + _SECONDS
            left = subscription.drop(conn, props["name"], deadline=deadline)
        if left:
            _drop_sync_slots(Server.from_props(props["publisher"]), props["database"], left)


def _wanted(props: Props) -> subscription.Wanted:
    return subscription.Wanted(
        name=props["name"],
        publication=props["publication"],
        slot_name=props["slot_name"],
        start=Lsn.parse(props["start_lsn"]),
        enabled=bool(props.get("enabled")),
        streaming=props.get("streaming"),
        disable_on_error=_flag(props.get("disable_on_error")),
        run_as_owner=bool(props.get("run_as_owner")),
    )


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _live(have: subscription.Subscription, drift: list[str], trouble: list[str]) -> Props:
    """Return what changes of itself; 64-bit numbers as text."""
    return {
        "worker": have.worker_pid is not None,
        "applied": have.applied or "0/0",
        "apply_errors": str(have.apply_errors),
        "trouble": trouble,
        "drift": drift,
    }


def _drift(conn: Any, have: subscription.Subscription, props: Props) -> list[str]:
    """Return what differs from the wish and stands in no input of its own."""
    source = Server.from_props(props["publisher"])
    wanted = _wanted(props)
    found = subscription.drifted_options(conn, have, wanted)
    text = source.conninfo(props["database"], "replication", application_name=wanted.name)
    if subscription.connects_as(conn, wanted.name, text) is False:
        found.append("connection differs")
    try:
        with source.connect(props["database"]) as publisher:
            side = subscription.look_at_publisher(publisher, wanted.publication)
    except Retry as error:
        # Reading must work with the publisher down: say so, and leave its tables uncompared.
        log.warning("subscription %s: published tables not compared: %s", wanted.name, error)
        return found
    return found + [f"not subscribed: {one}" for one in subscription.unsubscribed(have, side)]


def _drop_sync_slots(publisher: Server, database: str, left: list[str]) -> None:
    try:
        conn = presence.connect_unless_gone(publisher, database)
        if conn is None:
            return
        with conn:
            subscription.drop_sync_slots(conn, left, str(publisher))
    except Retry as error:
        # The subscription is gone already, and its publisher may be for good.
        log.warning("slots %s may be left on %s: %s", ", ".join(left), publisher, error)


class Subscription(Resource, module="postgres", name="Subscription"):
    """A subscription that starts at `start_lsn` on a slot that exists.

    Inputs:
        server: Writer endpoint of the environment that subscribes, and references to its
            credentials.
        publisher: Writer endpoint of the environment that publishes, and references to its
            credentials. The password may change: it is brought into the subscription, and the slot
            is not touched.
        database: The database, of the same name on both sides.
        name: The subscription's name, and the application name of its connections.
        publication: The publication that it reads.
        slot_name: The slot that it reads, which must exist; never made or dropped here.
        start_lsn: Where it starts: the clone's LSN, later the mark of the switch.
        enabled: Whether it runs.
        streaming: How large transactions are sent: `off`, `on`, or `parallel` from 16 on; not set,
            the best that the subscriber has.
        disable_on_error: Whether an apply error stops it instead of being tried again for ever;
            from 15 on, and not set, true there.
        run_as_owner: Whether rows are applied as the subscription's owner, not as each table's;
            from 16 on.

    Errors:
        refused: another database or name (at preview); options that the subscriber's major lacks; a
            publisher that is in recovery or has no such publication; a slot that somebody else
            reads; a subscription that reads another slot or belongs to another start; a published
            table that is missing here, or was published later and has rows here.
        retry: a publisher that the subscriber can't reach; a worker that doesn't end; a server out
            of reach.
        clone again: a slot that is gone, lost, or already past `start_lsn`.
    """

    live: pulumi.Output[dict[str, Any]]
    """What changes of itself: `worker`, `applied` (LSN), `apply_errors`, `trouble`, `drift`."""

    def __init__(
        self,
        resource_name: str,
        *,
        server: pulumi.Input[Mapping[str, Any]],
        publisher: pulumi.Input[Mapping[str, Any]],
        database: pulumi.Input[str],
        name: pulumi.Input[str],
        publication: pulumi.Input[str],
        slot_name: pulumi.Input[str],
        start_lsn: pulumi.Input[str],
        enabled: pulumi.Input[bool] = True,
        streaming: pulumi.Input[str] | None = None,
        disable_on_error: pulumi.Input[bool] | None = None,
        run_as_owner: pulumi.Input[bool] = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "server": server,
            "publisher": publisher,
            "database": database,
            "name": name,
            "publication": publication,
            "slot_name": slot_name,
            "start_lsn": start_lsn,
            "enabled": enabled,
            "streaming": streaming,
            "disable_on_error": disable_on_error,
            "run_as_owner": run_as_owner,
            "live": None,
        }
        super().__init__(SubscriptionProvider(), resource_name, props, opts)
