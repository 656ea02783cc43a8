"""How a fence is put up, and what the old writer becomes: the choices and their defaults.

`no-login` is the default. Under `read-only` an application that says `BEGIN READ WRITE`, or whose
driver does, goes on writing: 16 such clients had 268 of 46,748 acknowledged transactions on the old
side only, and kept the switch from its decision for 8 s. Under `no-login` there were none.
"""

from __future__ import annotations

from typing import Literal

FenceMode = Literal["read-only", "no-login"]
OldSide = Literal["closed", "readable"]

DEFAULT_FENCE: FenceMode = "no-login"
DEFAULT_OLD_SIDE: OldSide = "closed"

WARNING = (
    "a client that says BEGIN READ WRITE writes on the old side only (268 of 46,748 acknowledged"
    " transactions in a test) and keeps the switch from its decision: no-login holds it"
)
