"""When a wanted parameter counts as in force."""

from __future__ import annotations

import pytest

from bluegreen.upgrade.parameters import Setting, effective, pending

FOUND = {
    "rds.logical_replication": Setting("wal_level", "replica", "enum"),
    "max_replication_slots": Setting("max_replication_slots", "20", "integer"),
    "max_active_replication_origins": Setting("max_active_replication_origins", "12", "integer"),
    "max_logical_replication_workers": Setting("max_logical_replication_workers", "17", "integer"),
    "max_wal_senders": Setting("max_wal_senders", "21", "integer"),
    "max_worker_processes": Setting("max_worker_processes", "64", "integer"),
    "max_connections": Setting("max_connections", "200", "integer"),
    "track_commit_timestamp": Setting("track_commit_timestamp", "off", "bool"),
    "shared_preload_libraries": Setting(
        "shared_preload_libraries", "rdsutils, pg_cron,pg_stat_statements", "string"
    ),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rds.logical_replication", "0"),
        ("max_replication_slots", "20"),
        ("max_replication_slots", "20.0"),
        ("max_replication_slots", "5"),
        ("max_active_replication_origins", "10"),
        ("max_logical_replication_workers", "16"),
        ("max_wal_senders", "20"),
        ("max_worker_processes", "32"),
        ("track_commit_timestamp", "0"),
        ("track_commit_timestamp", "off"),
        ("shared_preload_libraries", "pg_stat_statements,pg_cron"),
    ],
)
def test_in_force(name: str, value: str) -> None:
    assert pending({name: value}, FOUND) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("rds.logical_replication", "1", "rds.logical_replication is replica, expected 1"),
        ("max_replication_slots", "25", "max_replication_slots is 20, expected 25"),
        ("max_connections", "100", "max_connections is 200, expected 100"),
        ("track_commit_timestamp", "1", "track_commit_timestamp is off, expected 1"),
        ("shared_preload_libraries", "auto_explain", "expected auto_explain"),
        ("no_such_parameter", "1", "no_such_parameter is unknown, expected 1"),
    ],
)
def test_waiting(name: str, value: str, words: str) -> None:
    [waiting] = pending({name: value}, FOUND)
    assert words in str(waiting)


def test_logical_replication_is_judged_by_what_the_server_writes() -> None:
    logical = {"rds.logical_replication": Setting("wal_level", "logical", "enum")}
    assert pending({"rds.logical_replication": "1"}, logical) == []
    assert len(pending({"rds.logical_replication": "0"}, logical)) == 1


def test_what_only_aws_can_tell_is_left_to_its_status() -> None:
    formula = {"max_worker_processes": "GREATEST({DBInstanceVCPU*2},8)"}
    assert pending(formula | {"aurora.enhanced_logical_replication": "0"}, {}) == []


def test_effective_gives_the_servers_values() -> None:
    wanted = {"rds.logical_replication": "1", "aurora.unknown_here": "1"}
    assert effective(wanted, FOUND) == {"rds.logical_replication": "replica"}
