"""Counterparts: whose rows a subscribed table holds, by the oids that both tables have.

A subscription knows tables by their names. One that was dropped and made anew on the writer alone,
or whose name another table has taken there, goes on without an error: the standby keeps the rows of
before, and gets those of the other table as well. So what was whose is remembered, in the mark of
the subscriber's schema; names may change on both sides, the oids of the two do not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bluegreen.postgres import owned, publications, remedies, subscriptions
from bluegreen.postgres.queries import Connection, column
from bluegreen.postgres.subscriptions import SubscribedTable
from bluegreen.postgres.table_names import TableName

_TABLES = """
SELECT c.oid::int8 FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname !~ '^pg_'
   AND n.nspname <> 'information_schema'
 ORDER BY 1
"""


def note_clone(conn: Connection) -> None:
    """Remember on a fresh clone that its tables are its source's, oid for oid.

    An upgrade keeps oids. What was remembered there is the source's own business.
    """
    if owned.find_schema(conn) is not None:
        owned.remember(conn, cloned=column(conn, _TABLES), counterparts={})


def note(
    subscriber: Connection,
    publisher: Connection,
    names: Collection[str],
    subscription: str,
    *,
    anew: bool,
) -> None:
    """Remember whose rows each table of the subscription has, if that is not remembered yet.

    `names` are its publications. `anew`: it was made just now, where both sides are alike, and what
    was remembered of an earlier one counts no more; but a clone's tables have those of its source.
    """
    if owned.find_schema(subscriber) is None:
        return
    sent = publications.sent_oids(publisher, names)
    taken = [one for one in subscriptions.tables(subscriber, subscription) if one.key in sent]

    def change(memory: owned.Memory) -> owned.Memory:
        others = {**memory.get("counterparts", {})}
        before, cloned = others.pop(subscription, {}), set(memory.get("cloned", []))
        known = {} if anew else before
        now = {
            str(one.oid): known.get(str(one.oid), one.oid if one.oid in cloned else sent[one.key])
            for one in taken
        }
        if now == before and not cloned:
            return {}
        return {"counterparts": {**others, subscription: now}, "cloned": []}

    with remedies.explained(subscriber, f"what is known of subscription {subscription}"):
        owned.change_memory(subscriber, change)


def replaced(
    subscriber: Connection,
    subscription: str,
    taken: Collection[SubscribedTable],
    sent: Mapping[TableName, int],
) -> list[TableName]:
    """Return the tables that get rows of another table than the one whose rows they have."""
    known = owned.remembered(subscriber).get("counterparts", {}).get(subscription, {})
    return sorted(
        one.key
        for one in taken
        if one.key in sent and known.get(str(one.oid), sent[one.key]) != sent[one.key]
    )
