"""The traffic guard: only a switch moves a name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import pulumi
from pydantic import TypeAdapter

from bluegreen.aws import dns
from bluegreen.deployment import traffic_guard
from bluegreen.deployment.traffic_guard import Environment
from bluegreen.postgres.queries import failure
from bluegreen.postgres.server import Credentials

_CREDENTIALS = TypeAdapter(Credentials)


@dataclass(frozen=True, slots=True)
class Side:
    """An environment as the program knows it; `server` is unknown until its cluster is made."""

    cluster: str | pulumi.Output[str]
    region: str
    server: pulumi.Output[Mapping[str, Any]]
    credentials: Mapping[str, Any] | None = None
    """Known before the server; None takes the server's."""

    async def look(self) -> Environment | None:
        """Return what is known of it by now; None when not even its name is known."""
        server = await self.server.future() if await self.server.is_known() else None
        server = None if pulumi.contains_unknowns(server) else server
        name = self.cluster if isinstance(self.cluster, str) else await self.cluster.future()
        credentials = self.credentials or (server or {}).get("credentials")
        if not name or pulumi.contains_unknowns(name) or credentials is None:
            return None
        host = str(server["host"]) if server else None
        region = str(server["region"]) if server else self.region
        login = _CREDENTIALS.validate_python(dict(credentials))
        return Environment(str(name), region, host, login, (server or {}).get("account"))


@dataclass(frozen=True, slots=True)
class Guard:
    """Checks the existing record, and the environments that it may lead to."""

    zone_id: str
    region: str
    sides: tuple[Side, ...]

    async def before(self, args: pulumi.ResourceHookArgs) -> None:
        """Raise when this stack may not move the name, or not to where it would lead.

        A preview only checks whose the name is: its new cluster may not exist yet, or may become
        the writer by a switch in the same update.
        """
        new = args.new_inputs or {}
        records = new.get("records")
        target = None
        if records and not pulumi.contains_unknowns(records) and not pulumi.runtime.is_dry_run():
            target = str(records[0])
        try:
            seen = [await side.look() for side in self.sides]
            sides = [side for side in seen if side is not None]
            reason = await asyncio.to_thread(self._refusal, str(new.get("name")), target, sides)
        except psycopg.Error as error:
            raise RuntimeError(f"record {new.get('name')}: {failure(error)}") from None
        if reason:
            raise RuntimeError(f"record {new.get('name')}: {reason}")

    def _refusal(self, name: str, target: str | None, sides: list[Environment]) -> str | None:
        zone = dns.domain(self.zone_id, self.region)
        whole = dns.plain(name)
        if not f".{whole}".endswith(f".{zone}"):
            return f"is not a name in zone {self.zone_id} ({zone}); give the whole name"
        return traffic_guard.refusal(dns.find(self.zone_id, whole, self.region), target, sides)
