"""Records in Route 53: read them, decide what may not be moved, move writer and reader at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from bluegreen.aws.clients import client
from bluegreen.aws.errors import asking, code_of, explained
from bluegreen.errors import BlueGreenError, Refused, Retry
from bluegreen.polling import poll_until

_SECONDS = 60.0
# They grow: throttling is the likeliest cause of a change that can't be taken.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 3.2


@dataclass(frozen=True, slots=True)
class Records:
    """The CNAMEs of a deployment: `targets` maps each name to the endpoint it is to lead to.

    `others` are the other side's: where the names lead before the move, and after a move back.
    """

    zone_id: str
    ttl: int
    targets: Mapping[str, str]
    others: Mapping[str, str] = field(default_factory=dict)

    def turned(self) -> Records:
        """Return the records of the other direction."""
        return replace(self, targets=self.others, others=self.targets)


@dataclass(frozen=True, slots=True)
class Found:
    """One record set that exists under a name."""

    kind: str
    values: tuple[str, ...]
    ttl: int | None
    routing: str
    """`alias` or the identifier of its routing policy; empty for a simple record."""

    @property
    def leads_to(self) -> str | None:
        """Where a simple CNAME leads; None for any other record."""
        if self.kind != "CNAME" or self.routing or len(self.values) != 1:
            return None
        return plain(self.values[0])

    def __str__(self) -> str:
        kind = f"{self.kind} record"
        if self.routing:
            return f"{kind} ({self.routing})"
        return f"{kind} to {', '.join(self.values)}"


def plain(name: str) -> str:
    """Return a domain name in the spelling in which two names can be compared."""
    return name.rstrip(".").lower()


def domain(zone_id: str, region: str) -> str:
    """Return the domain of a hosted zone. Raises `Refused` when there is no such zone."""
    with asking(f"zone {zone_id}: route53:GetHostedZone"):
        answer = client("route53", region).get_hosted_zone(Id=zone_id)
    return plain(answer["HostedZone"]["Name"])


def find(zone_id: str, name: str, region: str) -> list[Found]:
    """Return what exists under a name, of every type."""
    record_name = plain(name)
    with asking(f"zone {zone_id}: route53:ListResourceRecordSets"):
        answer = client("route53", region).list_resource_record_sets(
            HostedZoneId=zone_id, StartRecordName=record_name, MaxItems="100"
        )
    # The answer is in the order of names, so this name's records come first.
    return [
        _found(record)
        for record in answer["ResourceRecordSets"]
        if plain(record["Name"]) == record_name
    ]


def _found(record: Mapping[str, Any]) -> Found:
    ttl = record.get("TTL")
    alias = "alias" if record.get("AliasTarget") else ""
    routing = record.get("SetIdentifier")
    return Found(
        kind=record["Type"],
        values=tuple(item["Value"] for item in record.get("ResourceRecords") or ()),
        ttl=None if ttl is None else int(ttl),
        routing=f"routing policy, {routing!r}" if routing else alias,
    )


def require_movable(records: Records, region: str) -> None:
    """Raise unless the names can be moved, as far as that can be known before the outage.

    Raises `Refused` for what a retry won't fix: no such zone, a name outside of it, a record that
    is no simple CNAME or leads to neither side, a role that may not change it. This also opens the
    client's connection, which takes a second the first time.
    """
    zone = domain(records.zone_id, region)
    with contextlib.suppress(ClientError, BotoCoreError):  # the connection that `move` will use
        client("route53", region, once=True).get_hosted_zone(Id=records.zone_id)
    probes = []
    for name in sorted(records.targets):
        where = f"zone {records.zone_id} ({zone}): {name}"
        if not f".{plain(name)}".endswith(f".{zone}"):
            raise Refused(f"{where}: is not a name in it; give the whole name, as clients use it")
        for found in find(records.zone_id, name, region):
            reason = unmovable(found, {*records.targets.values(), *records.others.values()})
            if reason and (records.others or found.leads_to is None):
                raise Refused(f"{where}: {reason}")
            probes.append(_upsert(name, found.values[0], found.ttl or records.ttl))
    if probes:
        _require_permission(records, region, probes)


def unmovable(found: Found, sides: set[str]) -> str | None:
    """Return why a switch must leave an existing record alone; None when it may be moved.

    `sides` are the endpoints of the two environments.
    """
    if found.leads_to is None:
        return f"is a {found}, expected a simple CNAME; change it by hand"
    if found.leads_to not in {plain(side) for side in sides}:
        return (
            f"leads to {found.leads_to}, which is neither side of this deployment; lead it to the"
            " writer by hand, or take it out of the setting dns"
        )
    return None


def _require_permission(records: Records, region: str, probes: list[dict[str, Any]]) -> None:
    """Raise `Refused` when the names may not be changed.

    Route 53 has no dry run. It authorizes a batch before it validates it, and refuses one that
    holds a record twice. If it took this one after all, no record's value would change.
    """
    try:
        client("route53", region).change_resource_record_sets(
            HostedZoneId=records.zone_id, ChangeBatch={"Changes": [*probes, *probes]}
        )
    except (ClientError, BotoCoreError) as error:
        if isinstance(error, ClientError) and code_of(error) == "InvalidChangeBatch":
            return
        raise explained(
            error, f"zone {records.zone_id}: route53:ChangeResourceRecordSets"
        ) from None


def move(records: Records, region: str, *, allowed: Callable[[], None] = lambda: None) -> str:
    """Send the change in one batch, and again while Route 53 can't take it for the moment.

    Returns the id of the change, which Route 53 has then taken and still has to bring to all of its
    servers: `is_in_sync` asks for that.

    `allowed` is asked right before each sending, and raises when the names must stay. Raises
    `Retry` after a minute, and at once for what no repetition fixes. The new writer is open by
    then, so there is nothing to go back to.
    """
    changes = [_upsert(name, to, records.ttl) for name, to in sorted(records.targets.items())]
    meant: BlueGreenError = Retry("not sent")
    for _ in poll_until(time.monotonic() + _SECONDS, first=_FIRST_PAUSE, most=_LONGEST_PAUSE):
        allowed()
        try:
            answer = client("route53", region, once=True).change_resource_record_sets(
                HostedZoneId=records.zone_id, ChangeBatch={"Changes": changes}
            )
            return str(answer["ChangeInfo"]["Id"]).rpartition("/")[2]
        except (ClientError, BotoCoreError) as error:
            meant = explained(error, "route53:ChangeResourceRecordSets")
            if not isinstance(meant, Retry):
                break
    raise _unmoved(records, meant)


def is_in_sync(change: str, region: str) -> bool:
    """Return whether all of Route 53's servers answer as `change` says.

    Raises `Retry` when it can't be told at the moment, `Refused` for an unknown change and without
    permission.
    """
    with asking(f"route53:GetChange of {change}"):
        answer = client("route53", region, once=True).get_change(Id=change)
    return bool(answer["ChangeInfo"]["Status"] == "INSYNC")


def _unmoved(records: Records, meant: BlueGreenError) -> Retry:
    return Retry(
        f"zone {records.zone_id}: {', '.join(sorted(records.targets))} could not be moved: {meant}"
    )


def _upsert(name: str, target: str, ttl: int) -> dict[str, Any]:
    return {
        "Action": "UPSERT",
        "ResourceRecordSet": {
            "Name": name,
            "Type": "CNAME",
            "TTL": ttl,
            "ResourceRecords": [{"Value": target}],
        },
    }
