"""The providers' common edge: explicit diffs, and errors of one line without a secret."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psycopg
import pulumi
import pytest
from botocore.exceptions import ClientError
from pulumi.dynamic import CreateResult

from bluegreen.errors import Refused
from dynamic_providers.host_errors import ProviderError
from dynamic_providers.provider import Props, Provider, explicit_diff, one_line


class Failing(Provider):
    def create(self, props: Props) -> CreateResult:
        raise props["error"]


@pytest.mark.parametrize(
    ("olds", "news", "changes", "replaces"),
    [
        pytest.param({"a": 1.0, "b": "x"}, {"a": 1, "b": "x"}, False, [], id="same"),
        pytest.param({"a": 1, "b": "x"}, {"a": 2, "b": "x"}, True, [], id="update"),
        pytest.param({"a": 1, "b": "x"}, {"a": 1, "b": "y"}, True, ["b"], id="replace"),
        pytest.param({"b": "x"}, {"a": None, "b": "x"}, False, [], id="none-is-missing"),
        pytest.param({"a": [], "b": "x"}, {"b": "x"}, False, [], id="empty-is-missing"),
        pytest.param({"b": "x"}, {"a": False, "b": "x"}, False, [], id="missing-is-false"),
        pytest.param({"b": "x"}, {"a": 0, "b": "x"}, True, [], id="zero-is-not-missing"),
        pytest.param({"a": True, "b": "x"}, {"a": False, "b": "x"}, True, [], id="flag"),
        pytest.param({"a": 5, "b": "x"}, {"a": 0, "b": "x"}, True, [], id="zero-is-a-value"),
        pytest.param({"b": "x", "z": 1}, {"b": "x", "z": 2}, False, [], id="others-don't-count"),
    ],
)
def test_only_named_keys_count(
    olds: dict[str, Any], news: dict[str, Any], changes: bool, replaces: list[str]
) -> None:
    found = explicit_diff(olds, news, updates=["a"], replaces=["b"])
    assert (found.changes, found.replaces) == (changes, replaces)


def test_an_unknown_value_never_replaces() -> None:
    unknown = pulumi.output.Unknown()  # type: ignore[no-untyped-call]
    found = explicit_diff({"b": "x"}, {"b": unknown}, updates=[], replaces=["b"])
    assert (found.changes, found.replaces) == (True, [])


def test_a_refusal_reaches_the_user_as_its_own_line() -> None:
    with pytest.raises(ProviderError, match=r"^slot s: lost; clone again$") as raised:
        Failing().create({"error": Refused("slot s: lost; clone again")})
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


def test_errors_of_the_server_and_of_aws_are_one_line() -> None:
    detail = psycopg.errors.UniqueViolation("duplicate key\nDETAIL: Key (card)=(4711) exists")
    assert one_line(detail) == (
        "PostgreSQL: duplicate key (SQLSTATE 23505); see the server's log, and try again once the"
        " cause is fixed"
    )
    assert one_line(psycopg.errors.ObjectNotInPrerequisiteState("wal_level is replica")) == (
        "PostgreSQL: wal_level is replica (SQLSTATE 55000); see which setting or state it names,"
        " and try again once the server has it"
    )
    assert "once nothing uses it" in one_line(psycopg.errors.ObjectInUse("in use"))
    error = ClientError({"Error": {"Code": "Throttling", "Message": "slow\ndown"}}, "DescribeX")
    assert "\n" not in one_line(error)
    assert "Throttling" in one_line(error)


def test_what_psycopg_says_of_a_broken_pipeline_is_not_shown_beside_the_line() -> None:
    """In a process of its own, as a provider has: what is set for loggers would stay."""
    program = (
        "import logging\n"
        "from dynamic_providers.provider import Provider\n"
        "from pulumi.dynamic import ConfigureRequest\n"
        "Provider().configure(ConfigureRequest(config=None))\n"
        "logging.getLogger('psycopg').warning('error ignored terminating %r', object())\n"
        "logging.getLogger('bluegreen').info('progress')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == "progress\n"
