"""Which of the two environments of a deployment accepts writes, from what each one stores."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from bluegreen.postgres.server import Server
from bluegreen.register import closing


class Writer(StrEnum):
    """The environment that accepts writes."""

    SOURCE = "source"
    TARGET = "target"
    NEITHER = "neither"
    """During a switch, or after one that nobody finished."""
    BOTH = "both"
    """Somebody opened the standby by hand."""


def writer(*, source_closed: bool, target_closed: bool) -> Writer:
    """Return who accepts writes, from whether each side is closed."""
    if source_closed:
        return Writer.NEITHER if target_closed else Writer.TARGET
    return Writer.SOURCE if target_closed else Writer.BOTH


def is_closed(server: Server, databases: Collection[str]) -> bool:
    """Return whether an environment refuses writes; raises `Retry` when it can't be reached."""
    with server.connect("postgres") as conn:
        return closing.is_closed(conn, sorted(databases))
