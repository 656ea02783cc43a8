"""The names: when all of Route 53's servers lead to the new writer."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pulumi

from bluegreen.finding import Level
from bluegreen.switch import traffic
from bluegreen.switch.declared import DeclaredSwitch
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.traffic import Moved


async def watch_names(args: pulumi.ResourceHookArgs) -> None:
    """Watch the change by which this update has moved the names, if it has moved any.

    Returns at once: the engine makes what depends on the switch, which is the replication of the
    way back, only when its hooks have ended.
    """
    new, old = args.new_outputs or {}, args.old_outputs or {}
    names = new.get("names") or {}
    if not names or names == old.get("names"):
        return
    moved = Moved(str(names["change"]), datetime.fromisoformat(str(names["opened_at"])))
    plan = DeclaredSwitch.model_validate(args.new_inputs or {}).plan()
    # An output of nobody's: the program ends when all of its outputs are known, and not before.
    _told: pulumi.Output[bool] = pulumi.Output.from_input(_tell(moved, plan))


async def _tell(moved: Moved, plan: SwitchPlan) -> bool:
    """Say when the names are in sync, and return whether they are; else a warning."""
    found = await asyncio.to_thread(traffic.until_in_sync, moved, plan)
    in_sync = found.level is Level.OK
    say = pulumi.log.info if in_sync else pulumi.log.warn
    say(found.line())
    return in_sync
