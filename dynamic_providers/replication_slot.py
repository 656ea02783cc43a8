"""`postgres:ReplicationSlot`: what the writer keeps for the standby. Never made twice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg
import pulumi
from pulumi.dynamic import (
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from bluegreen.errors import CloneAgain, Refused
from bluegreen.postgres import owned, presence, slots
from bluegreen.postgres.server import Server
from bluegreen.postgres.slots import Status
from bluegreen.replication import slot
from dynamic_providers.props import server as server_of
from dynamic_providers.provider import Props, Provider, explicit_diff, fixed, inputs_only

Connection = psycopg.Connection[Any]

_DROP_SECONDS = 60.0  # whoever reads it comes back, and a server may be restarting

# Slots belong to the whole cluster: found and dropped without their database.
_ANY_DATABASE = "postgres"
_OUTPUTS = (
    "consistent_point",
    "status",
    "wal_status",
    "retained_bytes",
    "active",
    "inactive_reason",
    "stamp",
)


class ReplicationSlotProvider(Provider):
    """A slot that is gone or lost stays in the state as such, and every update fails."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        return CheckResult(news, fixed(olds, news, ("database", "name")))

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        found = explicit_diff(olds, news, updates=("server", "publication", "wait_seconds"))
        if not Status(olds.get("status") or Status.RESERVED).readable:
            found.changes = True
        return found

    def create(self, props: Props) -> CreateResult:
        server = server_of(props["server"])
        with server.connect(props["database"]) as conn:
            made = slot.ensure(
                conn,
                props["name"],
                # A subscription has the name of the publication that it reads.
                reader=props["publication"],
                where=str(server),
                wait_seconds=float(props["wait_seconds"]),
            )
            stamp = slot.stamp(conn, props["name"])
        outputs = {"consistent_point": str(made.confirmed), "stamp": stamp} | _seen(made)
        return CreateResult(f"{props['database']}/{props['name']}", inputs_only(props) | outputs)

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        server = server_of(news["server"])
        with server.connect(_ANY_DATABASE) as conn:
            have = slot.require_readable(conn, news["name"], str(server))
            if slot.made_anew(conn, news["name"], olds.get("stamp")):
                raise CloneAgain(
                    f"slot {news['name']} on {server}: dropped and made anew by somebody else; "
                    "what was written in between is missing without an error: clone again"
                )
        consistent = olds.get("consistent_point") or str(have.confirmed)
        outputs = {"consistent_point": consistent, "stamp": olds.get("stamp")} | _seen(have)
        return UpdateResult(inputs_only(news) | outputs)

    def read(self, id_: str, props: Props) -> ReadResult:
        conn = presence.connect_unless_gone(server_of(props["server"]), _ANY_DATABASE)
        if conn is None:
            return ReadResult(None, {})
        with conn:
            found = slots.inspect(conn, props["name"])
            replaced = slot.made_anew(conn, props["name"], props.get("stamp"))
        live = inputs_only(props) | _seen(found)
        # On 16 a slot that is lost has lost its stamp, too.
        if replaced and slots.status(found).readable:
            live["status"] = str(Status.REPLACED)
        return ReadResult(id_, live, {k: v for k, v in live.items() if k not in _OUTPUTS})

    def delete(self, _id: str, props: Props) -> None:
        server = server_of(props["server"])
        deadline = time.monotonic() + _DROP_SECONDS
        presence.while_it_exists(
            server,
            _ANY_DATABASE,
            lambda conn: _drop(conn, props, server, deadline),
            deadline=deadline,
        )
        presence.while_it_exists(
            server,
            props["database"],
            lambda conn: owned.forget_slot(conn, props["name"]),
            deadline=deadline,
        )


def _drop(conn: Connection, props: Props, server: Server, deadline: float) -> None:
    # A lost one has no statistics to be told by, and nobody can read it any more.
    readable = slots.status(slots.inspect(conn, props["name"])).readable
    if readable and slot.made_anew(conn, props["name"], props.get("stamp")):
        raise Refused(
            f"slot {props['name']} on {server}: dropped and made anew by somebody else; drop it by "
            "hand if it is unused, then try again"
        )
    slot.drop(conn, props["name"], where=str(server), deadline=deadline)


def _seen(have: slots.Slot | None) -> Props:
    """Return what the server says now. It moves all the time, so no diff looks at it."""
    return {
        "status": str(slots.status(have)),
        "wal_status": have.wal_status if have else None,
        "retained_bytes": have.retained_bytes if have else None,
        "active": have is not None and have.active_pid is not None,
        "inactive_reason": have.inactive_reason if have else None,
    }


class ReplicationSlot(Resource, module="postgres", name="ReplicationSlot"):
    """A logical slot for `publication`, made before the clone; waits for open writers.

    Inputs:
        server: Writer endpoint of the environment that publishes, and references to its
            credentials.
        database: The database that it decodes.
        name: The slot's name: slots are shared by the whole cluster, so it carries the database.
        publication: The publication that is read through it; the subscription has the same name.
        wait_seconds: How long its creation waits for write transactions that are open, in seconds.

    Errors:
        refused: another database or name (at preview); a slot of that name that is physical,
            temporary, of another database or plugin, or made or read by somebody else; a deletion
            of one that was made anew by somebody else; no free slot or WAL sender;
            `wal_level` below logical; a missing privilege (with its GRANT).
        retry: write transactions that stay open for longer than `wait_seconds` (named); a server
            out of reach, for deletions after a minute; a reader that comes back while the slot is
            dropped.
        clone again: a slot that is missing, lost or invalidated: never made anew. One that somebody
            else has made anew under its name, as far as its stamp tells: the statistics that hold
            it end in a crash or failover, and not every role may set it.
    """

    consistent_point: pulumi.Output[str]
    """The LSN from which on the slot has everything: a clone must end after it."""
    status: pulumi.Output[str]
    """`reserved`, `extended`, `unreserved`; or `lost`, `invalidated`, `missing`, `replaced`: clone
    again."""
    wal_status: pulumi.Output[str | None]
    """The server's own word, as in pg_replication_slots."""
    retained_bytes: pulumi.Output[str | None]
    """WAL that the server keeps for it, in bytes."""
    active: pulumi.Output[bool]
    """Whether somebody reads it."""
    inactive_reason: pulumi.Output[str | None]
    """Why nobody reads it, as far as the server says; more from PostgreSQL 17 on."""
    stamp: pulumi.Output[str | None]
    """What tells it from a slot that somebody else makes under its name."""

    def __init__(
        self,
        resource_name: str,
        *,
        server: pulumi.Input[Mapping[str, Any]],
        database: pulumi.Input[str],
        name: pulumi.Input[str],
        publication: pulumi.Input[str],
        wait_seconds: pulumi.Input[float],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "server": server,
            "database": database,
            "name": name,
            "publication": publication,
            "wait_seconds": wait_seconds,
            **dict.fromkeys(_OUTPUTS),
        }
        super().__init__(ReplicationSlotProvider(), resource_name, props, opts)
