"""Clusters that were made before: what the program declares since then replaces none of them."""

from __future__ import annotations

import pytest

from components.global_database import SECONDARY_IGNORES
from components.primary import CLUSTER_IGNORES
from lab.aws_plugin.diff import compare
from lab.aws_plugin.types.cluster import SPEC


def test_a_secondary_region_keeps_the_key_that_it_has() -> None:
    stored = {"clusterIdentifier": "orders-eu-central-1", "engine": "aurora-postgresql"}
    declared = stored | {
        "storageEncrypted": True,
        "kmsKeyId": "arn:aws:kms:eu-central-1:1:key/k",
        "sourceRegion": "eu-west-1",
    }
    assert compare(SPEC, stored, declared, []).replaces
    assert not compare(SPEC, stored, declared, SECONDARY_IGNORES).changed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("databaseName", "bench"),
        ("masterUsername", "somebody"),
        ("kmsKeyId", "arn:aws:kms:eu-west-1:1:key/other"),
        ("restoreToPointInTime", {"restoreType": "copy-on-write"}),
    ],
)
def test_production_is_replaced_by_no_setting(name: str, value: object) -> None:
    stored = {
        "clusterIdentifier": "orders",
        "databaseName": "app",
        "masterUsername": "admin",
        "kmsKeyId": "arn:aws:kms:eu-west-1:1:key/one",
        "finalSnapshotIdentifier": "orders-final",
    }
    assert compare(SPEC, stored, stored | {name: value}, []).replaces == [name]
    assert not compare(SPEC, stored, stored | {name: value}, CLUSTER_IGNORES).changed
