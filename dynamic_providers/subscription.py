"""`postgres:Subscription`: what one database of the standby applies from the writer."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired, TypedDict, Unpack

import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import (
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from bluegreen.errors import BlueGreenError, Refused, Retry
from bluegreen.postgres import presence, slots, subscriptions, versions
from bluegreen.postgres.server import Server
from bluegreen.postgres.subscriptions import Streaming
from bluegreen.postgres.subscriptions import Subscription as Found
from bluegreen.replication import coverage, session_timeouts
from bluegreen.replication.subscription import (
    connection,
    dropping,
    failing_transaction,
    options,
    subscribing,
)
from bluegreen.replication.subscription.options import Origin, SubscriptionSpec
from dynamic_providers import subscription_props
from dynamic_providers.inputs import FIXED, UPDATES, Default, Value, properties
from dynamic_providers.live_tables import covered
from dynamic_providers.provider import Props, Provider, fixed, inputs_only
from dynamic_providers.value_types import NameInput, OneOrMoreNames, Position, ServerInput
from dynamic_providers.values import Values

log = logging.getLogger(__name__)

_SECONDS = 60.0
_RESTART_SECONDS = 20.0


class SubscriptionInputs(TypedDict):
    """What a subscription is to be."""

    server: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that applies, and references to its credentials. Address
    and secrets may change, another cluster may not."""
    publisher: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that sends, and references to its credentials. Address and
    secrets may change, another cluster may not."""
    database: Annotated[pulumi.Input[str], FIXED]
    """The database, of the same name on both sides; a replacement would lose rows."""
    name: Annotated[NameInput, FIXED]
    """The subscription's name, and the application name of its connections."""
    publication: Annotated[pulumi.Input[str | Sequence[str]], Value(OneOrMoreNames), UPDATES]
    """The publication that it reads: one name, or a list of names."""
    slot_name: Annotated[NameInput, FIXED]
    """The slot that it reads, which must exist; never made or dropped here."""
    start_lsn: Annotated[pulumi.Input[str], Value(Position), UPDATES]
    """The position that it starts at: the clone's LSN, later the mark of the switch."""
    enabled: NotRequired[Annotated[pulumi.Input[bool], Default(True), UPDATES]]
    """Whether it runs; while it doesn't, its slot keeps what it needs."""
    streaming: NotRequired[Annotated[pulumi.Input[str] | None, Value(Streaming), UPDATES]]
    """How large transactions are sent: `off`, `on`, or `parallel` (16); not set, the best that the
    server has."""
    binary: NotRequired[Annotated[pulumi.Input[bool], Default(False), UPDATES]]
    """Send values in binary: only for types that both sides store alike."""
    origin: NotRequired[Annotated[pulumi.Input[str] | None, Value(Origin), UPDATES]]
    """`none` or `any` (16); not set, `none` where the server has it."""
    disable_on_error: NotRequired[Annotated[pulumi.Input[bool], Default(False), UPDATES]]
    """Stop at the first error instead of trying again (15). Off by default: to the server the end
    of the stream is an error too, and a publisher's restart stops it."""
    run_as_owner: NotRequired[Annotated[pulumi.Input[bool], Default(False), UPDATES]]
    """Apply with the rights of the subscription's owner (16)."""
    owner: NotRequired[Annotated[pulumi.Input[str] | None, UPDATES]]
    """The role that owns it; not set, the role that makes it."""
    copy_new_tables: NotRequired[Annotated[pulumi.Input[bool], Default(True), UPDATES]]
    """Copy the rows of tables that are published later; they must be empty here."""
    triggers: NotRequired[Annotated[pulumi.Input[Any], UPDATES]]
    """Any value; a change of it is an update. Tables published or withdrawn since are an update by
    themselves: each preview asks the servers for them."""


class SubscriptionProvider(Provider):
    """Never makes or drops a slot; dropping a subscription does not need its publisher.

    Nothing replaces one: that would drop its origin, and rows would be lost or come twice.
    """

    inputs = SubscriptionInputs

    def check(self, olds: Props, news: Props) -> CheckResult:
        failures = super().check(olds, news).failures
        failures += fixed(
            subscription_props.clusters(olds),
            subscription_props.clusters(news),
            ("server", "publisher"),
        )
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        found = super().diff(_id, olds, news)
        # Not set means true, so that false is distinct from it.
        if (olds.get("copy_new_tables") is False) != (news.get("copy_new_tables") is False):
            found.changes = True
        if (olds.get("live") or {}).get("drift"):
            found.changes = True
        if not contains_unknowns(news):
            found.changes = found.changes or tables_moved(self.values(news))
        return found

    def create(self, props: Props) -> CreateResult:
        id_ = f"{props['database']}/{props['name']}"
        return CreateResult(id_, self._ensured(props, alter=False))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._ensured(news, alter=True))

    def _ensured(self, props: Props, *, alter: bool) -> Props:
        given = self.values(props)
        server, source, database = given["server"], given["publisher"], given["database"]
        desired = subscription_props.desired(given)
        # Before its use: if it is rotated meanwhile, the next refresh shows it.
        secret = source.credentials.replication_version(source.region)
        with (
            server.connect(database) as subscriber,
            source.connect(database) as publisher,
        ):
            session_timeouts.require_none(
                server,
                database,
                desired.owner or subscriber.info.user,
                "admin",
                versions.major(subscriber),
            )
            have = subscribing.ensure(
                subscriber,
                publisher,
                source,
                desired,
                alter=alter,
                deadline=time.monotonic() + _SECONDS,
            )
        return {**inputs_only(props), "live": subscription_props.live(have, secret, [], [])}

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return what exists; with the publisher down it logs what could not be compared."""
        given = self.values(props)
        conn = presence.connect_unless_gone(given["server"], given["database"])
        if conn is None:
            return ReadResult(None, {})
        desired = subscription_props.desired(given)
        secret = subscription_props.secret_version(props)
        with conn:
            have = subscriptions.inspect(conn, desired.name)
            if have is None:
                return ReadResult(None, {})
            major = versions.major(conn)
            drift = options.fixed(have, desired)
            drift += options.alterable(major, have, desired)
            trouble = subscriptions.problems(have)
            try:
                drift += _connection_drift(conn, given, desired, secret)
                drift += _publisher_drift(conn, given, desired, have, trouble)
            except (Retry, Refused) as error:
                log.warning("%s: not compared with its publisher: %s", desired, error)
        live = inputs_only(props) | subscription_props.live_inputs(props, desired, have, major)
        live["live"] = subscription_props.live(have, secret, drift, trouble)
        return ReadResult(id_, live, self.inputs_in(live))

    def delete(self, _id: str, props: Props) -> None:
        given = self.values(props)
        left = presence.while_it_exists(
            given["server"],
            given["database"],
            lambda conn: dropping.drop_own(
                conn, given["name"], deadline=time.monotonic() + _SECONDS
            ),
            deadline=time.monotonic() + _RESTART_SECONDS,
        )
        if left:
            _drop_copy_slots(given["publisher"], given["database"], left)


def tables_moved(given: Values) -> bool:
    """Return whether an enabled subscription has tables to take in, or to let go.

    Nothing in the program changes when a partition is made on the servers, so they must be asked;
    otherwise the next update would silently leave out the partition's rows. A table that is not on
    the subscriber yet waits: a job's table that comes and goes must not fail every update.
    """
    if not given["enabled"]:
        return False
    found = covered(
        given["publisher"],
        given["server"],
        given["database"],
        publications=given["publication"],
        subscription=given["name"],
    )
    return found is not None and bool(found.unsubscribed or found.withdrawn)


def _connection_drift(
    conn: Any, given: Values, desired: SubscriptionSpec, known: str | None
) -> list[str]:
    """Return how the connection differs from the desired one, in words without a secret.

    Where this role may not read it, as on Aurora, the secret's version reveals a rotation: the
    connection was set with the one that is `known`.
    """
    source = given["publisher"]
    text = connection.text(conn, source, desired.name)
    agrees = connection.agrees(conn, desired.name, text)
    if agrees is None:
        now = source.credentials.replication_version(source.region)
        return ["the replication secret was rotated"] if known not in (None, now) else []
    if agrees:
        return []
    elsewhere = connection.other_address(conn, desired.name, text)
    return [elsewhere or "its connection's login differs from the replication secret"]


def _publisher_drift(
    subscriber: Any, given: Values, desired: SubscriptionSpec, have: Found, trouble: list[str]
) -> list[str]:
    """Return what the publisher has and the subscription lacks; adds to `trouble` what fails."""
    with given["publisher"].connect(given["database"]) as publisher:
        tables = coverage.inspect(publisher, subscriber, desired.publications, desired.name)
        status = slots.status(slots.inspect(publisher, desired.slot_name))
        if have.worker_pid is None and have.apply_errors:
            failing = failing_transaction.find(
                publisher, desired.slot_name, have.publications, have.position
            )
            trouble += [f"next is {failing}"] if failing else []
    new = coverage.names_of([*tables.unsubscribed, *tables.missing])
    found = [f"not subscribed: {one}" for one in new]
    found += [f"no longer published: {one}" for one in coverage.names_of(tables.withdrawn)]
    if not status.readable:
        found.append(f"slot {desired.slot_name} is {status}")
    return found


def _drop_copy_slots(publisher: Server, database: str, left: list[str]) -> None:
    try:
        conn = presence.connect_unless_gone(publisher, database)
        if conn is None:
            return
        with conn:
            dropping.drop_copy_slots(conn, left, str(publisher))
    except BlueGreenError as error:
        # The subscription is gone already, and its publisher may be for good.
        log.warning("slots %s may be left on %s: %s", ", ".join(left), publisher, error)


class Subscription(Resource, module="postgres", name="Subscription"):
    """A subscription that starts at `start_lsn` on a slot that exists.

    Errors:
        refused: another database, name, slot or cluster (at preview); options that no server has
            (at preview) or this one lacks; a publisher in recovery or without the publication; a
            slot that somebody else reads; a subscription of that name that somebody else made (it
            carries no mark), or that differs in what can't be altered; a
            published table that is missing here, or was published later and has rows here, or was
            put into the publication when the slot or the table's subscription was there already; a
            missing privilege (with its GRANT); no free worker, sender or origin.
        retry: a publisher that the subscriber can't reach; a worker that doesn't end; a server out
            of reach.
        clone again: a slot that is gone, lost, or already past where it starts. Later on a slot may
            be past what was applied, since it also moves over what isn't published; then it is one
            that has passed a heartbeat which has not arrived: advanced or recreated by hand while
            the subscription was disabled (by `enabled`, or by an error that CaughtUp has seen).

    `two_phase`, `failover`, `password_required` and `synchronous_commit` are no inputs:
    `bluegreen/replication/subscription/options.py` says why.
    """

    live: pulumi.Output[dict[str, Any]]
    """Live values: worker, position, counts, and `trouble` and `drift` in words."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[SubscriptionInputs],
    ) -> None:
        props = properties(SubscriptionInputs, inputs, Subscription)
        super().__init__(SubscriptionProvider(), resource_name, props, opts)
