"""The decision: the one commit point, made when nobody has written since the barrier."""

from __future__ import annotations

import psycopg

from bluegreen.errors import Refused, Retry
from bluegreen.register import register
from bluegreen.switch.drain import Drain, Drained
from bluegreen.switch.side import Side
from bluegreen.switch.timeline import Timeline
from bluegreen.switch.watchdog import Watchdog


def decide(
    old: Side, attempt: str, drained: Drained, drain: Drain, watchdog: Watchdog, timeline: Timeline
) -> Drained:
    """Decide the attempt; if somebody has written behind the barrier, drain and try again.

    Returns what was drained last. Raises `Refused` when a fuse has aborted the attempt, `Retry`
    when the time is up.
    """
    if _is_decided(old, attempt, drained, watchdog):
        return drained
    try:
        while True:
            drained = drain.run(watchdog, timeline)
            if _is_decided(old, attempt, drained, watchdog):
                return drained
    except (Retry, psycopg.errors.QueryCanceled):  # an earlier one crossed: only the time is up
        raise Retry(
            f"{old.server}: something goes on writing behind the fence; see pg_locks and"
            " pg_prepared_xacts there"
        ) from None


def _is_decided(old: Side, attempt: str, drained: Drained, watchdog: Watchdog) -> bool:
    """Return whether it was decided; False when the barrier has to be set again."""
    if not watchdog.left():
        raise Retry(f"{old.server}: the switch did not come to its decision in time")
    try:
        if register.decide(old.tool, attempt, drained.heartbeats, drained.older, drained.mark):
            return True
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return False
    raise Refused(f"{old.server}: attempt {attempt} was aborted by its fuse")
