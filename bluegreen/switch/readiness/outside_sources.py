"""Rows that reach the writer from outside: they are not sent on, or pass the fence.

A subscription has `origin = none`, so that rows do not circulate between the two sides. A publisher
then silently leaves out every row that was written under a replication origin: by the apply worker
of another subscription, by pglogical or a similar tool, or by a session that has set one up.
"""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen import names
from bluegreen.finding import Finding, expect_none, require_unblocked
from bluegreen.names import Direction
from bluegreen.postgres import subscriptions, versions
from bluegreen.postgres.versions import Feature
from bluegreen.replication.both_sides import BothSides


def findings(sides: BothSides) -> Iterator[Finding]:
    """Judge what writes rows on the writer besides its clients."""
    old = sides.old_cluster
    ours = [names.subscription(sides.deployment, direction) for direction in Direction]
    yield expect_none(
        "subscriptions of others on the writer",
        [str(one) for one in subscriptions.inspect_all(old) if one.name not in ours],
        "their apply workers write through the fence, and their rows go no further: drop them",
    )
    # Before that version a side has no such filter, and everything is sent.
    filtered = all(
        versions.supports(conn, Feature.ORIGIN_NONE) for conn in (old, sides.new_cluster)
    )
    yield expect_none(
        "replication origins of others on the writer",
        subscriptions.foreign_origins(old) if filtered else [],
        subscriptions.ORIGINS_REMEDY,
    )


def require_none(sides: BothSides) -> None:
    """Raise `Refused` for the first such source."""
    require_unblocked(findings(sides), sides.old)
