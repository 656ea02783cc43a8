"""A change is in the API of the lab's Route 53 at once, and with resolvers when AWS's might be."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from lab import dns
from lab.aws.propagation import Propagation, seconds
from tests.fixtures.aws_api import AwsApi, serving
from tests.fixtures.switchable import wait_until

_DELAY = 3.0
OLD, NEW = "10.0.0.1", "10.0.0.2"


class Clock:
    """A clock that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def _zone(identity: str, *records: str) -> Any:
    return SimpleNamespace(id=identity, rrsets=list(records))


def test_resolvers_see_each_change_in_its_turn_and_its_status_says_so() -> None:
    clock = Clock()
    there = Propagation(clock)
    there.seconds = 5.0
    zone, other = _zone("one"), _zone("two", "x")
    for number, name in enumerate(("a", "b", "c")):
        clock.now = 100.0 + number
        zone.rrsets.append(name)
        there.changed(zone)
        there.submit(name)
    seen = []
    for clock.now in (104.9, 105.0, 106.0, 107.0, 200.0):
        in_sync = "".join(name for name in "abc" if there.status(name) == "INSYNC")
        seen.append(("".join(there.records(zone)), in_sync))
    assert seen == [("", ""), ("a", "a"), ("ab", "ab"), ("abc", "abc"), ("abc", "abc")]
    assert there.records(other) == []
    assert there.status("unknown") is None
    zone.rrsets.clear()
    there.changed(zone)
    assert "".join(there.records(zone)) == "abc"
    clock.now += 5
    assert there.records(zone) == []


def test_without_a_delay_a_change_is_seen_at_once() -> None:
    there = Propagation(Clock())
    zone = _zone("one", "a")
    there.changed(zone)
    there.submit("C1")
    assert there.records(zone) == ["a"]
    assert there.status("C1") == "INSYNC"


@pytest.mark.parametrize("text", ["-1", "soon", "inf", "nan"])
def test_what_is_no_time_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}': expected seconds, 0 or more"):
        seconds(text)


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, block: str) -> Iterator[AwsApi]:
    """Return an API whose changes are with resolvers some seconds later."""
    folder = tmp_path_factory.mktemp("late")
    with serving(folder, block, f"{block}.2:5354", LAB_DNS_DELAY=f"{_DELAY:g}") as api:
        yield api


def _resolve(api: AwsApi, name: str) -> str:
    """Return the address that a process in the lab finds under a name, "" for none."""
    code = "import socket, sys; print(socket.getaddrinfo(sys.argv[1], 0)[0][4][0])"
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        env=api.environment | {"LAB_DNS": api.dns, "PYTHONPATH": str(dns.SITE)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def test_the_api_shows_a_change_at_once_and_the_dns_when_it_is_in_sync(late: AwsApi) -> None:
    route53, domain = late.client("route53"), "late.internal"
    zone = route53.create_hosted_zone(Name=domain, CallerReference=domain)["HostedZone"]["Id"]
    name = f"writer.{domain}"

    def lead(to: str) -> str:
        record = {"Name": name, "Type": "A", "TTL": 5, "ResourceRecords": [{"Value": to}]}
        changes = [{"Action": "UPSERT", "ResourceRecordSet": record}]
        answer = route53.change_resource_record_sets(
            HostedZoneId=zone, ChangeBatch={"Changes": changes}
        )["ChangeInfo"]
        assert answer["Status"] == "PENDING"
        return str(answer["Id"])

    def status(change: str) -> str:
        return str(route53.get_change(Id=change)["ChangeInfo"]["Status"])

    for before, after in (("", OLD), (OLD, NEW)):
        change = lead(after)
        listed = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        assert [r["ResourceRecords"] for r in listed if r["Type"] == "A"] == [[{"Value": after}]]
        assert (_resolve(late, name), status(change)) == (before, "PENDING")
        wait_until(lambda change=change: status(change) == "INSYNC", "the change")  # type: ignore[misc]
        assert _resolve(late, name) == after
