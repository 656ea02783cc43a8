"""The way back: what its replication will need must exist before a switch.

After a switch the old writer becomes the standby of the other direction. A lost slot, a missing
table or a lack of room for its subscription would show only then, when the new writer has taken
rows already: too late to go back without loss.
"""

from __future__ import annotations

from dataclasses import dataclass

from bluegreen import names
from bluegreen.errors import BlueGreenError, Refused
from bluegreen.finding import Finding, Level, expect_none, require_unblocked
from bluegreen.postgres import capacity, publications, slots
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.remedies import quoted
from bluegreen.postgres.slots import Slot
from bluegreen.postgres.table_names import TableName, shown
from bluegreen.replication import coverage, slot
from bluegreen.replication.both_sides import BothSides
from bluegreen.replication.publication import replica_identity
from bluegreen.replication.subscription import owner_rights

# From 16 on; earlier, only superusers may, and services permit it to their administrators.
_MAY_SUBSCRIBE = """
SELECT r.rolsuper OR CASE
         WHEN pg_catalog.to_regrole('pg_create_subscription') IS NULL THEN true
         ELSE pg_catalog.pg_has_role('pg_create_subscription', 'USAGE')
              AND pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
       END
  FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""


@dataclass(frozen=True, slots=True)
class WayBack:
    """What one database has for the other direction."""

    database: str
    publication: str
    published: bool
    slot_name: str
    subscription: str
    slot: Slot | None
    missing: list[TableName]
    """Tables that the new writer would publish, and the old one does not have."""
    unidentified: dict[TableName, str]
    """Tables that it publishes whose UPDATE and DELETE would fail there, each with the reason."""
    unable: str | None
    """Why the old side couldn't subscribe, or apply."""

    @property
    def slot_unfit(self) -> str | None:
        """Return why the existing slot can't serve the way back."""
        if self.slot is None:
            return None
        return slot.takeover_problem(self.slot, database=self.database, reader=self.subscription)


def inspect(sides: BothSides, database: str) -> WayBack:
    """Inspect one database: what the standby publishes, and who would apply it."""
    old, new = sides.olds[database], sides.news[database]
    publication = names.publication(sides.deployment, sides.back)
    name = names.slot(sides.deployment, sides.back, database)
    subscription = names.subscription(sides.deployment, sides.back)
    tables = publications.sent_tables(new, [publication])
    here = coverage.existing(old, tables)
    return WayBack(
        database=database,
        publication=publication,
        published=publications.inspect(new, publication) is not None,
        slot_name=name,
        subscription=subscription,
        slot=slots.inspect(new, name),
        missing=sorted(set(tables) - here),
        unidentified=_unidentified(new, publication),
        unable=_unable(old, subscription, sorted(here)),
    )


def _unidentified(new: Connection, publication: str) -> dict[TableName, str]:
    problems = {
        table.key: replica_identity.problem(table, table.identity)
        for table in replica_identity.published(new, publication)
    }
    return {table: why for table, why in problems.items() if why is not None}


def _unable(old: Connection, subscription: str, tables: list[TableName]) -> str | None:
    """Return why this administrator can't subscribe there, or its apply couldn't write."""
    if old.execute(_MAY_SUBSCRIBE).fetchone() != (True,):
        return (
            f"{old.info.user!r} may not make subscriptions in {old.info.dbname!r};"
            f" GRANT pg_create_subscription TO {quoted(old.info.user)}, GRANT CREATE ON DATABASE"
            f" {quoted(old.info.dbname)} TO {quoted(old.info.user)}"
        )
    try:
        owner_rights.require_appliable(
            old,
            f"subscription {subscription}",
            old.info.user,
            tables,
            run_as_owner=False,
        )
    except Refused as error:
        return str(error)
    return None


def findings(sides: BothSides, *, made: bool) -> list[Finding]:
    """Inspect the way back of every database and of both clusters, and judge.

    The update that switches makes its slots, so before that they need only be possible; with
    `made` they must exist.
    """
    found = [inspect(sides, database) for database in sides.databases]
    slots = sum(one.slot is None for one in found)
    return [
        *(finding for one in found for finding in judge(sides, one, made=made)),
        *_room(sides, slots=slots),
    ]


def judge(sides: BothSides, found: WayBack, *, made: bool) -> list[Finding]:
    """Judge one database's way back."""
    head = f"{found.database}: the way back's"
    return [
        _slot(f"{head} slot", sides, found, made=made),
        expect_none(
            f"{head} publication",
            [] if found.published else [f"{found.publication} is not on {sides.new}"],
            "pulumi up --refresh makes it",
        ),
        expect_none(
            f"{head} tables missing on the old side",
            coverage.names_of(found.missing),
            f"create them on {sides.old}, or drop them on {sides.new}",
        ),
        expect_none(
            f"{found.database}: tables without replica identity",
            [f"{shown(table)} ({why})" for table, why in found.unidentified.items()],
            "the way back publishes them: add a key, or set replication.replica_identity",
        ),
        expect_none(f"{head} subscription", [found.unable] if found.unable else [], ""),
    ]


def _slot(subject: str, sides: BothSides, found: WayBack, *, made: bool) -> Finding:
    if found.slot is None:
        if made:
            remedy = "pulumi up --refresh makes it, or set rollback to false"
            return Finding(Level.BLOCK, subject, f"{found.slot_name} is missing", remedy)
        return Finding(Level.OK, subject, "is made by the update that switches")
    unfit = found.slot_unfit
    if unfit is None:
        return Finding(Level.OK, subject, str(slots.status(found.slot)))
    return Finding(
        Level.BLOCK,
        subject,
        f"{found.slot_name} on {sides.new} {unfit}",
        "set cutover back and pulumi up, which deletes it; the next flip recreates it",
    )


def _room(sides: BothSides, *, slots: int) -> list[Finding]:
    """Judge whether both servers have room for so many more slots and all subscriptions."""
    count = len(sides.databases)
    publish = capacity.publishing_problem(
        capacity.inspect(sides.new_cluster), slots=slots, senders=count
    )
    subscribe = capacity.subscribing_problem(
        capacity.inspect(sides.old_cluster), subscriptions=count
    )
    return [
        expect_none(f"room for the way back on {sides.new}", [publish] if publish else [], ""),
        expect_none(f"room for the way back on {sides.old}", [subscribe] if subscribe else [], ""),
    ]


def login(sides: BothSides) -> Finding:
    """Try the login of the way back's subscriptions: its failure would show in a log only."""
    subject = f"the way back's login on {sides.new}"
    try:
        for database in sides.databases:
            sides.new.try_replication(database)
    except BlueGreenError as error:
        return Finding(Level.BLOCK, subject, str(error))
    return Finding(Level.OK, subject, "works")


def require_open(sides: BothSides) -> None:
    """Raise `Refused` for the first thing that would cut off the way back: a last check."""
    require_unblocked(findings(sides, made=True), sides.new)
