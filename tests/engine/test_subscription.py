"""A subscription and its gate through the real `pulumi`, on real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.postgres.clone import wait_until
from tests.fixtures.engine import MakeProject, Project
from tests.fixtures.provider_host import ROOT
from tests.fixtures.subscribed import Subscribed

_PROGRAM = f"""\
import json
import sys

sys.path.insert(0, {str(ROOT)!r})

import pulumi
from dynamic_providers.caught_up import CaughtUp
from dynamic_providers.subscription import Subscription

with open("wish.json") as file:
    wish = json.load(file)
if wish:
    subscription = Subscription("subscription", **wish["subscription"])
    gate = CaughtUp(
        "gate", **wish["gate"], opts=pulumi.ResourceOptions(depends_on=[subscription])
    )
    pulumi.export("lag_ms", gate.lag_ms)
"""


def _wish(this: Subscribed, **changes: Any) -> dict[str, Any]:
    return {
        "subscription": this.props | changes,
        "gate": {
            "publisher": this.source.to_props(),
            "subscriber": this.target.to_props(),
            "databases": [this.database],
            "deployment": this.deployment,
            "direction": "forward",
            "lag_seconds": 10,
            "stable_seconds": 0,
            "timeout_seconds": 60,
        },
    }


def _beats(this: Subscribed) -> int:
    """Return how many heartbeats the gate has sent."""
    ((found,),) = this.on_source("SELECT max(beat) FROM bluegreen.heartbeat")
    return int(found)


def _declare(project: Project, wish: dict[str, Any]) -> None:
    project.write("wish.json", json.dumps(wish))


@pytest.mark.slow
@pytest.mark.parametrize(
    "majors",
    [
        pytest.param((16, 18), id="16-to-18"),
        pytest.param((18, 16), id="18-to-16", marks=pytest.mark.long),
    ],
)
def test_life_of_a_subscription_and_its_gate(
    make_project: MakeProject,
    subscribe_pair: Callable[..., Subscribed],
    moto_url: str,
    majors: tuple[int, int],
) -> None:
    """Create, no change, change in place, drift, removed by hand, rotation, delete."""
    this = subscribe_pair(*majors)
    project = make_project("subscribed")
    project.environment.update(
        AWS_ENDPOINT_URL=moto_url,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_DEFAULT_REGION="eu-west-1",
        PYTHONPATH=str(ROOT),
    )
    project.write("__main__.py", _PROGRAM)

    # create
    _declare(project, _wish(this))
    assert "3 created" in project.up()
    assert float(project.run("stack", "output", "lag_ms")) > 0
    oid = this.on_target("SELECT oid FROM pg_subscription")

    # no change gives no diff, with and without a look at the servers
    assert "3 unchanged" in project.up()
    beats = _beats(this)
    assert "3 unchanged" in project.up("--refresh")
    assert _beats(this) == beats

    # change in place; the gate waits anew, though not for a mere change of its patience
    changed = _wish(this, streaming="on", disable_on_error=True)
    changed["gate"] |= {"lag_seconds": 5, "timeout_seconds": 30}
    _declare(project, changed)
    assert "2 updated" in project.up()
    assert _beats(this) > beats
    gate = project.resource("CaughtUp")
    assert gate is not None
    assert gate["lag_seconds"] == 5
    beats = _beats(this)
    changed["gate"]["timeout_seconds"] = 60
    _declare(project, changed)
    assert "3 unchanged" in project.up()
    assert _beats(this) == beats
    this.write(2)

    # a change that could only replace is refused at preview
    _declare(project, _wish(this, slot_name="another"))
    code, said = project.try_run("preview", "--non-interactive")
    assert code != 0
    assert "slot_name is" in said
    _declare(project, _wish(this))
    project.up()

    # drift shown by refresh and repaired by the next up
    this.alter("SET (origin = any)")
    this.alter("DISABLE")
    assert "1 updated" in project.run("refresh", "--yes", "--skip-preview", "--non-interactive")
    assert "1 updated" in project.up()
    this.write(2)
    this.wait_until_equal()

    # a rotated password is fixed by the next up that looks
    this.set_role_password("rot'ated \\ @")
    this.set_secret("rot'ated \\ @")
    assert "1 updated" in project.up("--refresh")
    assert "3 unchanged" in project.up("--refresh")
    assert this.on_target("SELECT oid FROM pg_subscription") == oid
    exported = project.run("stack", "export")
    assert not any(json.dumps(password)[1:-1] in exported for password in this.passwords)

    # removed by hand: gone, and refused with the reason, since its slot has gone on
    this.wait_until_worker()
    this.drop_by_hand()
    code, said = project.try_run("up", "--yes", "--skip-preview", "--non-interactive", "--refresh")
    assert code != 0
    assert "clone again" in said
    assert "Traceback" not in said

    # delete, and all of it is gone but the slot
    assert "destroy" not in project.run("destroy", "--yes", "--skip-preview", "--non-interactive")
    assert this.on_target("SELECT FROM pg_subscription WHERE subname = %s", this.name) == []
    assert len(this.on_source("SELECT FROM pg_replication_slots WHERE slot_name = %s", this.slot))


@pytest.mark.slow
def test_removed_by_hand_before_it_applied_is_made_anew_and_deleted(
    make_project: MakeProject, subscribe_pair: Callable[..., Subscribed], moto_url: str
) -> None:
    this = subscribe_pair(16, 18)
    project = make_project("recreated")
    project.environment.update(
        AWS_ENDPOINT_URL=moto_url,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_DEFAULT_REGION="eu-west-1",
        PYTHONPATH=str(ROOT),
    )
    program = _PROGRAM.replace('    gate = CaughtUp(\n        "gate", **wish["gate"], opts=pulumi'
                               '.ResourceOptions(depends_on=[subscription])\n    )\n'
                               '    pulumi.export("lag_ms", gate.lag_ms)\n', "")  # fmt: skip
    project.write("__main__.py", program)
    _declare(project, _wish(this, enabled=False))
    project.up()
    this.drop_by_hand()
    assert "1 deleted" in project.run("refresh", "--yes", "--skip-preview", "--non-interactive")
    _declare(project, _wish(this))
    assert "1 created" in project.up()
    this.write(2)
    wait_until(lambda: this.ids("target") == [1, 2], "the rows")
    _declare(project, {})
    assert "1 deleted" in project.up()
    assert this.on_target("SELECT FROM pg_subscription WHERE subname = %s", this.name) == []
