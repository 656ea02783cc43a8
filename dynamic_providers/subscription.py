"""`postgres:Subscription`: what one database of the standby applies from the writer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from bluegreen import names
from bluegreen.errors import BlueGreenError, Refused, Retry
from bluegreen.lsn import Lsn
from bluegreen.postgres import presence, versions
from bluegreen.postgres.server import Server
from bluegreen.replication import coverage, session_timeouts, slot
from bluegreen.replication.subscription import (
    connection,
    failing_transaction,
    options,
    state,
    subscribing,
)
from bluegreen.replication.subscription.options import Wanted
from bluegreen.replication.subscription.state import Subscription as Found
from dynamic_providers.live_tables import covered
from dynamic_providers.provider import Props, Provider, explicit_diff, fixed, inputs_only

log = logging.getLogger(__name__)

_SECONDS = 60.0
_RESTART_SECONDS = 20.0
_OUTPUTS = ("live",)
# A replacement would drop the origin: rows would be lost or come twice.
_FIXED = ("database", "name", "slot_name")
_UPDATES = (
    "server",
    "publisher",
    "publication",
    "start_lsn",
    "enabled",
    "streaming",
    "binary",
    "origin",
    "disable_on_error",
    "run_as_owner",
    "owner",
    "copy_new_tables",
    "triggers",
)
_CHOICES = {"streaming": ("off", "on", "parallel"), "origin": ("none", "any")}


class SubscriptionProvider(Provider):
    """Never makes or drops a slot; dropping a subscription does not need its publisher."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        failures = fixed(olds, news, _FIXED)
        failures += fixed(_clusters(olds), _clusters(news), ("server", "publisher"))
        return CheckResult(news, failures + _unusable(news))

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        found = explicit_diff(olds, news, updates=_UPDATES)
        # Not set means true, so that false is a wish of its own.
        if (olds.get("copy_new_tables") is False) != (news.get("copy_new_tables") is False):
            found.changes = True
        if (olds.get("live") or {}).get("drift"):
            found.changes = True
        found.changes = found.changes or tables_moved(news)
        return found

    def create(self, props: Props) -> CreateResult:
        id_ = f"{props['database']}/{props['name']}"
        return CreateResult(id_, self._ensured(props, mend=False))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._ensured(news, mend=True))

    def _ensured(self, props: Props, *, mend: bool) -> Props:
        server, source = Server.from_props(props["server"]), Server.from_props(props["publisher"])
        wanted = _wanted(props)
        # Before its use: if it is rotated meanwhile, the next look shows it.
        secret = source.credentials.replication_version(source.region)
        with (
            server.connect(props["database"]) as subscriber,
            source.connect(props["database"]) as publisher,
        ):
            session_timeouts.require_none(
                server,
                props["database"],
                wanted.owner or subscriber.info.user,
                "admin",
                versions.major(subscriber),
            )
            have = subscribing.ensure(
                subscriber,
                publisher,
                source,
                wanted,
                mend=mend,
                deadline=time.monotonic() + _SECONDS,
            )
        return {**inputs_only(props), "live": _live(have, secret, [], [])}

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return what is there; works with the publisher down, and says what it then can't tell."""
        conn = presence.connect_unless_gone(Server.from_props(props["server"]), props["database"])
        if conn is None:
            return ReadResult(None, {})
        wanted = _wanted(props)
        with conn:
            have = state.find(conn, props["name"])
            if have is None:
                return ReadResult(None, {})
            major = versions.major(conn)
            drift = options.fixed(have, wanted)
            drift += options.alterable(major, have, wanted)
            trouble = state.trouble(have)
            try:
                drift += _connection_drift(conn, props, wanted)
                drift += _publisher_drift(conn, props, wanted, have, trouble)
            except (Retry, Refused) as error:
                log.warning("%s: not compared with its publisher: %s", wanted, error)
        live = inputs_only(props) | _live_inputs(props, have, major)
        live["live"] = _live(have, _secret_version(props), drift, trouble)
        return ReadResult(id_, live, {k: v for k, v in live.items() if k not in _OUTPUTS})

    def delete(self, _id: str, props: Props) -> None:
        left = presence.while_it_exists(
            Server.from_props(props["server"]),
            props["database"],
            lambda conn: subscribing.drop_own(
                conn, props["name"], deadline=time.monotonic() + _SECONDS
            ),
            deadline=time.monotonic() + _RESTART_SECONDS,
        )
        if left:
            _drop_sync_slots(Server.from_props(props["publisher"]), props["database"], left)


def tables_moved(props: Props) -> bool:
    """Tell whether an enabled subscription has tables to take in, or to let go.

    Nothing in the program changes when a partition is made on the servers, so only a look there
    tells; without it the next update would leave out the partition's rows without a word. What is
    not on the subscriber yet waits: a job's table that comes and goes must not fail every update.
    """
    if contains_unknowns(props) or not props.get("enabled"):
        return False
    found = covered(
        props["publisher"],
        props["server"],
        props["database"],
        publications=_publications(props),
        subscription=props["name"],
    )
    return found is not None and bool(found.unsubscribed or found.withdrawn)


def _clusters(props: Props) -> Props:
    """Return only which clusters it is about: addresses and secrets may change in place."""
    return {
        key: props[key].get("cluster")
        for key in ("server", "publisher")
        if isinstance(props.get(key), Mapping) and not contains_unknowns(props[key])
    }


def _unusable(news: Props) -> list[CheckFailure]:
    """Return what no server could do, so that a preview says it."""
    failures = []
    for key, allowed in _CHOICES.items():
        got = news.get(key)
        if got is not None and not contains_unknowns(got) and got not in allowed:
            reason = f"got {got!r}, allowed are {', '.join(allowed)}, or nothing for the best"
            failures.append(CheckFailure(key, reason))
    start = news.get("start_lsn")
    if start is not None and not contains_unknowns(start):
        try:
            Lsn.parse(start)
        except Refused as error:
            failures.append(CheckFailure("start_lsn", str(error)))
    for key in ("name", "slot_name"):
        got = news.get(key)
        if isinstance(got, str) and not 0 < len(got.encode()) <= names.MAX_BYTES:
            reason = f"got {got!r}, expected 1 to {names.MAX_BYTES} bytes"
            failures.append(CheckFailure(key, reason))
    wish = news.get("publication")
    if wish is not None and not contains_unknowns(wish) and not _publications(news):
        failures.append(CheckFailure("publication", "names none; expected one at least"))
    return failures


def _publications(props: Props) -> tuple[str, ...]:
    found = props["publication"]
    return (found,) if isinstance(found, str) else tuple(found)


def _wanted(props: Props) -> Wanted:
    return Wanted(
        name=props["name"],
        publications=_publications(props),
        slot_name=props["slot_name"],
        start=Lsn.parse(props["start_lsn"]),
        enabled=bool(props.get("enabled")),
        streaming=props.get("streaming"),
        binary=bool(props.get("binary")),
        origin=props.get("origin"),
        disable_on_error=bool(props.get("disable_on_error")),
        run_as_owner=bool(props.get("run_as_owner")),
        owner=props.get("owner"),
        copy_new_tables=props.get("copy_new_tables") is not False,
    )


def _live_inputs(props: Props, have: Found, major: int) -> Props:
    """Return the inputs as the server has them; what was left to the server stays so if it is."""
    live: Props = {
        "publication": (
            have.publications[0]
            if isinstance(props["publication"], str) and len(have.publications) == 1
            else _in_order_of(_publications(props), have.publications)
        ),
        "slot_name": have.slot_name or "",
        "enabled": have.enabled,
        "binary": have.binary,
        "run_as_owner": have.run_as_owner,
        "streaming": have.streaming,
        "origin": have.origin or "any",
        "disable_on_error": have.disable_on_error,
        "owner": have.owner,
    }
    best = options.options(major, _wanted(props))
    actual = options.live_options(have)
    for key in ("streaming", "origin"):
        if props.get(key) is None and actual[key] == best.get(key, actual[key]):
            live[key] = None
    if props.get("owner") is None:
        live["owner"] = None
    return live


def _in_order_of(wish: Sequence[str], found: Sequence[str]) -> list[str]:
    return list(wish) if set(wish) == set(found) else sorted(found)


def _live(have: Found, secret: str | None, drift: list[str], trouble: list[str]) -> Props:
    """Return what changes of itself; 64-bit numbers as text."""
    return {
        "worker": have.worker_pid is not None,
        "applied": have.applied or "0/0",
        "apply_errors": str(have.apply_errors),
        "owner": have.owner,
        "secret_version": secret,
        "trouble": trouble,
        "drift": drift,
    }


def _secret_version(props: Props) -> str | None:
    """Return the version that the connection was set with."""
    found: str | None = (props.get("live") or {}).get("secret_version")
    return found


def _connection_drift(conn: Any, props: Props, wanted: Wanted) -> list[str]:
    """Return whether the connection is another than it shall be, in words without a secret.

    Where this role may not read it, as on Aurora, the secret's version tells of a rotation.
    """
    source = Server.from_props(props["publisher"])
    text = connection.text(source, props["database"], wanted.name)
    agrees = connection.agrees(conn, wanted.name, text)
    if agrees is None:
        known, now = _secret_version(props), source.credentials.replication_version(source.region)
        return ["the replication secret was rotated"] if known not in (None, now) else []
    if agrees:
        return []
    elsewhere = connection.other_address(conn, wanted.name, text)
    return [elsewhere or "its connection's login differs from the replication secret"]


def _publisher_drift(
    subscriber: Any, props: Props, wanted: Wanted, have: Found, trouble: list[str]
) -> list[str]:
    """Return what the publisher has and the subscription lacks; adds to `trouble` what fails."""
    source = Server.from_props(props["publisher"])
    with source.connect(props["database"]) as publisher:
        tables = coverage.look(publisher, subscriber, wanted.publications, wanted.name)
        status = slot.status(slot.find(publisher, wanted.slot_name))
        if have.worker_pid is None and have.apply_errors:
            failing = failing_transaction.find(
                publisher, wanted.slot_name, have.publications, have.position
            )
            trouble += [f"next is {failing}"] if failing else []
    new = coverage.names_of([*tables.unsubscribed, *tables.missing])
    found = [f"not subscribed: {one}" for one in new]
    found += [f"no longer published: {one}" for one in coverage.names_of(tables.withdrawn)]
    if not status.readable:
        found.append(f"slot {wanted.slot_name} is {status}")
    return found


def _drop_sync_slots(publisher: Server, database: str, left: list[str]) -> None:
    try:
        conn = presence.connect_unless_gone(publisher, database)
        if conn is None:
            return
        with conn:
            subscribing.drop_sync_slots(conn, left, str(publisher))
    except BlueGreenError as error:
        # The subscription is gone already, and its publisher may be for good.
        log.warning("slots %s may be left on %s: %s", ", ".join(left), publisher, error)


class Subscription(Resource, module="postgres", name="Subscription"):
    """A subscription that starts at `start_lsn` on a slot that exists.

    Inputs:
        server: Writer endpoint of the environment that applies, and references to its credentials.
            Address and secrets may change, another cluster may not.
        publisher: Writer endpoint of the environment that sends, and references to its
            credentials. Address and secrets may change, another cluster may not.
        database: The database, of the same name on both sides; a replacement would lose rows.
        name: The subscription's name, and the application name of its connections.
        publication: The publication that it reads: one name, or a list of names.
        slot_name: The slot that it reads, which must exist; never made or dropped here.
        start_lsn: The position that it starts at: the clone's LSN, later the mark of the switch.
        enabled: Whether it runs; while it does not, its slot keeps what it needs.
        streaming: How large transactions are sent: `off`, `on`, or `parallel` (16); not set, the
            best that the server has.
        binary: Send values in binary: only for types that both sides store alike.
        origin: `none` or `any` (16); not set, `none` where the server has it.
        disable_on_error: Stop at the first error instead of trying again (15). Off by default: to
            the server the end of the stream is an error too, and a publisher's restart stops it.
        run_as_owner: Apply with the rights of the subscription's owner (16).
        owner: The role that owns it; not set, whoever made it.
        copy_new_tables: Copy the rows of tables that are published later; they must be empty here.
        triggers: Any value; a change of it is an update. Tables published or withdrawn since are
            an update by themselves: each preview looks at the servers for them.

    Errors:
        refused: another database, name, slot or cluster (at preview); options that no server has
            (at preview) or this one lacks; a publisher in recovery or without the publication; a
            slot that somebody else reads; a subscription of that name that somebody else made (it
            carries no mark), or that differs in what can't be altered; a
            published table that is missing here, or was published later and has rows here; a
            missing privilege (with its GRANT); no free worker, sender or origin.
        retry: a publisher that the subscriber can't reach; a worker that doesn't end; a server out
            of reach.
        clone again: a slot that is gone, lost, or already past where it starts. Later on a slot may
            be past what was applied, since it also moves over what isn't published; then it is one
            that has passed a heartbeat which has not arrived: advanced or made anew by hand while
            the subscription was disabled (by `enabled`, or by an error that CaughtUp has seen).

    `two_phase`, `failover`, `password_required` and `synchronous_commit` are no inputs:
    `bluegreen/replication/subscription/options.py` says why.
    """

    live: pulumi.Output[dict[str, Any]]
    """What a look shows: worker, position, counts, and `trouble` and `drift` in words."""

    def __init__(
        self,
        resource_name: str,
        *,
        server: pulumi.Input[Mapping[str, Any]],
        publisher: pulumi.Input[Mapping[str, Any]],
        database: pulumi.Input[str],
        name: pulumi.Input[str],
        publication: pulumi.Input[str | Sequence[str]],
        slot_name: pulumi.Input[str],
        start_lsn: pulumi.Input[str],
        enabled: pulumi.Input[bool] = True,
        streaming: pulumi.Input[str] | None = None,
        binary: pulumi.Input[bool] = False,
        origin: pulumi.Input[str] | None = None,
        disable_on_error: pulumi.Input[bool] = False,
        run_as_owner: pulumi.Input[bool] = False,
        owner: pulumi.Input[str] | None = None,
        copy_new_tables: pulumi.Input[bool] = True,
        triggers: pulumi.Input[Any] = None,
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
            "binary": binary,
            "origin": origin,
            "disable_on_error": disable_on_error,
            "run_as_owner": run_as_owner,
            "owner": owner,
            "copy_new_tables": copy_new_tables,
            "triggers": triggers,
            "live": None,
        }
        super().__init__(SubscriptionProvider(), resource_name, props, opts)
