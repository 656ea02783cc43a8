"""The names that move: what is under them now, and how long resolvers keep the answer."""

from __future__ import annotations

from dataclasses import dataclass

from bluegreen.aws import dns
from bluegreen.aws.dns import Found, Records
from bluegreen.errors import BlueGreenError
from bluegreen.finding import Finding, Level

# As long as Route 53 itself takes to bring a change to all of its servers, when all is well.
_LONG_TTL = 60


@dataclass(frozen=True, slots=True)
class Name:
    """One name, and the record sets that exist under it."""

    name: str
    found: tuple[Found, ...]


def findings(records: Records, region: str) -> list[Finding]:
    """Return what is to be known of the names before a switch moves them."""
    try:
        names = inspect(records, region)
    except BlueGreenError as error:
        # The switch asks once more before the fence, and refuses; the rest of the report stands.
        return [Finding(Level.WARN, "names", f"could not be looked at: {error}")]
    return [finding for name in names for finding in judge(name, records)]


def inspect(records: Records, region: str) -> list[Name]:
    """Look every name up in its zone. Raises `Refused` and `Retry`, as Route 53 answers."""
    return [
        Name(name, tuple(dns.find(records.zone_id, name, region)))
        for name in sorted(records.targets)
    ]


def judge(name: Name, records: Records) -> list[Finding]:
    """Judge one name: may it be moved, and when do its clients follow?"""
    subject = f"name {name.name}"
    if not name.found:
        return [Finding(Level.OK, subject, "does not exist yet; the switch makes it")]
    return [_record(subject, found, records) for found in name.found]


def _record(subject: str, found: Found, records: Records) -> Finding:
    reason = dns.unmovable(found, {*records.targets.values(), *records.others.values()})
    if reason and (records.others or found.leads_to is None):
        return Finding(Level.BLOCK, subject, reason)
    ttl = records.ttl if found.ttl is None else found.ttl
    follows = (
        "its clients follow a switch within what Route 53 takes, usually below 60 s, and its TTL"
        f" of {ttl} s"
    )
    if ttl <= _LONG_TTL:
        return Finding(Level.OK, subject, follows)
    return Finding(
        Level.WARN,
        subject,
        follows,
        f"set dns.ttl to {_LONG_TTL} or less, run pulumi up in the stack that has the record, and"
        f" wait {ttl} s before the switch",
    )
