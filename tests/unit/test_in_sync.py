"""When the names are in sync: said after a switch, whatever Route 53 answers; never an error."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from bluegreen.aws import clients, dns
from bluegreen.aws.dns import Records
from bluegreen.finding import Level
from bluegreen.names import Direction
from bluegreen.postgres.server import Credentials, Server
from bluegreen.switch import traffic
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.traffic import Moved
from tests.fixtures.aws_api import REGION, AwsApi, serving

NAME, OLD, NEW = "writer.sync.example", "orders-1.example", "orders-2.example"


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, block: str) -> Iterator[AwsApi]:
    """Return an API whose changes are in sync a second later, and lead this process to it."""
    folder = tmp_path_factory.mktemp("late")
    with (
        pytest.MonkeyPatch.context() as led,
        serving(folder, block, f"{block}.2:5355", LAB_DNS_DELAY="1") as api,
    ):
        for name, value in api.environment.items():
            led.setenv(name, value)
        clients.client.cache_clear()
        yield api
        clients.client.cache_clear()


@pytest.fixture
def plan(late: AwsApi) -> SwitchPlan:
    """Return a switch with a name in a zone of its own."""
    made = late.client("route53").create_hosted_zone(
        Name="sync.example", CallerReference=datetime.now(UTC).isoformat()
    )
    zone = str(made["HostedZone"]["Id"]).rpartition("/")[2]
    old, new = (
        Server(host.partition(".")[0], REGION, host, 5432, Credentials("a", "r"))
        for host in (OLD, NEW)
    )
    records = Records(zone, 7, {NAME: NEW}, {NAME: OLD})
    return SwitchPlan("d", Direction.FORWARD, old, new, ("app",), records=records)


def _moved(plan: SwitchPlan, ago: float = 0.0) -> Moved:
    assert plan.records is not None
    change = dns.move(plan.records, REGION)
    return Moved(change, datetime.now(UTC) - timedelta(seconds=ago))


def test_it_waits_for_the_change_and_counts_from_the_opening(plan: SwitchPlan) -> None:
    moved = _moved(plan, ago=100.0)
    assert not dns.is_in_sync(moved.change, REGION)
    found = traffic.until_in_sync(moved, plan)
    assert dns.is_in_sync(moved.change, REGION)
    assert found.level is Level.OK
    assert found.line().startswith("names: Route 53 is in sync 10")
    assert found.line().endswith("s after the opening; a resolver may keep the old answer 7 s more")


def test_what_is_not_in_sync_in_time_is_a_warning_with_its_id(plan: SwitchPlan) -> None:
    moved = _moved(plan, ago=60.0)
    found = traffic.until_in_sync(moved, plan, seconds=0)
    assert found.level is Level.WARN
    assert found.found == f"change {moved.change} is not in sync yet, 60 s after the opening"
    assert f"aws route53 get-change --id {moved.change}" in found.remedy


def test_a_change_that_nobody_knows_is_a_warning(plan: SwitchPlan) -> None:
    found = traffic.until_in_sync(Moved("C0000000000", datetime.now(UTC)), plan)
    assert found.level is Level.WARN
    assert "change C0000000000 can't be asked for: route53:GetChange of C0000000000" in found.found
    assert "NoSuchChange" in found.found


def _answering(*errors: Exception, then: Any) -> Any:
    """Return a GetChange that raises each error once, and then answers as `then` does."""
    left = list(errors)

    def get_change(**arguments: str) -> Any:
        if left:
            raise left.pop(0)
        return then(**arguments)

    return get_change


def _error(code: str, status: int = 400) -> ClientError:
    answer = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "GetChange")  # type: ignore[arg-type]


def test_without_permission_it_says_so_and_asks_once(
    plan: SwitchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, route53 = _moved(plan), clients.client("route53", REGION, once=True)

    def never(**_: str) -> None:
        raise AssertionError("it was asked again")

    get_change = _answering(_error("AccessDenied", 403), then=never)
    monkeypatch.setattr(route53, "get_change", get_change)
    found = traffic.until_in_sync(moved, plan)
    assert found.level is Level.WARN
    assert "not permitted; grant this action in IAM" in found.found


def test_what_is_passing_is_asked_again(plan: SwitchPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, route53 = _moved(plan), clients.client("route53", REGION, once=True)
    passing = (_error("Throttling"), EndpointConnectionError(endpoint_url="x"))
    monkeypatch.setattr(route53, "get_change", _answering(*passing, then=route53.get_change))
    assert traffic.until_in_sync(moved, plan).level is Level.OK
    monkeypatch.setattr(route53, "get_change", _answering(*passing, then=route53.get_change))
    found = traffic.until_in_sync(moved, plan, seconds=0)
    assert found.level is Level.WARN
    assert "Throttling" in found.found
