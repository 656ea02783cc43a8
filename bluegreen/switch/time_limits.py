"""How long the parts of a switch may take, in seconds, where nobody says otherwise.

Settings, the declared switch and the plan all take their defaults from here.
"""

from __future__ import annotations

LAG_SECONDS = 10.0
DRAIN_SECONDS = 5.0
FUSE_SECONDS = 10.0  # later than the drain's deadline: the fuse must not open what still drains
FINISH_SECONDS = 30.0
