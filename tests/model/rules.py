"""The rules that keep the switch exact. Each can be dropped, to see what it is there for."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """A rule of the switch, in the words of docs/switch.md."""

    ONE_LIVE = "one live attempt in a register"
    BEGINNING_ASKS = "an attempt is registered only where the environment is open, as one step"
    EXPECTING_ASKS = "no opening is expected where a live attempt leaves, as one step"
    BEGINNING_GIVES_UP = "a beginning gives up what was expected on the environment that it leaves"
    REGISTERED_FIRST = "an attempt gives earlier ones up once it is registered, never before"
    IN_TURN = "only an attempt that was registered earlier is given up"
    EARLIER_GIVEN_UP = "an attempt gives up what earlier ones left closed on the new side"
    FENCE_ASKS = "nothing is fenced after an abort"
    SESSIONS_ENDED = "every session from before the fence is ended"
    ABORT_ASKS = "only preparing becomes aborted"
    DECIDE_ASKS = "only preparing becomes decided"
    QUIET = "nothing else has written between the barrier and the decision"
    DECISION_DURABLE = "the decision is a synchronous commit"
    FLUSHED = "what was applied is durable before the decision"
    OPEN_AFTER_DECISION = "nothing is opened before the decision"
    ROW_HELD = "a finisher holds the opening's row from the barrier to the opening"
    ROW_ASKED = "a finisher that finds the row opened or given up touches nothing there"
    SAME_CONNECTION = "what was drained counts only on the connection that saw it"
    DRAINED = "the barrier is on the new writer before it opens"
    SEQUENCES_EXACT = "sequences are brought after the barrier"
    SEQUENCES_WAIT = "a finisher waits for the sequences that a dead one has sent"
    OPENING_DURABLE = "the opening is a synchronous commit"
    GIVING_UP_COMPETES = "giving up and opening compete for the opening's row"
    CLOSING_ASKS = "the old side is closed only while the attempt is decided"
    CLOSED_BEFORE_COUNT = "what slipped in is counted after the old side is closed"
    SLIPPED_BLOCKS = "what slipped in blocks the way back until it is resolved"


ALL = frozenset(Rule)
