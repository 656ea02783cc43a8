"""The source's half of the replication: publications, and the slots that the clone starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

from bluegreen import names
from bluegreen.names import Direction
from bluegreen.postgres.publications import OPERATIONS
from bluegreen.postgres.table_names import table_name
from components.source import Source
from components.stack import Stack
from dynamic_providers.publication import Publication
from dynamic_providers.replication_slot import ReplicationSlot
from settings import PublishedTable


class Seam(pulumi.ComponentResource):
    """A publication in each database of the source, and while rows flow forward, its slot.

    Publication before slot, slot before clone: a slot that is older than its publication can't
    decode what lies between, and a clone that is older than its slot misses rows.
    """

    def __init__(
        self, stack: Stack, source: Source | None, after: Sequence[pulumi.Resource]
    ) -> None:
        super().__init__(
            "bluegreen:index:Seam", "seam", opts=pulumi.ResourceOptions(depends_on=list(after))
        )
        self.publications: dict[str, Publication] = {}
        self.slots: dict[str, ReplicationSlot] = {}
        if source is not None and stack.replicates:
            for database in stack.databases:
                self.publications[database] = declare_publication(
                    stack, source.server, database, Direction.FORWARD, self
                )
                if not stack.settings.cutover:
                    self.slots[database] = declare_slot(
                        stack,
                        source.server,
                        database,
                        Direction.FORWARD,
                        self,
                        [self.publications[database]],
                    )
        self.register_outputs({})


def publishes(
    stack: Stack, database: str, direction: Direction = Direction.FORWARD
) -> dict[str, Any]:
    """Return what one database publishes."""
    return {
        "name": names.publication(stack.deployment, direction),
        "scope": _scope(stack, database),
        "replica_identity": stack.settings.replication.replica_identity.get(database, {}),
    }


def declare_publication(
    stack: Stack, server: Any, database: str, direction: Direction, parent: pulumi.Resource
) -> Publication:
    """Declare one database's publication of a direction."""
    wanted = publishes(stack, database, direction)
    return Publication(
        f"{database}-{direction}-publication",
        server=server,
        database=database,
        name=wanted["name"],
        scope=wanted["scope"],
        replica_identity=wanted["replica_identity"],
        opts=pulumi.ResourceOptions(parent=parent),
    )


def declare_slot(
    stack: Stack,
    server: Any,
    database: str,
    direction: Direction,
    parent: pulumi.Resource,
    after: Sequence[pulumi.Resource],
) -> ReplicationSlot:
    """Declare one database's slot of a direction."""
    return ReplicationSlot(
        f"{database}-{direction}-slot",
        server=server,
        database=database,
        name=names.slot(stack.deployment, direction, database),
        publication=names.publication(stack.deployment, direction),
        wait_seconds=stack.settings.replication.slot_wait_seconds,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(after)),
    )


def _scope(stack: Stack, database: str) -> dict[str, Any]:
    """Return what of a database is published; defaults are left out, as `read` leaves them."""
    replication = stack.settings.replication
    chosen = replication.tables.get(database)
    if chosen is None:
        scope: dict[str, Any] = {"kind": "all"}
    elif chosen.schemas:
        scope = {"kind": "schemas", "schemas": chosen.schemas}
    else:
        scope = {"kind": "tables"}
    if chosen is not None and chosen.tables:
        scope["tables"] = [_table(one) for one in chosen.tables]
    if set(replication.operations) != OPERATIONS:
        scope["operations"] = replication.operations
    if replication.publish_via_partition_root:
        scope["publish_via_partition_root"] = True
    return scope


def _table(chosen: PublishedTable) -> dict[str, Any]:
    schema, name = table_name(chosen.table)
    part = chosen.model_dump(include={"columns", "where"}, exclude_none=True)
    return {"schema": schema, "name": name} | part
