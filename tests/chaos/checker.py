"""What must hold after every round, whatever was broken in it: rules over commits and contents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from tests.chaos.clients import Commit

_CONTENTS = """\
WITH mine AS (
    SELECT l.client, n, id, lag(id) OVER w AS id_before, down, lag(down) OVER w AS down_before
      FROM counter c CROSS JOIN LATERAL (
            SELECT * FROM ledger l WHERE l.client = c.client
               AND l.n > coalesce((%s::jsonb ->> c.client::text)::bigint, 0)) l
    WINDOW w AS (PARTITION BY l.client ORDER BY n))
SELECT client, count(*), min(n), max(n),
       count(*) FILTER (WHERE id <= id_before OR down >= down_before),
       (SELECT value FROM counter c WHERE c.client = mine.client)
  FROM mine GROUP BY client"""

_DIGEST = """\
SELECT (SELECT md5(string_agg(l::text, '|' ORDER BY client, n)) FROM ledger l),
       (SELECT md5(string_agg(c::text, '|' ORDER BY client)) FROM counter c),
       (SELECT count(*) FROM bulk), (SELECT sum(hashtext(b::text)) FROM bulk b)"""


def both_open(commits: Sequence[Commit], *, new: int) -> list[str]:
    """Return where the old side took a commit after the new one had: never may it.

    `commits` are those of one round. A commit happened between its sending and its answer, so one
    on the old side that was sent after the new side's first answer came later for certain.
    """
    first = min((one.done_ns for one in commits if one.side == new), default=None)
    if first is None:
        return []
    return [
        f"{one} on the old side, though the new one had answered at {first}"
        for one in commits
        if one.side != new and one.sent_ns > first
    ]


def missing(
    conn: psycopg.Connection[Any], acknowledged: Mapping[int, int], checked: Mapping[int, int]
) -> tuple[list[str], dict[int, int]]:
    """Return what is lost, doubled or out of order on the writer, and how far it was looked at.

    `acknowledged` is the last key of each client of this database, read before; `checked` how far
    an earlier call has looked. A client's keys are gapless, its sequence values in the order of its
    keys, and its counter at its last key.
    """
    found, upto = [], dict(checked)
    seen = set()
    for client, count, first, last, disorder, value in conn.execute(
        _CONTENTS, (json.dumps(dict(checked)),)
    ).fetchall():
        start = checked.get(client, 0)
        seen.add(client)
        if first != start + 1 or count != last - start:
            found.append(f"client {client}: {last - start - count} keys missing after {start}")
        if last < acknowledged.get(client, 0):
            found.append(
                f"client {client}: {acknowledged[client]} was acknowledged, {last} is the last"
            )
        if disorder:
            found.append(f"client {client}: {disorder} sequence values out of order")
        if value != last:
            found.append(f"client {client}: counter {value} at key {last}: reordered")
        upto[client] = last
    found += [
        f"client {client}: all keys from {checked.get(client, 0) + 1} to {last} are gone"
        for client, last in acknowledged.items()
        if client not in seen and last > checked.get(client, 0)
    ]
    return found, upto


def digest(conn: psycopg.Connection[Any]) -> Any:
    """Return what two sides that follow each other have in common."""
    return conn.execute(_DIGEST).fetchone()
