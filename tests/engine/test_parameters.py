"""Parameters of the user's, through the real `pulumi`: taken as AWS takes them, and in force."""

from __future__ import annotations

import pytest

from tests.fixtures.lab import RETIRABLE, SOURCE, Lab


@pytest.mark.slow
def test_static_and_dynamic_parameters_are_in_force_and_stay(lab: Lab) -> None:
    """A flag is spelt as AWS spells it, and what is so anyway is left out: so no `up` differs."""
    parameters = "bluegreen:environment.parameters"
    stack = lab.new_stack(
        f"{parameters}.track_commit_timestamp=true",
        f"{parameters}.log_statement=ddl",
        f"{parameters}.track_io_timing=true",
        *RETIRABLE,
    )
    for key in ("bluegreen:source", "bluegreen:dns"):
        lab.world.pulumi("config", "rm", key, "-s", stack)
    lab.up(stack)
    try:
        group = f"{lab.world.outputs(stack)['cluster_identifier']}-18"
        rds = lab.aws("rds")
        answer = rds.describe_db_cluster_parameters(
            DBClusterParameterGroupName=group, Source="user"
        )
        found = {one["ParameterName"]: one for one in answer["Parameters"]}
        assert found["track_commit_timestamp"]["ParameterValue"] == "1"
        assert found["track_commit_timestamp"]["ApplyMethod"] == "pending-reboot"
        assert found["log_statement"]["ApplyMethod"] == "immediate"
        assert "track_io_timing" not in found
        with lab.connect(stack) as conn:
            assert conn.execute("SHOW track_commit_timestamp").fetchone() == ("on",)
        lab.world.pulumi("preview", "-s", stack, "--expect-no-changes", "--refresh")
    finally:
        lab.destroy(stack)


@pytest.mark.slow
def test_a_clone_that_keeps_its_version_is_rebooted_for_its_own_group(lab: Lab) -> None:
    """Its first one leaves out what must not run before it is closed; no upgrade restarts it."""
    version = lab.world.outputs(SOURCE)["engine_version"]
    stack = lab.new_stack(f"bluegreen:environment.engine_version={version}", *RETIRABLE)
    lab.up(stack)
    try:
        identifier = lab.world.outputs(stack)["cluster_identifier"]
        answer = lab.aws("rds").describe_db_clusters(DBClusterIdentifier=identifier)
        (cluster,) = answer["DBClusters"]
        assert cluster["DBClusterParameterGroup"] != f"{identifier}-clone"
        assert {
            member["DBClusterParameterGroupStatus"] for member in cluster["DBClusterMembers"]
        } == {"in-sync"}
        with lab.connect(stack) as conn:
            assert conn.execute("SELECT count(*) FROM pg_stat_subscription").fetchone() == (1,)
        lab.world.pulumi("preview", "-s", stack, "--expect-no-changes", "--refresh")
    finally:
        lab.destroy(stack)
