"""The traffic guard: no name is led to an environment that refuses writes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pulumi

from bluegreen import traffic


@dataclass(frozen=True, slots=True)
class Guard:
    """Knows where the records are, and how to reach the environments that they lead to."""

    zone_id: str
    region: str
    credentials: dict[str, Any]

    async def before(self, args: pulumi.ResourceHookArgs) -> None:
        """Raise when the record would lead to an environment that is not the writer."""
        new = args.new_inputs or {}
        records = new.get("records")
        if not records or pulumi.contains_unknowns(records):
            return
        reason = await asyncio.to_thread(
            traffic.refusal, str(records[0]), self.region, self.credentials
        )
        if reason:
            raise RuntimeError(f"record {new.get('name')}: {reason}")
