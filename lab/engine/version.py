"""The engine's version: that of the installed SDK, so that the two always agree."""

from __future__ import annotations

import importlib.metadata
import re

ENGINE_VERSION = importlib.metadata.version("pulumi")

# Since 3.238 a failing `after_*` hook fails the update, which the program counts on.
OLDEST = (3, 238, 0)
OLDEST_TEXT = ".".join(map(str, OLDEST))


def parse(text: str) -> tuple[int, int, int]:
    """Return `v3.259.0`, as `pulumi version` prints it, as numbers.

    Raises `ValueError` for anything else.
    """
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    if match is None:
        raise ValueError(f"not a version: {text!r}")
    return int(match[1]), int(match[2]), int(match[3])


def refusal(found: str) -> str | None:
    """Return why an engine that says it is `found` can't be used; None when it can."""
    try:
        version = parse(found)
    except ValueError:
        return (
            f"pulumi on PATH: its version is {found!r}, expected {OLDEST_TEXT} or newer;"
            " fix it or take it off PATH"
        )
    if version < OLDEST:
        return (
            f"pulumi on PATH: version {found}, expected {OLDEST_TEXT} or newer;"
            " upgrade it or take it off PATH"
        )
    return None
