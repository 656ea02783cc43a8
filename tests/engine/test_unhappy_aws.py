"""AWS refuses, is short of something, or fails behind a creation: the next `up` goes on."""

from __future__ import annotations

import json

import pytest

from lab.aws.faults import GROUP_COMES_LATER
from tests.fixtures.lab import RETIRABLE, SOURCE, Lab


def _calls(lab: Lab, operation: str, identifier: str) -> list[str]:
    """Return the calls of an operation that name a cluster and were no failure."""
    log = (lab.world.place.folder / "api.jsonl").read_text().splitlines()
    wanted = (f'"operation": "{operation}"', f'"{identifier}"', '"status": 200')
    return [line for line in log if all(part in line for part in wanted)]


@pytest.mark.slow
def test_a_clone_that_was_made_and_then_failed_is_taken_up(lab: Lab) -> None:
    """Another clone would be a second full wait; the one that is there has all that it needs."""
    stack = lab.new_stack(*RETIRABLE)
    lab.fault("RestoreDBClusterToPointInTime", code="Throttling", times=7)
    lab.fault("ModifyDBCluster", code="InvalidParameterValue", message="not just now")
    code, text = lab.world.try_pulumi("up", "-s", stack, "--yes", "--non-interactive")
    assert code != 0
    assert "api error InvalidParameterValue: not just now" in text
    try:
        with lab.connect() as conn:
            conn.execute("INSERT INTO item DEFAULT VALUES")
        lab.fault("CreateDBInstance", code="Throttling", times=6)
        # With its preview, which knows less of the clone than any other does.
        lab.world.pulumi("up", "-s", stack, "--yes", "--non-interactive")
        name = lab.world.outputs(stack)["cluster_identifier"]
        assert len(_calls(lab, "RestoreDBClusterToPointInTime", name)) == 1
        lab.world.pulumi("preview", "-s", stack, "--expect-no-changes", "--refresh")
        with lab.connect() as source, lab.connect(stack) as clone:
            rows = "SELECT count(*) FROM item"
            assert source.execute(rows).fetchone() == clone.execute(rows).fetchone()
    finally:
        lab.destroy(stack)


@pytest.mark.slow
def test_a_group_whose_values_come_later_is_applied_by_a_reboot_that_is_allowed(lab: Lab) -> None:
    """AWS asks for minutes between a group's making and its first use; no `up` waits for them."""
    stack = lab.new_stack(*RETIRABLE, "bluegreen:environment.allow_reboot=never")
    for key in ("bluegreen:source", "bluegreen:dns"):
        lab.world.pulumi("config", "rm", key, "-s", stack)
    lab.fault("CreateDBCluster", outcome=GROUP_COMES_LATER)
    code, text = lab.world.try_pulumi("up", "-s", stack, "--yes", "--skip-preview")
    try:
        assert code != 0
        assert "environment.allow_reboot" in text
        lab.set(stack, "bluegreen:environment.allow_reboot=now")
        lab.up(stack)
        with lab.connect(stack) as conn:
            assert conn.execute("SHOW wal_level").fetchone() == ("logical",)
    finally:
        lab.destroy(stack)


@pytest.mark.slow
def test_a_cluster_is_imported_as_it_is(lab: Lab) -> None:
    """No code is asked for: the lab's own language host writes none."""
    stack = lab.new_stack()
    name = lab.world.outputs(SOURCE)["cluster_identifier"]
    flags = ("--generate-code=false", "--yes", "--non-interactive")
    lab.world.pulumi("import", "aws:rds/cluster:Cluster", "found", name, "-s", stack, *flags)
    exported = json.loads(lab.world.pulumi("stack", "export", "-s", stack))["deployment"]
    (found,) = [one for one in exported["resources"] if one.get("id") == name]
    assert found["outputs"]["skipFinalSnapshot"] is True
    assert found["inputs"]["clusterIdentifier"] == name
