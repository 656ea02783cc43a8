"""A cluster that AWS has and the stack doesn't know, as an update that was killed leaves one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from bluegreen.polling import poll_until
from lab import seed as seeds
from tests.fixtures.lab import RETIRABLE, Lab


@pytest.fixture
def plain(lab: Lab) -> str:
    """Return a stack of its own without a source, not brought up."""
    stack = lab.new_stack(*RETIRABLE)
    for key in ("bluegreen:source", "bluegreen:dns"):
        lab.world.pulumi("config", "rm", key, "-s", stack)
    return stack


def _kill_while_its_cluster_is_made(lab: Lab, stack: str, name: str) -> None:
    """Kill an update as soon as AWS has its cluster."""
    program = str(lab.world.place.programs / "pulumi")
    with subprocess.Popen(
        [program, "up", "-s", stack, "--yes", "--skip-preview", "--non-interactive"],
        cwd=lab.world.place.project,
        env=lab.world.environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as update:
        rds = lab.aws("rds")
        for _ in poll_until(time.monotonic() + 600, first=0.05, most=0.05):
            filters = [{"Name": "db-cluster-id", "Values": [name]}]
            found = rds.describe_db_clusters(Filters=filters)["DBClusters"]
            if found or update.poll() is not None:
                break
        assert found
        os.killpg(update.pid, signal.SIGKILL)
    lab.world.pulumi("cancel", "-s", stack, "--yes")


@pytest.mark.slow
def test_a_cluster_that_a_killed_update_has_left_is_named_and_made_again(
    lab: Lab, plain: str
) -> None:
    """AWS would refuse it by a word that says nothing of where it comes from."""
    name = f"bluegreen-{plain}"
    _kill_while_its_cluster_is_made(lab, plain, name)
    code, text = lab.world.try_pulumi("preview", "-s", plain, "--color=never")
    assert code != 0, text
    assert f"cluster {name}: is to be made, and exists in {seeds.REGION} since 20" in text
    assert "0 instances); if an update that was killed then has left it, remove it in AWS" in text
    lab.aws("rds").delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)
    lab.up(plain)
    lab.world.pulumi("preview", "-s", plain, "--expect-no-changes")
    lab.destroy(plain)


@pytest.mark.slow
def test_the_clone_is_restarted_only_when_its_lsn_is_known(lab: Lab) -> None:
    """What may restart the clone depends on what reads its LSN, in every deployment."""
    stack = lab.new_stack(*RETIRABLE)
    planned = json.loads(lab.world.pulumi("preview", "-s", stack, "--json"))
    states = [step["newState"] for step in planned["steps"] if "newState" in step]
    by_kind = {one["type"].rpartition(":")[2]: one for one in states}
    assert by_kind["CloneOrigin"]["urn"] in by_kind["ParameterApply"]["dependencies"]
    assert by_kind["ParameterApply"]["urn"] in by_kind["EngineUpgrade"]["dependencies"]
    inputs = by_kind["ParameterApply"]["inputs"]
    assert (inputs["allow_reboot"], inputs["standby_databases"]) == ("never", ["app"])
