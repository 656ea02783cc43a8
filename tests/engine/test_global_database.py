"""An environment with a second Region, through the real `pulumi`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab import seed as seeds
from tests.fixtures.lab import RETIRABLE, Lab

_SECONDARY = "bluegreen:environment.secondary_regions[0]"


@pytest.fixture
def two_regions(lab: Lab) -> Iterator[Callable[..., str]]:
    """Return a function that brings a plain stack up; it takes further settings."""
    stacks = []

    def make(*settings: str) -> str:
        seed, there = lab.world.seed, seeds.SECONDARY
        stack = lab.new_stack(
            f"{_SECONDARY}.region={there}",
            *(f"{_SECONDARY}.subnet_ids[{n}]={one}" for n, one in enumerate(seed.subnets[there])),
            f"{_SECONDARY}.security_group_ids[0]={seed.security_groups[there]}",
            *RETIRABLE,
            *settings,
        )
        for key in ("bluegreen:source", "bluegreen:dns"):
            lab.world.pulumi("config", "rm", key, "-s", stack)
        stacks.append(stack)
        lab.up(stack)
        return stack

    yield make
    for stack in stacks:
        lab.destroy(stack)


def _versions(lab: Lab, stack: str) -> list[str]:
    name = lab.world.outputs(stack)["cluster_identifier"]
    places = ((seeds.REGION, name), (seeds.SECONDARY, f"{name}-{seeds.SECONDARY}"))
    found = [
        lab.aws("rds", region).describe_db_clusters(DBClusterIdentifier=identifier)
        for region, identifier in places
    ]
    return [one["DBClusters"][0]["EngineVersion"] for one in found]


@pytest.mark.slow
def test_a_minor_upgrade_goes_region_by_region_when_it_may(
    lab: Lab, two_regions: Callable[..., str]
) -> None:
    version = "bluegreen:environment.engine_version"
    stack = two_regions(f"{version}=16.13")
    assert lab.world.outputs(stack)["engine_version"] == "16.13"
    lab.set(stack, f"{version}=18.4")
    assert "another major version, in place" in lab.refused(stack, at="preview")
    lab.set(stack, f"{version}=16.14")
    assert "the upgrade restarts it: set environment.allow_reboot" in lab.refused(stack)
    assert _versions(lab, stack) == ["16.13", "16.13"]
    lab.set(stack, "bluegreen:environment.allow_reboot=now")
    lab.up(stack)
    assert _versions(lab, stack) == ["16.14", "16.14"]
    assert lab.world.outputs(stack)["engine_version"] == "16.14"
    lab.world.pulumi("preview", "-s", stack, "--expect-no-changes", "--refresh")


@pytest.mark.slow
def test_a_second_region_is_encrypted_with_a_key_of_its_own(
    lab: Lab, two_regions: Callable[..., str]
) -> None:
    """Without a setting it is AWS's own key there; a routine update then changes nothing."""
    stack = two_regions("bluegreen:environment.cluster_timeout_minutes=300")
    name = f"{lab.world.outputs(stack)['cluster_identifier']}-{seeds.SECONDARY}"
    found = lab.aws("rds", seeds.SECONDARY).describe_db_clusters(DBClusterIdentifier=name)[
        "DBClusters"
    ][0]
    key = lab.aws("kms", seeds.SECONDARY).describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["Arn"]
    assert (found["StorageEncrypted"], found["KmsKeyId"]) == (True, key)
    lab.world.pulumi("preview", "-s", stack, "--expect-no-changes", "--refresh")
    exported = json.loads(lab.world.pulumi("stack", "export", "-s", stack))["deployment"]
    limits = [
        one["customTimeouts"]
        for one in exported["resources"]
        if one["type"] in ("aws:rds/cluster:Cluster", "aws:rds/globalCluster:GlobalCluster")
    ]
    assert limits == [{"create": 18000, "update": 18000, "delete": 18000}] * 3


@pytest.mark.slow
def test_a_region_is_taken_out_when_its_protection_is_off(
    lab: Lab, two_regions: Callable[..., str]
) -> None:
    protection = "bluegreen:environment.deletion_protection"
    stack = two_regions(f"{protection}=true")
    regions = "bluegreen:environment.secondary_regions"
    kept = lab.world.pulumi("config", "get", "--path", regions, "-s", stack).strip()
    name = f"{lab.world.outputs(stack)['cluster_identifier']}-{seeds.SECONDARY}"

    def members() -> list[str]:
        found = lab.aws("rds", seeds.SECONDARY).describe_db_clusters()["DBClusters"]
        return [one["DBClusterIdentifier"] for one in found]

    for wish in ("true", "false"):  # the protection that this update takes off is still on
        lab.world.pulumi("config", "rm", "--path", regions, "-s", stack)
        lab.set(stack, f"{protection}={wish}")
        said = lab.refused(stack, at="preview")
        assert f"{seeds.SECONDARY} can't be taken out under deletion_protection" in said
        for path, value in _leaves(regions, json.loads(kept)):
            lab.set(stack, f"{path}={value}")
    lab.up(stack)
    assert name in members()
    lab.world.pulumi("config", "rm", "--path", regions, "-s", stack)
    lab.up(stack)
    assert name not in members()


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the plain values below a setting, each with its path."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _leaves(f"{path}.{key}", below)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _leaves(f"{path}[{number}]", below)
    else:
        yield path, value
