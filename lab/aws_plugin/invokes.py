"""The functions that the program calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lab.aws_plugin.spec import Aws
from lab.aws_plugin.values import Props, secret


def get_secret_version(aws: Aws, args: Props) -> Props:
    """Return a secret's current version."""
    name = args["secretId"]
    # An ARN names its Region.
    region = name.split(":")[3] if name.startswith("arn:") else None
    found: dict[str, Any] = aws.client("secretsmanager", region).get_secret_value(SecretId=name)
    return {
        "arn": found["ARN"],
        "createdDate": found["CreatedDate"].isoformat(),
        "id": f"{name}|AWSCURRENT",
        "secretBinary": secret(""),
        "secretId": name,
        "secretString": secret(found["SecretString"]),
        "versionId": found["VersionId"],
        "versionStage": "AWSCURRENT",
        "versionStages": found["VersionStages"],
        "region": region or "",
    }


def get_zone(aws: Aws, args: Props) -> Props:
    """Return a hosted zone by its id."""
    found = aws.client("route53").get_hosted_zone(Id=args["zoneId"])["HostedZone"]
    identity = found["Id"].rpartition("/")[2]
    return {
        "id": identity,
        "zoneId": identity,
        "arn": f"arn:aws:route53:::hostedzone/{identity}",
        "name": found["Name"].rstrip("."),
        "privateZone": found["Config"]["PrivateZone"],
        "comment": found["Config"].get("Comment", ""),
        "callerReference": found["CallerReference"],
        "tags": {},
    }


def get_key(aws: Aws, args: Props) -> Props:
    """Return a key by its id, ARN or alias."""
    region = args.get("region") or aws.client("kms").meta.region_name
    found = aws.client("kms", region).describe_key(KeyId=args["keyId"])["KeyMetadata"]
    return {
        "id": found["KeyId"],
        "keyId": args["keyId"],
        "arn": found["Arn"],
        "awsAccountId": found["AWSAccountId"],
        "enabled": found["Enabled"],
        "keyManager": found["KeyManager"],
        "keyState": found["KeyState"],
        "keyUsage": found["KeyUsage"],
        "multiRegion": found["MultiRegion"],
        "origin": found["Origin"],
        "region": region,
    }


def get_caller_identity(aws: Aws, _args: Props) -> Props:
    """Return whom AWS takes the plugin for."""
    found = aws.client("sts").get_caller_identity()
    return {
        "id": found["Account"],
        "accountId": found["Account"],
        "arn": found["Arn"],
        "userId": found["UserId"],
    }


INVOKES: Mapping[str, Callable[[Aws, Props], Props]] = {
    "aws:secretsmanager/getSecretVersion:getSecretVersion": get_secret_version,
    "aws:route53/getZone:getZone": get_zone,
    "aws:index/getCallerIdentity:getCallerIdentity": get_caller_identity,
    "aws:kms/getKey:getKey": get_key,
}
