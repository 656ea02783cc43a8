"""Room for replication: slots, senders, workers and origins that a server still has free.

Each is a fixed number of places in the server's memory. A lack of them shows late and elsewhere:
in the log of a worker that can't start, while the publisher keeps all WAL for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from bluegreen.postgres import slots, subscriptions

# Background workers are known by their type; those of parallel queries come and go, and a service's
# own processes, of other types, may or may not count.
# Before 18 max_replication_slots limits origins too.
_PLACES = """
SELECT pg_catalog.current_setting('max_replication_slots')::int AS max_slots,
       pg_catalog.current_setting('max_wal_senders')::int AS max_senders,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity
         WHERE backend_type = 'walsender')::int AS used_senders,
       pg_catalog.current_setting('max_logical_replication_workers')::int AS max_workers,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity
         WHERE backend_type LIKE 'logical replication %%worker')::int AS used_workers,
       pg_catalog.current_setting('max_worker_processes')::int AS max_processes,
       (SELECT count(*) FROM pg_catalog.pg_stat_activity
         WHERE backend_type ~ '(launcher|worker)$'
           AND backend_type !~ '^(autovacuum|io|parallel|slotsync) ')::int AS used_processes,
       CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 180000
            THEN 'max_active_replication_origins' ELSE 'max_replication_slots'
        END AS origins_parameter,
       coalesce(pg_catalog.current_setting('max_active_replication_origins', true),
                pg_catalog.current_setting('max_replication_slots'))::int AS max_origins,
       (SELECT count(*) FROM pg_catalog.pg_replication_origin)::int AS used_origins
"""


@dataclass(frozen=True, slots=True)
class Capacity:
    """Places for replication on one server: how many there are, and how many are taken."""

    max_slots: int
    used_slots: int
    max_senders: int
    used_senders: int
    max_workers: int
    used_workers: int
    max_processes: int
    """Of all background workers; each replication worker is one."""
    used_processes: int
    enabled_subscriptions: int
    """Each needs a worker, whether it has one now or not."""
    origins_parameter: str
    max_origins: int
    used_origins: int


def inspect(conn: psycopg.Connection[Any]) -> Capacity:
    """Return the places of the server behind `conn`."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_PLACES, ()).fetchone()
    assert row is not None  # a SELECT without FROM has one row
    return Capacity(
        **row,
        used_slots=len(slots.inspect_all(conn)),
        enabled_subscriptions=sum(one.enabled for one in subscriptions.inspect_all(conn)),
    )


def publishing_problem(found: Capacity, *, slots: int, senders: int) -> str | None:
    """Return what is missing for so many more slots and senders, None when there is room."""
    return _first(
        _lacking(
            "replication slots", "max_replication_slots", found.max_slots, found.used_slots, slots
        ),
        _lacking("WAL senders", "max_wal_senders", found.max_senders, found.used_senders, senders),
    )


def subscribing_problem(found: Capacity, *, subscriptions: int) -> str | None:
    """Return what is missing for so many more subscriptions, None when there is room.

    Each has one worker and one origin. Workers that copy tables or apply in parallel come on top;
    without a place they wait, or the apply does without them.
    """
    return _first(
        _lacking(
            "logical replication workers",
            "max_logical_replication_workers",
            found.max_workers,
            found.used_workers,
            subscriptions,
        ),
        _lacking(
            "background workers",
            "max_worker_processes",
            found.max_processes,
            found.used_processes,
            subscriptions,
        ),
        _lacking(
            "replication origins",
            found.origins_parameter,
            found.max_origins,
            found.used_origins,
            subscriptions,
        ),
    )


def enabling_problem(found: Capacity) -> str | None:
    """Return what is missing to enable one more subscription, None when there is room.

    Without a free worker it would wait for ever, with a line in the server's log alone.
    """
    return _lacking(
        "logical replication workers",
        "max_logical_replication_workers",
        found.max_workers,
        found.enabled_subscriptions,
        1,
    )


def _first(*reasons: str | None) -> str | None:
    return next((reason for reason in reasons if reason is not None), None)


def _lacking(what: str, parameter: str, there: int, used: int, more: int) -> str | None:
    short = more - (there - used)
    if short <= 0:
        return None
    return (
        f"{used} of {there} {what} are in use, {short} more needed; raise {parameter} and reboot "
        "its writer"
    )
