"""Whose a record is, and where it may lead: a name is moved by a switch, and by nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pulumi
import pytest

from bluegreen.aws import dns
from bluegreen.aws.dns import Found
from bluegreen.deployment import traffic_guard
from bluegreen.deployment.traffic_guard import Environment
from bluegreen.postgres.server import Credentials
from hooks.traffic import Guard

WRITER = "orders-1.cluster-abc123.eu-west-1.rds.amazonaws.com"
READER = "orders-1.cluster-ro-abc123.eu-west-1.rds.amazonaws.com"
OTHER = "orders-2.cluster-abc123.eu-west-1.rds.amazonaws.com"
REFERENCES = Credentials("a", "r")
BLUE = Environment("orders-1", "eu-west-1", WRITER, REFERENCES)
GREEN = Environment("orders-2", "eu-west-1", OTHER, REFERENCES)
UNMADE = Environment("orders-1", "eu-west-1", None, REFERENCES)


def cname(to: str, routing: str = "") -> Found:
    return Found("CNAME", (to,), 5, routing)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool | None]:
    """Return what each cluster is: closed or not, None when there is none."""
    known: dict[str, bool | None] = {"orders-1": True, "orders-2": False}
    monkeypatch.setattr(Environment, "is_closed", lambda side: known[side.cluster])
    return known


@pytest.mark.parametrize("side", [BLUE, UNMADE], ids=["made", "not-made-yet"])
@pytest.mark.parametrize(
    ("endpoint", "own"),
    [
        (WRITER, True),
        (READER, True),
        (WRITER.upper() + ".", True),
        (OTHER, False),
        (WRITER.replace("orders-1", "orders-11"), False),
        (WRITER.replace("eu-west-1", "us-east-1"), False),
        ("orders-1.example", False),
    ],
)
def test_an_endpoint_is_told_by_cluster_and_region(
    side: Environment, endpoint: str, own: bool
) -> None:
    assert side.owns(endpoint) is own


def test_a_cluster_of_the_same_name_in_another_account_is_another() -> None:
    assert not BLUE.owns(WRITER.replace("abc123", "zzz999"))


@pytest.mark.parametrize(
    ("found", "sides", "match"),
    [
        pytest.param([cname(OTHER)], [UNMADE], "leads to orders-2.*not orders-1", id="retired"),
        pytest.param([cname("old.example.")], [BLUE], "leads to old.example", id="a-third"),
        pytest.param([cname("old.example")], [BLUE, GREEN], "neither orders-1 nor", id="neither"),
        pytest.param([cname(WRITER, "weight")], [BLUE], r"CNAME record \(weight\)", id="routing"),
        pytest.param([Found("A", ("1.2.3.4",), 5, "")], [BLUE], "A record to 1.2.3.4", id="a"),
        pytest.param([Found("A", (), None, "alias")], [BLUE], r"A record \(alias\)", id="alias"),
        pytest.param([Found("TXT", ("x",), 5, "")], [BLUE], "TXT record", id="txt"),
        pytest.param([cname(WRITER), cname(OTHER)], [BLUE], "orders-2", id="several"),
        pytest.param([], [UNMADE], None, id="nothing-there"),
        pytest.param([cname(READER.upper() + ".")], [UNMADE], None, id="left-by-itself"),
        pytest.param([cname(OTHER)], [BLUE, GREEN], None, id="the-other-side"),
    ],
)
def test_only_what_leads_to_a_side_of_this_stack_is_touched(
    found: list[Found], sides: list[Environment], match: str | None
) -> None:
    reason = traffic_guard.refusal(found, None, sides)
    if match is None:
        assert reason is None
        return
    assert reason is not None
    with pytest.raises(AssertionError, match=match):
        raise AssertionError(reason)


def test_a_name_goes_to_the_writer_only(closed: dict[str, bool | None]) -> None:
    sides = [GREEN, BLUE]
    assert traffic_guard.refusal([cname(WRITER)], OTHER, sides) is None
    assert traffic_guard.refusal([cname(OTHER)], OTHER, sides) is None
    assert "closed to writers" in str(traffic_guard.refusal([cname(OTHER)], WRITER, sides))
    assert "no environment of this stack" in str(traffic_guard.refusal([], "a.example", sides))
    closed["orders-1"] = False
    assert "only a switch moves it" in str(traffic_guard.refusal([cname(WRITER)], OTHER, sides))
    closed["orders-1"] = None
    assert traffic_guard.refusal([cname(WRITER)], OTHER, sides) is None
    closed["orders-2"] = None
    assert "there is no cluster orders-2" in str(traffic_guard.refusal([], OTHER, sides))


def test_the_spelling_of_a_name_makes_no_difference() -> None:
    assert dns.plain("Writer.Shop.Example.") == dns.plain("writer.shop.example")


def test_each_side_is_opened_by_its_own_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stacks may have different master passwords."""
    asked: list[Credentials] = []

    def is_closed(side: Environment) -> bool:
        asked.append(side.credentials)
        return side.cluster == "orders-1"

    monkeypatch.setattr(Environment, "is_closed", is_closed)
    sides = [
        Environment("orders-2", "eu-west-1", OTHER, Credentials("green's", "r")),
        Environment("orders-1", "eu-west-1", WRITER, Credentials("blue's", "r")),
    ]
    assert traffic_guard.refusal([cname(WRITER)], OTHER, sides) is None
    assert [one.admin_secret_arn for one in asked] == ["green's", "blue's"]


def _looked(side: Environment) -> Callable[[], Awaitable[Environment]]:
    async def look() -> Environment:
        return side

    return look


@pytest.mark.parametrize("dry_run", [True, False], ids=["preview", "up"])
def test_a_preview_of_a_switch_is_not_refused_for_the_side_that_is_still_closed(
    monkeypatch: pytest.MonkeyPatch, closed: dict[str, bool | None], dry_run: bool
) -> None:
    closed |= {"orders-1": False, "orders-2": True}
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: dry_run)
    monkeypatch.setattr(dns, "domain", lambda *_: "shop.example")
    monkeypatch.setattr(dns, "find", lambda *_: [cname(WRITER)])
    sides = [SimpleNamespace(look=_looked(side)) for side in (GREEN, BLUE)]
    guard = Guard("Z", "eu-west-1", tuple(sides))  # type: ignore[arg-type]
    args = SimpleNamespace(new_inputs={"name": "writer.shop.example.", "records": [OTHER]})
    if dry_run:
        asyncio.run(guard.before(args))  # type: ignore[arg-type]
        return
    with pytest.raises(RuntimeError, match=r"record writer.shop.example\.: would lead to orders-2"):
        asyncio.run(guard.before(args))  # type: ignore[arg-type]
