"""Versions of Aurora PostgreSQL: which is newer, and what leads from one to the other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from bluegreen.errors import Refused

_TEXT = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-[\w.]+)?")


@dataclass(frozen=True, slots=True, order=True)
class EngineVersion:
    """A version such as `16.6`, ordered by its numbers; a suffix as in `16.6-limitless` is kept."""

    major: int
    minor: int
    patch: int
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> EngineVersion:
        """Return the version that AWS writes as `text`; raises `Refused` for anything else.

        A major version alone won't do: which minor AWS takes for it changes with time.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise Refused(f"engine_version: got {text!r}, expected major.minor such as 17.7")
        return cls(int(match[1]), int(match[2]), int(match[3] or 0), text)

    def __str__(self) -> str:
        return self.text


class UpgradeStep(Enum):
    """What brings a cluster to the version that is asked for."""

    NONE = auto()
    MINOR = auto()
    MAJOR = auto()


def step(
    cluster: str, have: EngineVersion, desired: EngineVersion, *, asked_before: EngineVersion | None
) -> UpgradeStep:
    """Return what leads from `have` to `desired`; raises `Refused` for a way back.

    `asked_before` is what the last update that succeeded asked for. When that is unchanged, a
    newer minor has come by AWS's maintenance, and stays.
    """
    if have < desired:
        return UpgradeStep.MINOR if have.major == desired.major else UpgradeStep.MAJOR
    if have == desired or (asked_before == desired and have.major == desired.major):
        return UpgradeStep.NONE
    raise Refused(
        f"cluster {cluster}: engine version is {have}, {desired} asked for; Aurora can't go back: "
        f"set environment.engine_version to {have} or newer"
    )


def require_target(
    cluster: str, have: EngineVersion, desired: EngineVersion, targets: Mapping[str, bool]
) -> None:
    """Raise `Refused` unless AWS upgrades from `have` to `desired` in one step.

    `targets` are the versions that DescribeDBEngineVersions gives for `have`.
    """
    if desired.text in targets:
        return
    newer = sorted(EngineVersion.parse(text) for text in targets)
    allowed = ", ".join(str(version) for version in newer if version.major == desired.major)
    raise Refused(
        f"cluster {cluster}: no upgrade from {have} to {desired}; allowed to {desired.major}: "
        f"{allowed or 'none'}" + ("" if allowed else f"; to any: {', '.join(map(str, newer))}")
    )


def major_change_problem(had: str, want: str, *, serves: bool) -> str | None:
    """Return why a stack can't ask for another major version than it had; None for the same.

    Its parameter groups are those of a family: AWS would be asked to delete them while they are in
    use. `serves` is whether clients use the environment, which then isn't stopped for an upgrade.
    """
    if had.partition(".")[0] == want.partition(".")[0]:
        return None
    remedy = (
        "stand a deployment up with this stack as source"
        if serves
        else "destroy this deployment and stand it up again with the new version"
    )
    return f"{had} can't become {want}, another major version, in place; set it back, and {remedy}"
