"""A name is moved by a switch, and by nothing else: through the real `pulumi`, at preview too."""

from __future__ import annotations

from typing import Any

import pytest

from lab import seed as seeds
from tests.fixtures.lab import SOURCE, Lab


@pytest.fixture
def route53(lab: Lab) -> Any:
    """Return a client of the lab's Route 53."""
    return lab.aws("route53")


def _writer(lab: Lab, route53: Any) -> str:
    listed = route53.list_resource_record_sets(
        HostedZoneId=lab.world.seed.zone_id, StartRecordName=seeds.WRITER, MaxItems="1"
    )
    return str(listed["ResourceRecordSets"][0]["ResourceRecords"][0]["Value"])


def _stack(lab: Lab) -> str:
    """Return a new stack with the writer's name only, so that one error is to be expected."""
    stack = lab.new_stack()
    lab.world.pulumi("config", "rm", "--path", "bluegreen:dns.reader", "-s", stack)
    return stack


def test_a_new_environment_beside_production_takes_over_no_name(lab: Lab, route53: Any) -> None:
    """As does one whose successor has taken its place, when its stack is brought up once more."""
    before = _writer(lab, route53)
    assert before == lab.world.outputs(SOURCE)["endpoint"]
    stack = _stack(lab)
    lab.world.pulumi("config", "rm", "bluegreen:source", "-s", stack)
    said = lab.refused(stack, at="preview")
    assert f"exists and leads to {before}, which is not" in said
    assert "a name is moved by a switch only" in said
    assert _writer(lab, route53) == before


@pytest.mark.slow
def test_a_record_that_somebody_led_elsewhere_is_left_alone(lab: Lab, route53: Any) -> None:
    stack = _stack(lab)
    change = {
        "Name": seeds.WRITER,
        "Type": "CNAME",
        "TTL": 5,
        "ResourceRecords": [{"Value": "elsewhere.example"}],
    }

    def lead(to: str) -> None:
        change["ResourceRecords"] = [{"Value": to}]
        route53.change_resource_record_sets(
            HostedZoneId=lab.world.seed.zone_id,
            ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": change}]},
        )

    before = _writer(lab, route53)
    lead("elsewhere.example")
    try:
        assert "leads to elsewhere.example, which is neither" in lab.refused(stack, at="preview")
    finally:
        lead(before)
