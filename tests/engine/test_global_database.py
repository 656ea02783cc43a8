"""An environment with a second Region, through the real `pulumi`."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from lab import seed as seeds
from tests.fixtures.lab import RETIRABLE, Lab

_SECONDARY = "bluegreen:environment.secondary_regions[0]"


def _client(lab: Lab, service: str) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=seeds.SECONDARY,
        endpoint_url=lab.world.environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
    )


@pytest.mark.slow
def test_a_second_region_is_encrypted_with_a_key_of_its_own(lab: Lab) -> None:
    """Without a setting it is AWS's own key there; a routine update then changes nothing."""
    seed, there = lab.world.seed, seeds.SECONDARY
    stack = lab.new_stack(
        f"{_SECONDARY}.region={there}",
        *(f"{_SECONDARY}.subnet_ids[{n}]={one}" for n, one in enumerate(seed.subnets[there])),
        f"{_SECONDARY}.security_group_ids[0]={seed.security_groups[there]}",
        *RETIRABLE,
    )
    for key in ("bluegreen:source", "bluegreen:dns"):
        lab.world.pulumi("config", "rm", key, "-s", stack)
    lab.up(stack)
    try:
        name = f"{lab.world.outputs(stack)['cluster_identifier']}-{there}"
        found = _client(lab, "rds").describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0]
        key = _client(lab, "kms").describe_key(KeyId="alias/aws/rds")["KeyMetadata"]["Arn"]
        assert (found["StorageEncrypted"], found["KmsKeyId"]) == (True, key)
        lab.world.pulumi("preview", "-s", stack, "--expect-no-changes", "--refresh")
    finally:
        lab.destroy(stack)
