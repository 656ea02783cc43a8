"""A cluster that AWS has and the stack doesn't know, as an update that was killed leaves one."""

from __future__ import annotations

import json

import pytest

from lab import seed as seeds
from tests.fixtures.lab import RETIRABLE, Lab


@pytest.mark.slow
def test_a_cluster_that_is_left_over_is_named_and_can_be_taken_in(lab: Lab) -> None:
    """By the command that the line gives: the next update goes on with it."""
    stack = lab.new_stack(*RETIRABLE)
    for key in ("bluegreen:source", "bluegreen:dns"):
        lab.world.pulumi("config", "rm", key, "-s", stack)
    name = f"bluegreen-{stack}"
    lab.aws("rds").create_db_cluster(
        DBClusterIdentifier=name,
        Engine="aurora-postgresql",
        EngineVersion="18.4",
        DatabaseName="app",
        MasterUsername=seeds.MASTER,
        MasterUserPassword=lab.world.seed.admin_password,
        StorageEncrypted=True,
    )
    said = lab.refused(stack, at="preview")
    assert f"cluster {name}: is to be made, and exists in {seeds.REGION}" in said
    assert f"pulumi refresh -s {stack} --import-pending-creates 'urn:pulumi:{stack}::" in said
    lab.aws("rds").delete_db_cluster(DBClusterIdentifier=name, SkipFinalSnapshot=True)


@pytest.mark.slow
def test_the_clone_is_restarted_only_when_its_lsn_is_known(lab: Lab) -> None:
    """What may restart the clone depends on what reads its LSN, in every deployment."""
    stack = lab.new_stack(*RETIRABLE)
    planned = json.loads(lab.world.pulumi("preview", "-s", stack, "--json"))
    states = [step["newState"] for step in planned["steps"] if "newState" in step]
    by_kind = {one["type"].rpartition(":")[2]: one for one in states}
    assert by_kind["CloneOrigin"]["urn"] in by_kind["ParameterApply"]["dependencies"]
    assert by_kind["ParameterApply"]["urn"] in by_kind["EngineUpgrade"]["dependencies"]
    assert by_kind["ParameterApply"]["inputs"]["allow_reboot"] == "now"
