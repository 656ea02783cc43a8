"""What a switch is to do: from where to where, how the fence is put up, and by when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from bluegreen.aws.dns import Records
from bluegreen.names import Direction
from bluegreen.postgres.server import Server
from bluegreen.register.fence_mode import DEFAULT_FENCE, DEFAULT_OLD_SIDE, FenceMode, OldSide
from bluegreen.register.fenced_roles import Wish

SOURCE, TARGET = "source", "target"


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
    lag_seconds: float = 10.0
    """How long the heartbeat may take that crosses before the fence."""
    drain_seconds: float = 5.0
    """How long writers may be kept waiting before the switch is aborted."""
    fuse_seconds: float = 10.0
    """When the server takes the fence off by itself; later than the drain's deadline."""
    finish_seconds: float = 30.0
    """How long whoever carries out a decision insists on the drain, and on the old direction's end.

    Nobody can go back then, so it is tried again and again.
    """
    roles: tuple[str, ...] | None = None
    spare_roles: tuple[str, ...] = ()
    records: Records | None = None
    rollback: bool = True
    """Whether there is to be a way back: then it is looked at before the way there."""

    @property
    def role_wish(self) -> Wish:
        """Return which roles are to lose LOGIN, on the old side or for the switch."""
        return Wish(self.roles, self.spare_roles, self.fence, self.old_side)

    def to_line(self) -> str:
        """Return the plan as one line of JSON: references to credentials, never the credentials."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Return the plan that `to_line` wrote."""
        fields: dict[str, Any] = json.loads(line)
        records, roles = fields["records"], fields["roles"]
        return cls(
            **fields
            | {
                "direction": Direction(fields["direction"]),
                "old": Server.from_props(fields["old"]),
                "new": Server.from_props(fields["new"]),
                "databases": tuple(fields["databases"]),
                "roles": None if roles is None else tuple(roles),
                "spare_roles": tuple(fields["spare_roles"]),
                "records": None if records is None else Records(**records),
            }
        )


def from_props(props: Mapping[str, Any]) -> SwitchPlan:
    """Return the switch that brings the writer to where a Switchover's `props` wish it."""
    new = props["writer"]
    old = SOURCE if new == TARGET else TARGET
    settings: dict[str, Any] = props["switch"]
    wish = Wish.from_settings(settings)
    return SwitchPlan(
        deployment=props["deployment"],
        direction=Direction.FORWARD if old == SOURCE else Direction.REVERSE,
        old=Server.from_props(props[old]),
        new=Server.from_props(props[new]),
        databases=tuple(props["databases"]),
        fence=wish.fence,
        old_side=wish.old_side,
        lag_seconds=float(settings["lag_seconds"]),
        drain_seconds=float(settings["drain_seconds"]),
        fuse_seconds=float(settings.get("fuse_seconds") or 10.0),
        finish_seconds=float(settings.get("finish_seconds") or 30.0),
        roles=wish.roles,
        spare_roles=wish.spared,
        records=_records(props, old, new),
        rollback=bool(props.get("rollback", True)),
    )


def _records(props: Mapping[str, Any], old: str, new: str) -> Records | None:
    wanted = props.get("dns")
    if not wanted:
        return None

    def leading_to(side: str) -> dict[str, str]:
        targets = {wanted["writer"]: props[side]["host"]}
        if wanted.get("reader"):
            targets[wanted["reader"]] = props[f"{side}_reader"]
        return targets

    return Records(wanted["zone_id"], int(wanted["ttl"]), leading_to(new), leading_to(old))
