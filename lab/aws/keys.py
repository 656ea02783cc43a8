"""KMS keys as RDS looks at them: in its own Region, and only those that can be used."""

from __future__ import annotations

from typing import Any

from moto.kms.models import kms_backends

from lab.aws.errors import RdsError

AWS_OWN = "alias/aws/rds"
"""The key that AWS keeps for RDS in each Region; what is encrypted without naming one has it."""


def resolve(account: str, region: str, key: str) -> str:
    """Return the ARN of a key that is given by id, ARN or alias.

    Raises AWS's refusal of one that isn't there, is of another Region, or can't be used.
    """
    keys: Any = kms_backends[account][region]
    elsewhere = key.startswith("arn:") and key.split(":")[3] != region
    name = keys.get_alias_name(key)
    if name.startswith("alias/"):
        name = keys.get_key_id_from_alias(name) or ""
    found = None if elsewhere else keys.keys.get(keys.get_key_id(name))
    if found is None or found.key_state != "Enabled":
        raise RdsError(
            "KMSKeyNotAccessibleFault",
            f"The specified KMS key [{key}] does not exist, is not enabled or you do not have"
            " permissions to access it.",
        )
    return str(found.arn)
