"""Parameters of the user's, through the real `pulumi`: taken as AWS takes them, and in force."""

from __future__ import annotations

import pytest

from tests.fixtures.lab import RETIRABLE, Lab


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
