"""Parameters by AWS's own description: what each takes, and what is refused by name."""

from __future__ import annotations

import pytest

from bluegreen.errors import Refused
from bluegreen.upgrade.parameter_types import ParameterType, inspect_all, problem, spelt
from tests.fixtures.aws_api import REGION


def _known(allowed: str = "", *, modifiable: bool = True, listed: bool = False) -> ParameterType:
    return ParameterType(
        static=False, modifiable=modifiable, default=None, allowed=allowed, listed=listed
    )


@pytest.mark.parametrize(
    ("allowed", "value"),
    [
        ("", "anything"),
        ("0-262143", "0"),
        ("0-262143", "262143"),
        ("-1-100", "-1"),
        ("-2147483648-2147483647", "-5"),
        ("0-1.79769e+308", "4.5"),
        ("0.0-1.0", "0.25"),
        ("-1,60-3600", "-1"),
        ("none,ddl,mod,all", "DDL"),
        ("1-600", "{DBInstanceClassMemory/9531392}"),
        ("1-600", "GREATEST(10,20)"),
    ],
)
def test_a_value_within_is_taken(allowed: str, value: str) -> None:
    assert problem("p", value, {"p": _known(allowed)}) is None


@pytest.mark.parametrize(
    ("allowed", "value"),
    [
        ("0-262143", "-1"),
        ("0-262143", "262144"),
        ("0-262143", "many"),
        ("0-262143", ""),
        ("-1,60-3600", "0"),
        ("none,ddl,mod,all", "some"),
        ("ddl,-ddl", "dd"),
    ],
)
def test_a_value_outside_is_refused_with_what_is_allowed(allowed: str, value: str) -> None:
    assert problem("p", value, {"p": _known(allowed)}) == f"got {value!r}, allowed are {allowed}"


def test_each_word_of_a_list_counts() -> None:
    known = {"pgaudit.log": _known("ddl,read,-ddl", listed=True)}
    assert problem("pgaudit.log", "ddl, read", known) is None
    assert "allowed are ddl" in str(problem("pgaudit.log", "ddl,write", known))


def test_an_unknown_name_is_refused_with_those_like_it() -> None:
    known = {"timezone": _known(), "work_mem": _known()}
    assert str(problem("TimeZone", "UTC", known)).endswith("did you mean timezone?")
    assert str(problem("x", "1", known)) == "is no cluster parameter of this version"


def test_what_nobody_may_change_is_refused() -> None:
    assert "AWS sets it" in str(problem("fsync", "1", {"fsync": _known(modifiable=False)}))


def test_a_long_list_of_what_is_allowed_is_cut_off() -> None:
    said = str(problem("p", "x", {"p": _known(",".join(map(str, range(1000))))}))
    assert len(said) < 350
    assert said.endswith("...")


@pytest.mark.parametrize(
    ("allowed", "value", "expected"),
    [("0,1", "on", "1"), ("0,1", "off", "0"), ("0,1", "1", "1"), ("on,off", "on", "on")],
)
def test_a_flag_is_spelt_as_aws_spells_it(allowed: str, value: str, expected: str) -> None:
    assert spelt(value, _known(allowed)) == expected


@pytest.mark.usefixtures("library_at_aws_api")
def test_a_familys_parameters_are_read_page_by_page() -> None:
    inspect_all.cache_clear()
    found = inspect_all(REGION, "aurora-postgresql16")
    assert len(found) > 100
    assert found["max_replication_slots"] == ParameterType(
        static=True, modifiable=True, default="20", allowed="5-262143", listed=False
    )
    assert not found["log_statement"].static
    assert not found["fsync"].modifiable
    assert found["shared_preload_libraries"].listed
    assert "io_method" not in found
    assert "io_method" in inspect_all(REGION, "aurora-postgresql18")


@pytest.mark.usefixtures("unreachable_aws")
def test_aws_out_of_reach_is_said() -> None:
    inspect_all.cache_clear()
    with pytest.raises(Exception, match="parameters of aurora-postgresql16: rds:Describe") as said:
        inspect_all(REGION, "aurora-postgresql16")
    assert not isinstance(said.value, Refused)
