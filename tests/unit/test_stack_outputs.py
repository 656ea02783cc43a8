"""What a stack says of its environment, read as values; and what is wrong with it, in one line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bluegreen import stack_outputs
from bluegreen.errors import Refused
from bluegreen.names import Direction
from bluegreen.postgres.server import Credentials, Server
from bluegreen.register.fence_mode import DEFAULT_FENCE
from bluegreen.stack_outputs import StackOutputs
from bluegreen.switch.plan import SwitchPlan

CREDENTIALS = {"admin_secret_arn": "arn:a", "replication_secret_arn": "arn:r", "tls": "require"}


def _side(cluster: str) -> dict[str, Any]:
    # As the engine hands it back: numbers are floats, and what is null is dropped.
    return {
        "cluster": cluster,
        "region": "eu-west-1",
        "host": f"{cluster}.example",
        "port": 5432.0,
        "credentials": CREDENTIALS,
    }


SWITCH = {
    "deployment": "green",
    "source": _side("orders-1"),
    "target": _side("orders-2"),
    "source_reader": "ro.orders-1.example",
    "target_reader": "ro.orders-2.example",
    "databases": ["app"],
    "writer": "target",
    "rollback": True,
    "switch": {"lag_seconds": 10.0, "drain_seconds": 5.0, "spare_roles": ["reporting"]},
    "dns": {"zone_id": "Z1", "ttl": 5.0, "writer": "db.example", "reader": "ro.example"},
    "accept_stale": None,
}
OUTPUTS = {
    "cluster_identifier": "orders-2",
    "cluster_arn": "arn:aws:rds:eu-west-1:1:cluster:orders-2",
    "cluster_resource_id": "cluster-2",
    "region": "eu-west-1",
    "endpoint": "orders-2.example",
    "reader_endpoint": "ro.orders-2.example",
    "port": 5432.0,
    "engine_version": "18.4",
    "databases": ["app"],
    "global_cluster_identifier": "",
    "secondaries": [],
    "credentials": CREDENTIALS,
    "records": {"writer": "db.example", "reader": ""},
    "state": "forward",
    "switch": SWITCH,
    "format": 1.0,
}


def _plan(**changed: Any) -> SwitchPlan:
    declared = stack_outputs.parse("green", OUTPUTS | {"switch": SWITCH | changed}).switch
    assert declared is not None
    return declared.plan()


def test_an_environment_is_read_as_values() -> None:
    found = stack_outputs.parse("green", OUTPUTS)
    assert found.server == Server(
        "orders-2",
        "eu-west-1",
        "orders-2.example",
        5432,
        Credentials("arn:a", "arn:r", "require"),
        "1",
    )
    assert found.databases == ("app",)


def test_a_plain_stack_declares_no_switch() -> None:
    assert stack_outputs.parse("blue", OUTPUTS | {"switch": None}).switch is None
    older = {name: value for name, value in OUTPUTS.items() if name != "switch"}
    assert stack_outputs.parse("blue", older).switch is None


def test_a_stack_of_before_names_no_id_in_aws() -> None:
    older = {name: value for name, value in OUTPUTS.items() if name != "cluster_resource_id"}
    assert stack_outputs.parse("blue", older).cluster_resource_id == ""


def test_a_declared_switch_leads_to_its_writer() -> None:
    plan = _plan()
    assert (plan.old.cluster, plan.new.cluster) == ("orders-1", "orders-2")
    assert plan.direction is Direction.FORWARD
    assert (plan.fence, plan.fuse_seconds, plan.spare_roles) == (
        DEFAULT_FENCE,
        10.0,
        ("reporting",),
    )
    assert plan.records is not None
    assert plan.records.targets == {
        "db.example": "orders-2.example",
        "ro.example": "ro.orders-2.example",
    }


def test_the_way_back_is_the_same_switch_flipped() -> None:
    declared = stack_outputs.parse("green", OUTPUTS).switch
    assert declared is not None
    back = declared.flipped().plan()
    assert back == _plan(writer="source")
    assert (back.old.cluster, back.new.cluster) == ("orders-2", "orders-1")
    assert back.direction is Direction.REVERSE


def test_a_plan_goes_through_a_pipe_and_stays_the_same() -> None:
    for plan in (_plan(), _plan(dns=None), _plan(switch=SWITCH["switch"] | {"roles": ["app"]})):  # type: ignore[operator]
        line = plan.to_line()
        assert "\n" not in line
        assert SwitchPlan.from_line(line) == plan


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({}, "stack 'green' has no environment (never brought up, or destroyed)"),
        (OUTPUTS | {"format": 2}, "stack 'green' has outputs of format 2, expected 1"),
        (
            {name: value for name, value in OUTPUTS.items() if name != "endpoint"},
            "stack 'green': output endpoint: field required",
        ),
        (OUTPUTS | {"port": "many"}, "stack 'green': output port: input should be a valid integer"),
        (
            OUTPUTS | {"switch": SWITCH | {"writer": "nobody"}},
            "stack 'green': output switch.writer: input should be 'source' or 'target'",
        ),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(outputs: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        stack_outputs.parse("green", outputs)
    text = str(refused.value)
    assert text.startswith(said)
    assert text.endswith(("pulumi up -s green", "with this version of the program"))
    assert "\n" not in text


def test_the_outputs_hold_no_secret() -> None:
    """Only references, whatever else somebody puts beside them."""
    beside = CREDENTIALS | {"password": "hunter2"}
    found = stack_outputs.parse("green", OUTPUTS | {"credentials": beside})
    assert "hunter2" not in json.dumps(found.model_dump(mode="json"))
    assert set(StackOutputs.model_fields) == set(OUTPUTS)
