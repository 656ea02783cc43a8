"""A resource's inputs are declared once: properties, diff and values come out of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

import pulumi
import pytest
from pulumi.output import Unknown

from bluegreen.errors import Refused
from bluegreen.postgres.server import Server
from dynamic_providers.inputs import (
    FIXED,
    REPLACES,
    UPDATES,
    Default,
    Value,
    declared,
    keys,
    only,
    properties,
)
from dynamic_providers.provider import Provider
from dynamic_providers.value_types import ObjectName, ServerInput
from dynamic_providers.values import Values, malformed

SERVER: dict[str, Any] = {
    "cluster": "orders-1",
    "region": "eu-west-1",
    "host": "127.0.0.1",
    "port": 5432.0,
    "credentials": {"admin_secret_arn": "a", "replication_secret_arn": "r"},
}


class ThingInputs(TypedDict):
    server: Annotated[ServerInput, UPDATES]
    name: Annotated[pulumi.Input[str], Value(ObjectName), FIXED]
    owner: Annotated[pulumi.Input[str], REPLACES]
    labels: NotRequired[Annotated[pulumi.Input[Mapping[str, str]] | None, UPDATES, Default({})]]
    seconds: NotRequired[Annotated[pulumi.Input[int], Default(60)]]


class ThingProvider(Provider):
    inputs = ThingInputs


class Thing:
    made: pulumi.Output[str]


WISH: dict[str, Any] = {"server": SERVER, "name": "a", "owner": "me", "seconds": 5.0}


def test_the_properties_are_inputs_with_defaults_and_empty_outputs() -> None:
    given = {"server": SERVER, "name": "a", "owner": "me", "labels": None}
    assert properties(ThingInputs, given, Thing) == given | {
        "labels": {},
        "seconds": 60,
        "made": None,
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"server": SERVER, "name": "a"}, "Thing: input owner is missing"),
        (WISH | {"nmae": "a"}, "Thing: nmae is no input"),
    ],
)
def test_a_keyword_that_is_wrong_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        properties(ThingInputs, given, Thing)


def test_a_marker_says_what_a_change_does() -> None:
    assert keys(ThingInputs, UPDATES) == ["server", "labels"]
    assert keys(ThingInputs, FIXED) == ["name"]
    assert declared(ThingInputs)["seconds"].change is None


@pytest.mark.parametrize(
    ("change", "changes", "replaces"),
    [
        ({"server": SERVER | {"port": 1.0}}, True, []),
        ({"owner": "you"}, True, ["owner"]),
        ({"seconds": 6.0}, False, []),
        ({"labels": {}}, False, []),
    ],
)
def test_the_diff_follows_the_markers(
    change: dict[str, Any], changes: bool, replaces: list[str]
) -> None:
    found = ThingProvider().diff("id", WISH | {"made": "x"}, WISH | change)
    assert (found.changes, found.replaces) == (changes, replaces)


def test_only_inputs_are_read_back() -> None:
    assert only(ThingInputs, WISH | {"made": "x", "__provider": "p"}) == WISH


def test_values_are_of_the_library_and_numbers_whole_again() -> None:
    values = Values(ThingInputs, WISH)
    assert isinstance(values["server"], Server)
    assert repr(values["server"].port) == "5432"
    assert (repr(values["seconds"]), values["labels"]) == ("5", {})


def test_a_value_is_looked_at_only_when_it_is_used() -> None:
    values = Values(ThingInputs, WISH | {"seconds": "soon"})
    assert values["name"] == "a"
    with pytest.raises(Refused, match="seconds: got 'soon', expected a whole number"):
        values["seconds"]
    with pytest.raises(Refused, match="owner is missing"):
        Values(ThingInputs, {})["owner"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "n" * 64}, f"got '{'n' * 64}', expected 1 to 63 bytes"),
        ({"owner": None}, "is missing"),
        ({"seconds": 1.5}, "got 1.5, expected a whole number"),
        ({"labels": {"a": 1.0}}, "a: got 1.0, expected text"),
        ({"labels": "all"}, "got 'all', expected a mapping"),
        ({"server": "orders-1"}, "got 'orders-1', expected a mapping"),
        ({"server": {**SERVER, "port": "x"}}, "port: got 'x', expected a whole number"),
        ({"server": {"cluster": "orders-1"}}, "region: is missing"),
    ],
)
def test_a_malformed_value_is_refused_at_preview(change: dict[str, Any], reason: str) -> None:
    failures = ThingProvider().check({}, WISH | change).failures
    assert [(one.property, one.reason) for one in failures] == [(next(iter(change)), reason)]


@pytest.mark.parametrize("key", WISH)
def test_what_is_unknown_passes_untouched(key: str) -> None:
    unknown = Unknown()  # type: ignore[no-untyped-call]
    news = WISH | {key: unknown}
    found = ThingProvider().check(WISH, news)
    assert (found.inputs, found.failures) == (news, [])
    assert malformed(ThingInputs, WISH | {"server": SERVER | {"host": unknown}}) == []


def test_what_is_fixed_is_refused_when_it_changes() -> None:
    (failure,) = ThingProvider().check(WISH, WISH | {"name": "b"}).failures
    assert failure.property == "name"
    assert failure.reason.startswith("name is 'a' and can't become 'b' in place")
