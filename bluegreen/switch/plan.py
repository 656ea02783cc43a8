"""What a switch is to do: from where to where, how the fence is put up, and by when."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from bluegreen.aws.dns import Records
from bluegreen.names import Direction
from bluegreen.postgres.server import Server
from bluegreen.register.fence_mode import DEFAULT_FENCE, DEFAULT_OLD_SIDE, FenceMode, OldSide
from bluegreen.register.fenced_roles import FenceSpec
from bluegreen.switch.time_limits import (
    DRAIN_SECONDS,
    FINISH_SECONDS,
    FUSE_SECONDS,
    LAG_SECONDS,
)


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """One switch. `direction` is that of the replication which runs now, from `old` to `new`."""

    deployment: str
    direction: Direction
    old: Server
    new: Server
    databases: tuple[str, ...]
    fence: FenceMode = DEFAULT_FENCE
    old_side: OldSide = DEFAULT_OLD_SIDE
    lag_seconds: float = LAG_SECONDS
    """How long the heartbeat before the fence may take to cross."""
    drain_seconds: float = DRAIN_SECONDS
    """How long writers may be kept waiting before the switch is aborted."""
    fuse_seconds: float = FUSE_SECONDS
    """When the server takes the fence off by itself; later than the drain's deadline."""
    finish_seconds: float = FINISH_SECONDS
    """How long a decision's execution waits for the drain, and for the end of the old direction.

    There is no way back by then, so it is tried again and again.
    """
    roles: tuple[str, ...] | None = None
    spare_roles: tuple[str, ...] = ()
    records: Records | None = None
    accept_stale: tuple[str, ...] = ()
    """Tables that may be left behind, being replicated in part or not at all."""
    rollback: bool = True
    """Whether a way back is kept: then it is checked before the switch."""

    @property
    def fence_spec(self) -> FenceSpec:
        """Return which roles lose LOGIN, on the old side or during the switch."""
        return FenceSpec(self.roles, self.spare_roles, self.fence, self.old_side)

    def reversed(self) -> SwitchPlan:
        """Return the same deployment's switch in the other direction, with its records."""
        reverse = self.direction is Direction.REVERSE
        return replace(
            self,
            direction=Direction.FORWARD if reverse else Direction.REVERSE,
            old=self.new,
            new=self.old,
            records=None if self.records is None else self.records.turned(),
        )

    def to_line(self) -> str:
        """Return the plan as one line of JSON: references to credentials, never the credentials."""
        return _PLAN.dump_json(self).decode()

    @classmethod
    def from_line(cls, line: str) -> SwitchPlan:
        """Return the plan that `to_line` wrote."""
        return _PLAN.validate_json(line)


_PLAN = TypeAdapter(SwitchPlan)
