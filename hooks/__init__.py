"""Runtime hooks: what is checked at the last moment, and what is reported afterwards.

No delete hooks: with one in the state a plain `pulumi destroy` is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from hooks.existing import Absent
from hooks.names import watch_names
from hooks.readiness import check_readiness
from hooks.timeline import tell_timeline
from hooks.traffic import Guard, Side


def switch_hooks() -> pulumi.ResourceHookBinding:
    """Return the hooks of `Switchover`: the report before, at preview too; what it did after."""
    ready = pulumi.ResourceHook(
        "readiness", check_readiness, pulumi.ResourceHookOptions(on_dry_run=True)
    )
    timeline_hook = pulumi.ResourceHook(
        "timeline", tell_timeline, pulumi.ResourceHookOptions(ignore_errors=True)
    )
    watched = pulumi.ResourceHook(
        "names", watch_names, pulumi.ResourceHookOptions(ignore_errors=True)
    )
    return pulumi.ResourceHookBinding(
        before_create=[ready], before_update=[ready], after_update=[timeline_hook, watched]
    )


def cluster_hooks(*, identifier: str, region: str) -> pulumi.ResourceHookBinding:
    """Return a cluster's hook, at preview too: one that exists is neither made nor replaced."""
    absent = pulumi.ResourceHook(
        f"absent-{region}",
        Absent(identifier, region).before,
        pulumi.ResourceHookOptions(on_dry_run=True),
    )
    return pulumi.ResourceHookBinding(before_create=[absent])


def record_hooks(*, zone_id: str, region: str, sides: Sequence[Side]) -> pulumi.ResourceHookBinding:
    """Return the hooks of the records, at preview too: only a switch moves a name."""
    guard = pulumi.ResourceHook(
        "traffic-guard",
        Guard(zone_id, region, tuple(sides)).before,
        pulumi.ResourceHookOptions(on_dry_run=True),
    )
    return pulumi.ResourceHookBinding(before_create=[guard], before_update=[guard])
