"""Names of what a deployment makes inside PostgreSQL, each at most the server's 63 bytes long."""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

TOOL_DATABASE = "bluegreen"
"""The tool's own database on every environment; it holds the register and is never published."""

TOOL_SCHEMA = "bluegreen"
"""The tool's schema in every published database; it holds the heartbeat."""

MAX_BYTES = 63  # NAMEDATALEN - 1; the server would cut longer names without an error


class Direction(StrEnum):
    """Which way rows flow: forward is source to target, reverse is target to source."""

    FORWARD = "forward"
    REVERSE = "reverse"


def _slug(text: str, room: int) -> str:
    """Return `text` in slot characters, [a-z0-9_]; a hash keeps a changed name unique."""
    plain = re.sub(r"[^a-z0-9_]", "_", text.lower())
    if plain == text and len(plain) <= room:
        return plain
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[: room - 9]}_{digest}"


def deployment_name(stack: str) -> str:
    """Return the name of the deployment whose target is `stack`."""
    return _slug(stack, 20)


def publication(deployment: str, direction: Direction) -> str:
    """Return the publication's name; one in each published database."""
    return f"bg_{deployment}_{direction}"


def subscription(deployment: str, direction: Direction) -> str:
    """Return the subscription's name; one in each subscribing database."""
    return f"bg_{deployment}_{direction}"


def slot(deployment: str, direction: Direction, database: str) -> str:
    """Return the slot's name: slots are shared by the whole cluster, so it carries the database."""
    head = f"bg_{deployment}_{direction}_"
    return head + _slug(database, MAX_BYTES - len(head))
