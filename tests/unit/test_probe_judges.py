"""What is a right answer: of positions, truths, and AWS's descriptions."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.probe import aws_calls
from bluegreen.probe.positions import in_order, not_past, one_position, slot_behind
from bluegreen.probe.row import Judge, Outcome, Place, none_missing, shown, true

WORKS, DIFFERS = Outcome.WORKS, Outcome.DIFFERS


@pytest.mark.parametrize(
    ("judge", "answer", "outcome", "said"),
    [
        (one_position, [("16/B374D848",)], WORKS, "16/B374D848"),
        (one_position, [("0/0",)], DIFFERS, "answered 0/0"),
        (one_position, [(None,)], DIFFERS, "answered NULL"),
        (one_position, [], DIFFERS, "answered NULL"),
        (in_order, [("0/9", "0/9", "0/10")], WORKS, "0/9, 0/9, 0/10"),
        (in_order, [("0/10", "0/9", "0/11")], DIFFERS, "expected each not to lie before"),
        # What a user of Aurora saw beside 0/471892C8.
        (in_order, [("0/471892C8", "B0234/7C794C04")], DIFFERS, "of one space"),
        (in_order, [("0/1", None)], DIFFERS, "a position is missing"),
        (slot_behind, [("0/1", "0/2", "0/3")], WORKS, "confirmed 0/2"),
        (slot_behind, [("0/1", "0/4", "0/3")], DIFFERS, "expected this order"),
        (slot_behind, [("0/1", "0/2", "B0234/7C794C04")], DIFFERS, "of one space"),
        (slot_behind, [], DIFFERS, "a position is missing"),
        (not_past, [("0/9", "9/10")], WORKS, "is at 9/10"),
        (not_past, [("0/10", "0/9")], DIFFERS, "not of one space"),
        (not_past, [("0/10", "B0234/7C794C04")], DIFFERS, "not of one space"),
        (true, [(True, True)], WORKS, ""),
        (true, [(True, False)], DIFFERS, "answered true, false, expected true"),
        (true, [(None,)], DIFFERS, "answered NULL"),
        (true, [], DIFFERS, "answered no row"),
        (true, [("zebra",)], DIFFERS, "answered a value"),
        (shown, [("16.4.1",)], WORKS, "16.4.1"),
        (shown, [(None,)], DIFFERS, "expected a value"),
        (none_missing, [(None,)], WORKS, ""),
        (none_missing, [("pg_monitor",)], DIFFERS, "missing: pg_monitor"),
    ],
)
def test_an_answer_is_judged(judge: Judge, answer: Any, outcome: Outcome, said: str) -> None:
    verdict = judge(answer)
    assert verdict.outcome is outcome
    assert said in verdict.said


_DESCRIBED = {
    "DBClusterIdentifier": "c",
    "DBClusterArn": "arn:aws:rds:eu-west-1:123456789012:cluster:c",
    "DbClusterResourceId": "cluster-1",
    "Status": "available",
    "Engine": "aurora-postgresql",
    "EngineVersion": "16.4",
    "ClusterCreateTime": "then",
    "DBClusterMembers": [
        {
            "DBInstanceIdentifier": "i",
            "IsClusterWriter": True,
            "DBClusterParameterGroupStatus": "in-sync",
        }
    ],
}


def _judge(method: str, answer: Any) -> tuple[Outcome, str]:
    (row,) = [row for row in aws_calls.ROWS if row.method == method]
    verdict = row.judge(answer)
    return verdict.outcome, verdict.said


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("DbClusterResourceId", "lacks DbClusterResourceId"),
        ("DBClusterMembers", "lacks members"),
    ],
)
def test_a_description_without_what_is_read_differs(without: str, said: str) -> None:
    assert _judge("describe_db_clusters", {"DBClusters": [_DESCRIBED]}) == (WORKS, "")
    short = {key: value for key, value in _DESCRIBED.items() if key != without}
    assert _judge("describe_db_clusters", {"DBClusters": [short]}) == (DIFFERS, said)


@pytest.mark.parametrize(
    ("method", "answer", "said"),
    [
        ("describe_db_engine_versions", {"DBEngineVersions": []}, "no version"),
        ("describe_db_cluster_parameters", {"Parameters": []}, "no parameters"),
        ("get_secret_value", {"SecretString": "zebra"}, "is no JSON"),
        ("get_secret_value", {"SecretString": '{"user": "zebra"}'}, "lacks username, password"),
        ("get_secret_value", {"SecretBinary": b"zebra"}, "is no JSON"),
        ("modify_db_cluster", {"DBCluster": {}}, "taken, expected to be refused"),
    ],
)
def test_an_answer_of_aws_that_differs_is_said_without_its_values(
    method: str, answer: Any, said: str
) -> None:
    outcome, words = _judge(method, answer)
    assert outcome is DIFFERS
    assert said in words
    assert "zebra" not in words


def test_what_changes_something_is_sent_to_a_name_that_nothing_has() -> None:
    place = Place("eu-west-1", "zebra", described=_DESCRIBED, unused="bluegreen_probe_1")
    changing = [row for row in aws_calls.ROWS if row.method.startswith(("modify", "reboot"))]
    assert len(changing) == 3
    for row in changing:
        arguments = row.arguments(place)
        assert isinstance(arguments, dict)
        assert "bluegreen-probe-1" in arguments.values()
        assert "zebra" not in arguments.values()
        assert "i" not in arguments.values()
