"""Rows that reach the writer from outside: they are not sent on, or come through the fence.

A subscription has `origin = none`, so that rows do not go round between the two sides. With that a
publisher leaves out every row that was written under a replication origin, without an error: by the
apply worker of another subscription, by pglogical or another tool of its kind, or by a session that
has set one up.
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
    """Judge what brings rows to the writer besides its clients."""
    old = sides.old_cluster
    ours = [names.subscription(sides.deployment, direction) for direction in Direction]
    yield expect_none(
        "subscriptions of others on the writer",
        [str(one) for one in subscriptions.inspect_all(old) if one.name not in ours],
        "their apply workers write through the fence, and their rows go no further: drop them",
    )
    # Before, one side or the other knows no such filter, and everything is sent.
    filtered = all(
        versions.supports(conn, Feature.ORIGIN_NONE) for conn in (old, sides.new_cluster)
    )
    yield expect_none(
        "replication origins of others on the writer",
        subscriptions.foreign_origins(old) if filtered else [],
        subscriptions.ORIGINS_REMEDY,
    )


def require_none(sides: BothSides) -> None:
    """Raise `Refused` for the first of them."""
    require_unblocked(findings(sides), sides.old)
