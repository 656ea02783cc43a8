"""Coverage: is everything that the writer publishes subscribed, and ready, on the standby?

Rows of a table that is published and not subscribed are dropped without an error, and a heartbeat
proves nothing about a table whose first copy is under way. So the gate before a switch, the
readiness report, the switch's own last check and the code that adds new tables all ask here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bluegreen.finding import Finding, expect_none, require_unblocked
from bluegreen.postgres import owned, publications, subscriptions
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.table_names import TableName, shown
from bluegreen.replication import counterparts
from bluegreen.replication.both_sides import BothSides

COPY_AGAIN = (
    "what was written to them before is missing: take them out of replication.tables, pulumi up,"
    " TRUNCATE them on the standby, and put them in again, so that they are copied"
)

_HERE = """
SELECT n.nspname::text, c.relname::text
  FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS t(schema, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = t.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = t.name
 WHERE c.relkind IN ('r', 'p')
"""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one database sends and takes, compared at one moment."""

    unsubscribed: tuple[TableName, ...]
    """Published, and on the subscriber, but not subscribed: their rows are dropped."""
    missing: tuple[TableName, ...]
    """Published, and not on the subscriber at all."""
    unready: dict[TableName, str]
    """Subscribed, each with the state of its unfinished first copy, in words."""
    withdrawn: tuple[TableName, ...]
    """Subscribed, and published no more."""
    put_back: tuple[TableName, ...] = ()
    """Subscribed all the time, and put into the publication later: rows in between are missing."""
    replaced: tuple[TableName, ...] = ()
    """Another table on the writer than the one whose rows are here: rows of both are mixed."""

    @property
    def complete(self) -> bool:
        """Return whether every published table is subscribed and ready."""
        return not (self.unsubscribed or self.missing or self.unready or self.put_back)

    @property
    def outdated(self) -> bool:
        """Return whether the subscription has tables to add or to remove."""
        return bool(self.unsubscribed or self.missing or self.withdrawn)


def inspect(
    publisher: Connection, subscriber: Connection, names: Collection[str], subscription: str
) -> Coverage:
    """Return how a database's subscription covers the publications `names`."""
    # The publisher first: a table that comes in between is seen by the next look.
    oids = publications.sent_oids(publisher, names)
    sent = set(oids)
    taken = {one.key: one for one in subscriptions.tables(subscriber, subscription)}
    new = sent - taken.keys()
    here = existing(subscriber, new)
    return Coverage(
        unsubscribed=tuple(sorted(new & here)),
        missing=tuple(sorted(new - here)),
        unready={
            table: one.state_in_words
            for table, one in sorted(taken.items(), key=lambda item: item[0])
            if not one.ready and table in sent
        },
        withdrawn=tuple(sorted(taken.keys() - sent)),
        replaced=tuple(counterparts.replaced(subscriber, subscription, taken.values(), oids)),
        put_back=tuple(sorted(owned.added(publisher, names) & taken.keys() & sent)),
    )


def existing(conn: Connection, tables: Collection[TableName]) -> set[TableName]:
    """Return which of `tables` exist."""
    if not tables:
        return set()
    schemas, found = [one[0] for one in tables], [one[1] for one in tables]
    return {(schema, name) for schema, name in conn.execute(_HERE, (schemas, found)).fetchall()}


def judge(database: str, found: Coverage, may_stay: Collection[TableName] = ()) -> list[Finding]:
    """Judge one database's coverage; the remedies are commands. Tables of `may_stay` may differ."""
    return [
        expect_none(
            f"{database}: tables published and not subscribed",
            names_of(found.unsubscribed),
            "their rows would be missing: pulumi up, before the switch, takes them in",
        ),
        expect_none(
            f"{database}: published tables missing on the standby",
            names_of(found.missing),
            "create them there too; then pulumi up, before the switch, takes them in",
        ),
        expect_none(
            f"{database}: tables whose first copy is not over",
            [f"{shown(table)} ({state})" for table, state in found.unready.items()],
            "their rows are not all there: pulumi up waits for them, or try again later",
        ),
        expect_none(
            f"{database}: tables put into the publication when they were subscribed already",
            names_of(found.put_back),
            COPY_AGAIN,
        ),
        expect_none(
            f"{database}: tables dropped and made anew, or renamed, on the writer alone",
            names_of([table for table in found.replaced if table not in may_stay]),
            "the standby has rows of before: DROP and CREATE them there too, then pulumi up copies"
            " them; or name them in replication.accept_stale",
        ),
    ]


def names_of(tables: Sequence[TableName]) -> list[str]:
    """Return tables' names for people."""
    return [shown(table) for table in tables]


def findings(sides: BothSides, may_stay: Collection[TableName] = ()) -> list[Finding]:
    """Look at every database in the direction that runs, and judge."""
    return [
        finding
        for database in sides.databases
        for finding in judge(
            database,
            inspect(
                sides.olds[database],
                sides.news[database],
                [sides.publication()],
                sides.subscription(),
            ),
            may_stay,
        )
    ]


def require_complete(sides: BothSides, may_stay: Collection[TableName] = ()) -> None:
    """Raise `Refused` for the first table whose rows a switch would leave behind."""
    require_unblocked(findings(sides, may_stay), sides.new)
