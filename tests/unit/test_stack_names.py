"""Identifiers that follow from the settings: what AWS won't take is refused at load."""

from __future__ import annotations

from typing import Any

import pytest

from components.stack import names_problem
from settings import Settings

ARN = "arn:aws:secretsmanager:eu-west-1:1:secret:s"


def _settings(*regions: str, **environment: Any) -> Settings:
    return Settings.model_validate(
        {
            "environment": {
                "engine_version": "16.14",
                "instance_class": "db.r6g.large",
                "databases": ["app"],
                "subnet_ids": ["a", "b"],
                "security_group_ids": ["g"],
                "secondary_regions": [
                    {"region": region, "subnet_ids": ["a", "b"], "security_group_ids": ["g"]}
                    for region in regions
                ],
            }
            | environment,
            "credentials": {
                "admin_secret_arn": ARN,
                "replication_secret_arn": ARN,
                "tls": "disable",
            },
        }
    )


def test_a_name_with_its_longest_ending_is_what_counts() -> None:
    for length, regions in ((55, ()), (48, ("eu-central-1",))):
        found = _settings(*regions, cluster_identifier="a" * length)
        assert names_problem(found, "blue", "eu-west-1") is None
    found = _settings("eu-central-1", cluster_identifier="a" * 49)
    assert names_problem(found, "blue", "eu-west-1") == (
        f"bluegreen:environment.cluster_identifier: got '{'a' * 49}', which makes"
        f" '{'a' * 49}-eu-central-1-1' of 64 characters; AWS takes 63: set one of 48 at most"
    )


@pytest.mark.parametrize("stack", ["Blue", "blue_1", "blue.eu", "blue-"])
def test_a_stacks_name_that_makes_no_identifier_is_named(stack: str) -> None:
    said = str(names_problem(_settings(), stack, "eu-west-1"))
    assert f"is 'bluegreen-{stack}' by default, from the stack's name" in said


def test_the_stacks_own_region_is_no_secondary_one() -> None:
    said = str(names_problem(_settings("eu-west-1"), "blue", "eu-west-1"))
    assert "eu-west-1 is the stack's own Region" in said
