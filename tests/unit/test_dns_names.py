"""What readiness says of the names before a switch moves them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bluegreen.aws import clients
from bluegreen.aws.dns import Found, Records
from bluegreen.finding import Level
from bluegreen.switch.readiness import dns_names
from bluegreen.switch.readiness.dns_names import Name
from tests.fixtures.aws_api import REGION, AwsApi

WRITER, READER = "writer.names.example", "reader.names.example"
OLD, NEW = "orders-1.example", "orders-2.example"
RECORDS = Records("Z1", 5, {WRITER: NEW, READER: NEW}, {WRITER: OLD, READER: OLD})


def cname(to: str, ttl: int = 5, routing: str = "") -> Found:
    return Found("CNAME", (to,), ttl, routing)


@pytest.mark.parametrize(
    ("found", "level", "said"),
    [
        pytest.param([], Level.OK, "does not exist yet", id="none"),
        pytest.param([cname(OLD)], Level.OK, "usually below 60 s, and its TTL of 5 s", id="short"),
        pytest.param([cname(OLD, 60)], Level.OK, "its TTL of 60 s", id="as-long-as-route-53"),
        pytest.param([cname(OLD, 61)], Level.WARN, "wait 61 s before the switch", id="long"),
        pytest.param([cname(OLD, 3600)], Level.WARN, "set dns.ttl to 60 or less", id="hour"),
        pytest.param([cname("x.example")], Level.BLOCK, "leads to x.example, which", id="third"),
        pytest.param([cname(OLD, 5, "'w'")], Level.BLOCK, "expected a simple CNAME", id="routing"),
        pytest.param([Found("A", (), None, "alias")], Level.BLOCK, "A record (alias)", id="alias"),
    ],
)
def test_a_name_is_judged_by_its_record(found: list[Found], level: Level, said: str) -> None:
    (judged,) = dns_names.judge(Name(WRITER, tuple(found)), RECORDS)
    assert judged.level is level
    assert judged.subject == f"name {WRITER}"
    assert said in judged.line()


def test_every_name_is_looked_up_and_a_zone_that_fails_is_a_warning(
    aws_api: AwsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in aws_api.environment.items():
        monkeypatch.setenv(variable, value)
    clients.client.cache_clear()
    route53 = aws_api.client("route53")
    made = route53.create_hosted_zone(
        Name="names.example", CallerReference=datetime.now(UTC).isoformat()
    )
    zone = str(made["HostedZone"]["Id"]).rpartition("/")[2]
    record = {"Name": WRITER, "Type": "CNAME", "TTL": 300, "ResourceRecords": [{"Value": OLD}]}
    route53.change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]},
    )
    records = Records(zone, 5, RECORDS.targets, RECORDS.others)
    found = {one.subject: one for one in dns_names.findings(records, REGION)}
    assert found[f"name {WRITER}"].level is Level.WARN
    assert "does not exist yet" in found[f"name {READER}"].found
    (lost,) = dns_names.findings(RECORDS, REGION)
    assert lost.level is Level.WARN
    assert "could not be looked at: zone Z1: route53:ListResourceRecordSets" in lost.found
    clients.client.cache_clear()
