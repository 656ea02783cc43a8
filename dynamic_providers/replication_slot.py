"""`postgres:ReplicationSlot`: what the writer keeps for the standby. Never made twice."""

from __future__ import annotations

import time
from typing import Annotated, Any, TypedDict, Unpack

import psycopg
import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen.errors import CloneAgain, Refused
from bluegreen.postgres import owned, presence, slots
from bluegreen.postgres.server import Server
from bluegreen.postgres.slots import Status
from bluegreen.replication import slot
from dynamic_providers.inputs import FIXED, UPDATES, properties
from dynamic_providers.provider import Props, Provider, inputs_only
from dynamic_providers.value_types import NameInput, SecondsInput, ServerInput
from dynamic_providers.values import Values

Connection = psycopg.Connection[Any]

_DROP_SECONDS = 60.0  # its reader reconnects, and a server may be restarting

# Slots belong to the whole cluster: they are found and dropped without their database.
_ANY_DATABASE = "postgres"


class ReplicationSlotInputs(TypedDict):
    """What a slot is made for."""

    server: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that publishes, and references to its credentials."""
    database: Annotated[pulumi.Input[str], FIXED]
    """The database that it decodes."""
    name: Annotated[NameInput, FIXED]
    """The slot's name: slots are shared by the whole cluster, so it carries the database."""
    publication: Annotated[pulumi.Input[str], UPDATES]
    """The publication that is read through it; the subscription has the same name."""
    wait_seconds: Annotated[SecondsInput, UPDATES]
    """How long its creation waits for write transactions that are open, in seconds."""


class ReplicationSlotProvider(Provider):
    """A slot that is gone or lost stays in the state as such, and every update fails."""

    inputs = ReplicationSlotInputs

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        found = super().diff(_id, olds, news)
        if not Status(olds.get("status") or Status.RESERVED).readable:
            found.changes = True
        return found

    def create(self, props: Props) -> CreateResult:
        given = self.values(props)
        server: Server = given["server"]
        with server.connect(given["database"]) as conn:
            made = slot.ensure(
                conn,
                given["name"],
                # A subscription has the name of the publication that it reads.
                reader=given["publication"],
                where=str(server),
                wait_seconds=given["wait_seconds"],
            )
            stamp = slot.stamp(conn, given["name"])
        outputs = {"consistent_point": str(made.confirmed), "stamp": stamp} | _seen(made)
        return CreateResult(f"{props['database']}/{props['name']}", inputs_only(props) | outputs)

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        given = self.values(news)
        server: Server = given["server"]
        with server.connect(_ANY_DATABASE) as conn:
            have = slot.require_readable(conn, given["name"], str(server))
            if slot.was_recreated(conn, given["name"], olds.get("stamp")):
                raise CloneAgain(
                    f"slot {given['name']} on {server}: dropped and recreated by somebody else; "
                    "what was written in between is missing without an error: clone again"
                )
        consistent = olds.get("consistent_point") or str(have.confirmed)
        outputs = {"consistent_point": consistent, "stamp": olds.get("stamp")} | _seen(have)
        return UpdateResult(inputs_only(news) | outputs)

    def read(self, id_: str, props: Props) -> ReadResult:
        given = self.values(props)
        conn = presence.connect_unless_gone(given["server"], _ANY_DATABASE)
        if conn is None:
            return ReadResult(None, {})
        with conn:
            found = slots.inspect(conn, given["name"])
            replaced = slot.was_recreated(conn, given["name"], props.get("stamp"))
        if (problem := slot.retained_problem(found, str(given["server"]))) is not None:
            slot.log.warning("%s", problem)
        live = inputs_only(props) | _seen(found)
        # On 16 a lost slot has lost its stamp, too.
        if replaced and slots.status(found).readable:
            live["status"] = str(Status.REPLACED)
        return ReadResult(id_, live, self.inputs_in(live))

    def delete(self, _id: str, props: Props) -> None:
        given = self.values(props)
        deadline = time.monotonic() + _DROP_SECONDS
        presence.while_it_exists(
            given["server"],
            _ANY_DATABASE,
            lambda conn: _drop(conn, given, props.get("stamp"), deadline),
            deadline=deadline,
        )
        presence.while_it_exists(
            given["server"],
            given["database"],
            lambda conn: owned.forget_slot(conn, given["name"]),
            deadline=deadline,
        )


def _drop(conn: Connection, given: Values, stamp: str | None, deadline: float) -> None:
    server, name = given["server"], given["name"]
    # A lost slot has no statistics to recognise it by, and nobody can read it any more.
    readable = slots.status(slots.inspect(conn, name)).readable
    if readable and slot.was_recreated(conn, name, stamp):
        raise Refused(
            f"slot {name} on {server}: dropped and recreated by somebody else; drop it by "
            "hand if it is unused, then try again"
        )
    slot.drop(conn, name, where=str(server), deadline=deadline)


def _seen(have: slots.Slot | None) -> Props:
    """Return the server's current values. They change all the time, so no diff compares them."""
    return {
        "status": str(slots.status(have)),
        "wal_status": have.wal_status if have else None,
        "retained_bytes": have.retained_bytes if have else None,
        "active": have is not None and have.active_pid is not None,
        "inactive_reason": have.inactive_reason if have else None,
    }


class ReplicationSlot(Resource, module="postgres", name="ReplicationSlot"):
    """A logical slot for `publication`, made before the clone; waits for open writers.

    Errors:
        refused: another database or name (at preview); a slot of that name that is physical,
            temporary, of another database or plugin, or made or read by somebody else; a deletion
            of one that was recreated by somebody else; no free slot or WAL sender;
            `wal_level` below logical; a missing privilege (with its GRANT).
        retry: write transactions that stay open for longer than `wait_seconds` (named); a server
            out of reach, for deletions after a minute; a reader that comes back while the slot is
            dropped.
        clone again: a slot that is missing, lost or invalidated: never recreated. One that somebody
            else has recreated under its name, as far as its stamp shows: the statistics that hold
            it are reset by a crash or failover, and not every role may set it.
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
    """What distinguishes it from a slot that somebody else makes under its name."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[ReplicationSlotInputs],
    ) -> None:
        props = properties(ReplicationSlotInputs, inputs, ReplicationSlot)
        super().__init__(ReplicationSlotProvider(), resource_name, props, opts)
