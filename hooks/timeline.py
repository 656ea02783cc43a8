"""The timeline: how long each phase of a switch took."""

from __future__ import annotations

import pulumi

from bluegreen.switch import timeline


async def tell_timeline(args: pulumi.ResourceHookArgs) -> None:
    """Report the phases of the switch that this update has made, if it has made one."""
    new, old = args.new_outputs or {}, args.old_outputs or {}
    phases = new.get("phases") or {}
    if phases and new.get("attempt") != old.get("attempt"):
        pulumi.log.info(timeline.render({name: float(ms) for name, ms in phases.items()}))
