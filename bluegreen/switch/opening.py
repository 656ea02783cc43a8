"""The opening's row on the new side: noted before the attempt is registered, claimed, and held.

The process that holds it may open the new side for this attempt; no other may do anything there.
"""

from __future__ import annotations

from bluegreen.errors import Refused
from bluegreen.register import register
from bluegreen.register.register import Opening
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.side import Side, end_others


def rehearse(plan: SwitchPlan, new: Side) -> None:
    """Do what the opening will do, in a transaction that is rolled back; raises `Refused`."""
    try:
        register.rehearse_opening(new.tool, plan.databases)
    except Refused as error:
        raise Refused(f"{plan.new}: {error}") from None


def expect(plan: SwitchPlan, new: Side, attempt: str) -> None:
    """Note the attempt on the new side, before the old: a decided one must be known there."""
    try:
        register.expect_opening(new.tool, attempt, plan.old.cluster, plan.databases)
    except Refused as error:
        raise Refused(f"{plan.new}: {error}") from None


def claim(plan: SwitchPlan, old: Side, new: Side, attempt: str) -> None:
    """Forbid every attempt that was registered earlier to open the new side.

    One that slept past its own abort (a paused machine) might wake up and set sequences after this
    attempt has opened. Its sessions hold the row, so they are ended first. An attempt that was
    registered later may be live, and is left alone. Raises `Refused` when this attempt is an
    earlier one.
    """
    if not register.claim_opening(new.tool, attempt, register.turn(old.tool, attempt)):
        raise Refused(f"{plan.new}: another switch has begun since; wait for it")
    for earlier in register.left_closed(new.tool, attempt):
        for side in (new, old):
            end_others(side.tool, earlier, finishers=True)
        register.give_up_opening(new.tool, earlier)


def hold(plan: SwitchPlan, new: Side, attempt: str) -> None:
    """Lock the row for as long as `new.tool`'s transaction lasts.

    Raises `Refused` when another switch has begun since and taken this one's opening.
    """
    if register.lock_opening(new.tool, attempt) is not Opening.CLOSED:
        raise Refused(f"{plan.new}: another switch has just begun; wait for it")
