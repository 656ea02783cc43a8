"""What a clone's group leaves out until the clone is closed: what would write there by itself."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bluegreen.upgrade.clone_parameters import until_closed
from bluegreen.upgrade.parameter_types import ParameterType
from components import parameters
from components.parameters import Parameters


def _type(allowed: str = "", *, static: bool = False, modifiable: bool = True) -> ParameterType:
    return ParameterType(
        static=static, modifiable=modifiable, default=None, allowed=allowed, listed=False
    )


LIBRARIES = "shared_preload_libraries"
SWITCH = "cron.launch_active_jobs"
PLAIN = {LIBRARIES: _type(static=True), "work_mem": _type()}
SWITCHED = PLAIN | {SWITCH: _type("0,1")}


@pytest.mark.parametrize(
    ("libraries", "kept"),
    [
        ("pg_cron, pgaudit", "pgaudit"),
        ("pgaudit,pg_cron,pg_stat_statements", "pgaudit,pg_stat_statements"),
        ("pg_cron", None),
        ("pglogical,pg_partman_bgw,pgactive", None),
        ("pg_stat_statements", "pg_stat_statements"),
        ("my_pg_cron", "my_pg_cron"),
    ],
)
def test_libraries_whose_workers_write_are_left_out(libraries: str, kept: str | None) -> None:
    found = until_closed({LIBRARIES: libraries, "work_mem": "64"}, PLAIN)
    assert found == {"work_mem": "64"} | ({LIBRARIES: kept} if kept else {})


def test_nothing_is_left_out_where_jobs_can_be_held_back() -> None:
    assert until_closed({LIBRARIES: "pg_cron,pgaudit"}, SWITCHED) == {
        LIBRARIES: "pg_cron,pgaudit",
        SWITCH: "0",
    }


@pytest.mark.parametrize(
    "types",
    [
        PLAIN | {SWITCH: _type("0,1", static=True)},
        PLAIN | {SWITCH: _type("0,1", modifiable=False)},
    ],
)
def test_a_switch_that_takes_a_restart_or_that_nobody_may_change_is_none(
    types: Mapping[str, ParameterType],
) -> None:
    assert until_closed({LIBRARIES: "pg_cron"}, types) == {}


def test_another_library_s_workers_are_left_out_whatever_holds_jobs_back() -> None:
    assert until_closed({LIBRARIES: "pg_cron,pglogical"}, SWITCHED) == {}


def test_what_the_user_set_for_jobs_is_not_kept_on_the_clone() -> None:
    assert until_closed({LIBRARIES: "pg_cron", SWITCH: "1"}, SWITCHED)[SWITCH] == "0"


def test_without_such_a_library_a_clone_has_what_is_desired() -> None:
    assert until_closed({"work_mem": "64"}, SWITCHED) == {"work_mem": "64"}


def test_the_clone_s_group_leaves_it_out_and_the_target_s_own_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parameters, "_types", lambda _region, _family: PLAIN)
    desired = Parameters("eu-west-1", {LIBRARIES: "pg_cron,pgaudit", "work_mem": "64"}, PLAIN)
    own = {one.name: one.value for one in desired.group()}
    clones = {one.name: one.value for one in desired.group_of("aurora-postgresql16")}
    assert own == {LIBRARIES: "pg_cron,pgaudit", "work_mem": "64"}
    assert clones == {LIBRARIES: "pgaudit", "work_mem": "64"}
    # No reboot is asked for what the clone's group does not have.
    assert desired.static_of("aurora-postgresql16") == {LIBRARIES: "pgaudit"}
