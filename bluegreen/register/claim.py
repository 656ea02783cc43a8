"""The claim on a source: one deployment at a time replaces it, whatever else has its name.

What a deployment makes on its source is called by the deployment's name, and so by the stack's. Two
projects may have a stack of one name; the second would take the first one's slots for its own, and
each would get a part of the rows.
"""

from __future__ import annotations

from bluegreen.postgres.queries import Connection, value

_TAKE = """\
INSERT INTO bluegreen.claim AS c (target) VALUES (%s)
    ON CONFLICT (one) DO UPDATE SET target = excluded.target WHERE c.target = ANY (%s)"""


def holder(conn: Connection) -> str | None:
    """Return the cluster that is to replace this environment; None without one."""
    found: str | None = value(conn, "SELECT target FROM bluegreen.claim")
    return found


def take(conn: Connection, target: str, *, instead_of: str | None) -> bool:
    """Note that the cluster `target` is to replace this environment.

    False when another than `instead_of` has come first. `conn` is to the tool's database.
    """
    conn.execute(_TAKE, (target, [instead_of or target, target]))
    return holder(conn) == target
