"""A name that is used again: each of its clusters can be destroyed, and leaves what it should."""

from __future__ import annotations

import pytest

from tests.fixtures.lab import Lab


@pytest.mark.slow
def test_a_second_cluster_of_a_name_can_be_destroyed_too(lab: Lab) -> None:
    stack = lab.new_stack(
        "bluegreen:environment.deletion_protection=false",
        "bluegreen:environment.retire=true",
    )
    for key in ("bluegreen:source", "bluegreen:dns"):
        lab.world.pulumi("config", "rm", key, "-s", stack)
    for _ in range(2):
        lab.up(stack)
        name = lab.world.outputs(stack)["cluster_identifier"]
        lab.world.pulumi("preview", "-s", stack, "--expect-no-changes")
        lab.destroy(stack)
    rds = lab.aws("rds")
    left = rds.describe_db_cluster_snapshots(SnapshotType="manual")["DBClusterSnapshots"]
    mine = [one for one in left if one["DBClusterIdentifier"] == name]
    assert len(mine) == 2
    backups = rds.describe_db_cluster_automated_backups(DBClusterIdentifier=name)
    assert len(backups["DBClusterAutomatedBackups"]) == 2
