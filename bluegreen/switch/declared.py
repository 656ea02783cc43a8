"""The switch that a deployment declares: its two sides, the desired writer, and how it is moved.

A stack exports it, so the command line and the resource work with the same values. It holds
references to credentials, never the credentials.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict

from bluegreen.aws.dns import Records
from bluegreen.names import Direction
from bluegreen.postgres.server import Server
from bluegreen.register.fence_mode import DEFAULT_FENCE, DEFAULT_OLD_SIDE, FenceMode, OldSide
from bluegreen.register.fenced_roles import FenceSpec
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.time_limits import FINISH_SECONDS, FUSE_SECONDS

SideName = Literal["source", "target"]
SOURCE: Final = "source"
TARGET: Final = "target"

# A setting that was never set may be stored as null.
Names = Annotated[tuple[str, ...], BeforeValidator(lambda given: given or ())]


def other(side: SideName) -> SideName:
    """Return the other side."""
    return SOURCE if side == TARGET else TARGET


class _Declared(BaseModel):
    # What a later or an earlier version declares besides is ignored.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Fencing(_Declared):
    """How a fence is put up, and which roles lose LOGIN: part of the settings `switch`."""

    fence: FenceMode = DEFAULT_FENCE
    old_side: OldSide = DEFAULT_OLD_SIDE
    roles: tuple[str, ...] | None = None
    spare_roles: Names = ()

    @property
    def fence_spec(self) -> FenceSpec:
        """Return the same as a value of the register."""
        return FenceSpec(self.roles, self.spare_roles, self.fence, self.old_side)


class How(Fencing):
    """How the writer is moved: the settings `switch`, and the lag that is allowed before."""

    lag_seconds: float
    drain_seconds: float
    fuse_seconds: float = FUSE_SECONDS
    finish_seconds: float = FINISH_SECONDS
    accept_differences: Names = ()
    login_checks: Names = ()


class Traffic(_Declared):
    """The records that move with the writer: the settings `dns`."""

    zone_id: str
    ttl: int
    writer: str
    reader: str | None = None


class DeclaredSwitch(_Declared):
    """A deployment's switch, as its resource declares it."""

    deployment: str
    source: Server
    target: Server
    source_reader: str
    target_reader: str
    databases: tuple[str, ...]
    writer: SideName
    """The side that is to accept writes."""
    rollback: bool = True
    """If false, nothing is moved any more."""
    switch: How
    dns: Traffic | None = None
    accept_stale: Names = ()

    def side(self, side: SideName) -> Server:
        """Return the server of a side."""
        return self.source if side == SOURCE else self.target

    def flipped(self) -> Self:
        """Return the same with the other side as the writer."""
        return self.model_copy(update={"writer": other(self.writer)})

    def plan(self) -> SwitchPlan:
        """Return the switch that moves the writer to where it is declared to be."""
        new, old = self.writer, other(self.writer)
        return SwitchPlan(
            deployment=self.deployment,
            direction=Direction.FORWARD if old == SOURCE else Direction.REVERSE,
            old=self.side(old),
            new=self.side(new),
            databases=self.databases,
            fence=self.switch.fence,
            old_side=self.switch.old_side,
            lag_seconds=self.switch.lag_seconds,
            drain_seconds=self.switch.drain_seconds,
            fuse_seconds=self.switch.fuse_seconds,
            finish_seconds=self.switch.finish_seconds,
            roles=self.switch.roles,
            spare_roles=self.switch.spare_roles,
            records=self._records(),
            accept_stale=self.accept_stale,
            rollback=self.rollback,
        )

    def _records(self) -> Records | None:
        zone = self.dns
        if zone is None:
            return None
        here, there = (self._leading_to(zone, one) for one in (self.writer, other(self.writer)))
        return Records(zone.zone_id, zone.ttl, here, there)

    def _leading_to(self, zone: Traffic, side: SideName) -> dict[str, str]:
        targets = {zone.writer: self.side(side).host}
        if zone.reader:
            targets[zone.reader] = self.source_reader if side == SOURCE else self.target_reader
        return targets
