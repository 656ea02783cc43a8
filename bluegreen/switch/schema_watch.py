"""Watches that the schemas checked before the fence are the same when it is up.

Between the last check and the fence lie seconds in which anybody may make a table, a partition or a
sequence, or alter a publication: rows written there would go nowhere, without an error. So each
database has a marker of its schema, taken before the check, and read again within the outage in
messages that are sent anyway. Where it has changed, everything is checked once more, before the
decision; otherwise that costs nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import psycopg

from bluegreen.errors import Refused, Retry
from bluegreen.finding import require_unblocked
from bluegreen.postgres import publications, subscriptions
from bluegreen.postgres.queries import Connection
from bluegreen.postgres.table_names import TableName, shown
from bluegreen.replication import coverage, sequences
from bluegreen.replication.both_sides import BothSides
from bluegreen.switch.readiness import left_behind, outside_sources

# Sums of hashes: in no order, and of what decides where rows go. Temporary relations are nobody's
# else. `relnatts` grows with each column that is added: a list of columns would leave it out. A
# sequence has another file once it was restarted or altered, and not by being called or set.
_MARKER = """
SELECT found.tables
       + (SELECT coalesce(sum(pg_catalog.hash_record_extended(ROW(
                   i.inhrelid, i.inhparent), 0)), 0) FROM pg_catalog.pg_inherits i) AS tables,
       found.sequences, found.restarts,
       {publications} AS publications,
       {subscriptions} AS subscriptions
  FROM (SELECT coalesce(sum(pg_catalog.hash_record_extended(ROW(
                   c.oid, c.relnamespace, c.relname, c.relkind, c.relpersistence,
                   c.relispartition, c.relnatts), 0)) FILTER (WHERE c.relkind <> 'S'), 0) AS tables,
               coalesce(sum(pg_catalog.hash_record_extended(ROW(
                   c.oid, c.relnamespace, c.relname), 0))
                   FILTER (WHERE c.relkind = 'S'), 0) AS sequences,
               coalesce(sum(pg_catalog.hash_record_extended(ROW(
                   c.oid, c.relfilenode), 0)) FILTER (WHERE c.relkind = 'S'), 0) AS restarts
          FROM pg_catalog.pg_class c
         WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't') found
"""


@dataclass(frozen=True, slots=True)
class Marker:
    """A database's schema at one moment: each number differs once its subject has changed."""

    tables: Any
    sequences: Any
    restarts: Any
    """Of the sequences: restarted, by `TRUNCATE ... RESTART IDENTITY` too, or altered."""
    publications: Any
    subscriptions: Any


class Sighting:
    """A marker that was asked for, and may still be on its way."""

    def __init__(self, conn: Connection) -> None:
        query: Any = _MARKER.format(
            publications=publications.marker(conn), subscriptions=subscriptions.MARKER
        )
        self._cursor: psycopg.Cursor[Any] = conn.execute(query, prepare=True)
        self._marker: Marker | None = None

    def marker(self) -> Marker:
        """Return it once it is here."""
        if self._marker is None:
            row = self._cursor.fetchone()
            assert row is not None  # sums have one row
            self._marker = Marker(*row)
        return self._marker


class SchemaWatch:
    """The schemas of both sides, from the last check before the fence to the decision.

    Make it before that check. `accepted` are tables that may be left behind.
    """

    def __init__(self, sides: BothSides, accepted: Collection[str]) -> None:
        self._sides, self._accepted = sides, tuple(accepted)
        self._before = {
            conn: Sighting(conn).marker() for conn in (*sides.olds.values(), *sides.news.values())
        }
        self._now: dict[Connection, Sighting] = {}
        self._sent = {name: self._sent_now(name) for name in sides.databases}

    def look_again(self, conn: Connection) -> None:
        """Ask for the marker of a connection's database; its answer is awaited when it counts."""
        self._now[conn] = Sighting(conn)

    def restarted(self, database: str) -> bool:
        """Return whether a sequence of the writer was begun anew since the first look.

        `TRUNCATE ... RESTART IDENTITY` does that on the standby as well, when it is applied there:
        nothing that is known of the standby's sequences from before holds then.
        """
        before, now = self._markers(self._sides.olds[database])
        return bool(before.restarts != now.restarts)

    def require_harmless(self) -> None:
        """Raise where a change between the two checks would lose rows, or may do so.

        Every marker has been read again, and the connections are idle. Raises `Refused` naming
        tables, `Retry` for what the next attempt checks again.
        """
        for database in self._sides.databases:
            self._require_harmless(database)

    def _require_harmless(self, database: str) -> None:
        sides = self._sides
        before_old, old = self._markers(sides.olds[database])
        before_new, new = self._markers(sides.news[database])
        if old.publications != before_old.publications:
            raise self._again(f"a publication in {database!r} on {sides.old} was altered")
        if old.subscriptions != before_old.subscriptions:
            outside_sources.require_none(sides)
        if (old.tables, new.tables, new.subscriptions) != (
            before_old.tables,
            before_new.tables,
            before_new.subscriptions,
        ):
            self._require_all_sent(database)
        for server, now, before in ((sides.old, old, before_old), (sides.new, new, before_new)):
            if now.sequences != before.sequences:
                raise self._again(
                    f"sequences in {database!r} on {server} were made, dropped or renamed"
                )
        if (old.restarts, new.restarts) != (before_old.restarts, before_new.restarts):
            sequences.require_alike(sides.olds[database], sides.news[database])

    def _markers(self, conn: Connection) -> tuple[Marker, Marker]:
        return self._before[conn], self._now[conn].marker()

    def _require_all_sent(self, database: str) -> None:
        sides = self._sides
        old, new = sides.olds[database], sides.news[database]
        found = coverage.judge(
            database,
            coverage.inspect(old, new, [sides.publication()], sides.subscription()),
            left_behind.accepted(self._accepted),
        )
        found += left_behind.judge(
            left_behind.inspect(sides, database, way_back=False),
            left_behind.accepted(self._accepted),
        )
        require_unblocked(found, sides.new)
        gone = coverage.existing(old, self._sent[database] - self._sent_now(database))
        if gone:
            raise Refused(
                f"{sides.new}: {database}: tables no longer published:"
                f" {', '.join(map(shown, sorted(gone)))}; their rows would be missing: publish them"
                " again, and clone again if any was written since"
            )

    def _sent_now(self, database: str) -> set[TableName]:
        conn, name = self._sides.olds[database], self._sides.publication()
        return set(publications.sent_tables(conn, [name]))

    def _again(self, what: str) -> Retry:
        return Retry(f"{what} while the switch was under way; nothing was moved: run it again")
