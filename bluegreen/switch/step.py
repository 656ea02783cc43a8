"""The steps of a switch, in the order in which it passes them.

Each is passed once it is done (`Timeline.passed`). That is the one place that sees every step, and
so the place to watch or time a switch, or to interrupt it in a test.
"""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    """What has just been done; users read these words in the phases."""

    READY = "ready"
    """Connections are open, sequences pre-set, a heartbeat has crossed; writers go on."""
    ARM = "arm"
    """The local fuse watches."""
    REGISTER = "register"
    """The attempt is `preparing` on the old writer, `closed` on the new; the server fuse is on."""
    FENCE = "fence"
    """The old writer refuses writes, and no session that could still write is left."""
    DRAIN = "drain"
    """A heartbeat written behind the fence is visible on the new writer, in every database."""
    SEQUENCES = "sequences"
    """The new writer's sequences are where the old one's are, what was applied is durable, and the
    mark is known: where the other direction starts."""
    DECIDE = "decide"
    """The attempt is `decided`: the one commit point."""
    OPEN = "open"
    """The new writer takes writes; the attempt is `opened` there. With `fence: read-only` nothing
    of the old direction is applied any more by then."""
    STOP = "stop"
    """Nothing of the old direction is applied any more."""
    CLOSE = "close"
    """Applications can't log in to the old writer."""
    DNS = "dns"
    """The names lead to the new writer; they move in parallel with `stop` and `close`."""
    DONE = "done"
    """What slipped in is counted, and the attempt is `done`."""


OUTAGE = (Step.FENCE, Step.DRAIN, Step.SEQUENCES, Step.DECIDE, Step.OPEN)
"""The steps in which nobody can write."""
