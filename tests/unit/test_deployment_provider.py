"""What the program's first resource says at preview, where values may be unknown."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from pulumi.output import Unknown

from dynamic_providers.deployment import DeploymentProvider

provider = DeploymentProvider()
REFERENCES = {"admin_secret_arn": "a", "replication_secret_arn": "r", "tls": "disable"}
SOURCE = {
    "cluster": "orders-1",
    "region": "eu-west-1",
    "host": "127.0.0.1",
    "port": 5432.0,
    "credentials": REFERENCES,
}
FORWARD: dict[str, Any] = {
    "stack": "green",
    "cluster_identifier": "orders-2",
    "region": "eu-west-1",
    "credentials": REFERENCES,
    "databases": ["app"],
    "source": SOURCE,
    "source_stack": "blue",
    "cutover": False,
    "rollback": True,
    "rehearsal": False,
    "__provider": "by reference",
}


@pytest.fixture
def unknown() -> Unknown:
    return pulumi.UNKNOWN if isinstance(pulumi.UNKNOWN, Unknown) else Unknown()


def failures(olds: dict[str, Any], news: dict[str, Any]) -> list[tuple[str, str]]:
    return [(found.property, found.reason) for found in provider.check(olds, news).failures]


def test_a_refusal_names_the_setting() -> None:
    [(setting, reason)] = failures({}, FORWARD | {"cutover": True})
    assert setting == "cutover"
    assert reason.startswith("cutover: true at the first up; set cutover to false")


def test_flags_that_are_missing_have_their_defaults() -> None:
    bare = {k: v for k, v in FORWARD.items() if k not in ("cutover", "rollback", "rehearsal")}
    assert failures({}, bare) == []
    assert failures(FORWARD, bare) == []


@pytest.mark.parametrize("key", ["cluster", "region", "host"])
def test_a_source_with_unknown_values_is_the_same_source(key: str, unknown: Unknown) -> None:
    assert failures(FORWARD, FORWARD | {"source": SOURCE | {key: unknown}}) == []


def test_a_source_that_is_unknown_as_a_whole_is_a_source(unknown: Unknown) -> None:
    news = FORWARD | {"source": unknown, "source_stack": None, "cutover": True}
    assert failures(FORWARD, news) == []
    [(setting, _)] = failures({}, news)
    assert setting == "cutover"


def test_nothing_changed_is_no_difference() -> None:
    outs = FORWARD | {"state": "forward"}
    assert not provider.diff("green", outs, FORWARD).changes


@pytest.mark.parametrize(
    "change", [{"cutover": True}, {"databases": ["b"]}, {"source": SOURCE | {"host": "127.0.0.2"}}]
)
def test_every_wish_is_a_difference_and_never_a_replacement(change: dict[str, Any]) -> None:
    found = provider.diff("green", FORWARD | {"state": "forward"}, FORWARD | change)
    assert found.changes
    assert not found.replaces


def test_what_an_interrupted_refresh_left_is_a_difference() -> None:
    assert provider.diff("green", FORWARD | {"state": "unregistered"}, FORWARD).changes


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"source": None, "source_stack": None}, "with this stack as source"),
        ({}, "destroy this deployment"),
    ],
)
def test_another_major_version_is_refused_before_a_group_is_touched(
    wish: dict[str, Any], said: str
) -> None:
    had = FORWARD | wish | {"engine_version": "16.14"}
    assert failures(had, had | {"engine_version": "16.15"}) == []
    [(setting, reason)] = failures(had, had | {"engine_version": "18.4"})
    assert setting == "environment.engine_version"
    assert said in reason


def test_a_version_that_is_not_known_yet_is_none_to_refuse(unknown: Unknown) -> None:
    had = FORWARD | {"engine_version": "16.14"}
    assert failures(had, had | {"engine_version": unknown}) == []
    assert failures(FORWARD, had | {"engine_version": "18.4"}) == []


def test_a_region_is_taken_out_when_its_protection_is_off() -> None:
    had = FORWARD | {"secondary_regions": ["a", "b"], "deletion_protection": True}
    assert failures(had, had) == []
    assert failures(had, had | {"secondary_regions": ["a", "b", "c"]}) == []
    for at_once in (True, False):  # the protection of this very update is not off yet
        wish = {"secondary_regions": ["a"], "deletion_protection": at_once}
        [(setting, reason)] = failures(had, had | wish)
        assert setting == "environment.secondary_regions"
        assert reason.startswith("b can't be taken out under deletion_protection; put it back")
    assert failures(had | {"deletion_protection": False}, had | {"secondary_regions": []}) == []
