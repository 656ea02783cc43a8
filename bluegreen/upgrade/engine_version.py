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

        A major version alone is not one: which minor AWS takes for it changes with time.
        """
        match = _TEXT.fullmatch(text)
        if match is None:
            raise Refused(f"engine_version: got {text!r}, expected major.minor such as 17.7")
        return cls(int(match[1]), int(match[2]), int(match[3] or 0), text)

    def __str__(self) -> str:
        return self.text


class Step(Enum):
    """What brings a cluster to the version that is asked for."""

    NONE = auto()
    MINOR = auto()
    MAJOR = auto()


def step(
    cluster: str, have: EngineVersion, want: EngineVersion, *, asked_before: EngineVersion | None
) -> Step:
    """Return what leads from `have` to `want`; raises `Refused` for a way back.

    `asked_before` is what the last update that succeeded asked for. A newer minor than one that
    was asked for before and still is has come by AWS's maintenance, and stays.
    """
    if have < want:
        return Step.MINOR if have.major == want.major else Step.MAJOR
    if have == want or (asked_before == want and have.major == want.major):
        return Step.NONE
    raise Refused(
        f"cluster {cluster}: engine version is {have}, {want} asked for; Aurora can't go back: "
        f"set environment.engine_version to {have} or newer"
    )


def require_target(
    cluster: str, have: EngineVersion, want: EngineVersion, targets: Mapping[str, bool]
) -> None:
    """Raise `Refused` unless AWS upgrades from `have` to `want` in one step.

    `targets` are the versions that DescribeDBEngineVersions gives for `have`.
    """
    if want.text in targets:
        return
    newer = sorted(EngineVersion.parse(text) for text in targets)
    allowed = ", ".join(str(version) for version in newer if version.major == want.major)
    raise Refused(
        f"cluster {cluster}: no upgrade from {have} to {want}; allowed to {want.major}: "
        f"{allowed or 'none'}" + ("" if allowed else f"; to any: {', '.join(map(str, newer))}")
    )
