"""When a server gives up slots that fall behind, or that nobody reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

_LIMITS = """
SELECT (SELECT setting::bigint FROM pg_catalog.pg_settings
         WHERE name = 'max_slot_wal_keep_size') AS keep_mb,
       coalesce(extract(epoch FROM pg_catalog.current_setting(
           'idle_replication_slot_timeout', true)::interval), 0)::int AS idle_seconds
"""


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """The limits beyond which a slot is lost though nobody drops it."""

    keep_mb: int = -1
    """How much WAL is kept for a slot, in MB; -1 is without limit."""
    idle_seconds: int = 0
    """How long a slot may stay unread (from 18 on); 0 is for ever."""


def inspect(conn: psycopg.Connection[Any]) -> SlotLimits:
    """Return the limits of the server behind `conn`."""
    with conn.cursor(row_factory=class_row(SlotLimits)) as cursor:
        row = cursor.execute(_LIMITS, ()).fetchone()
    assert row is not None  # a SELECT without FROM has one row
    return row
