"""What the tool notes of a subscription that its role can't read back; kept in the schema's mark.

A note is of exactly one subscription: one that was recreated under its name has none.
"""

from __future__ import annotations

from typing import Any, Literal

import psycopg

from bluegreen.postgres import owned, remedies
from bluegreen.postgres.subscriptions import Subscription

Kind = Literal["connections", "starts"]


def read(conn: psycopg.Connection[Any], kind: Kind, have: Subscription) -> str | None:
    """Return what was noted of this subscription, None without a note."""
    known = owned.remembered(conn).get(kind, {}).get(have.name)
    return str(known[1]) if known and known[0] == str(have.oid) else None


def write(conn: psycopg.Connection[Any], kind: Kind, have: Subscription, text: str) -> None:
    """Note `text` in place of what was noted before; the tool's schema must be there."""

    def change(known: owned.Memory) -> owned.Memory:
        return {kind: {**known.get(kind, {}), have.name: [str(have.oid), text]}}

    with remedies.explained(conn, f"what is known of subscription {have.name}"):
        owned.change_memory(conn, change)
