"""What an account must have before the program: network, zone, secrets. Made in the lab's AWS."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3

REGION = "eu-west-1"
SECONDARY = "eu-central-1"
ZONE = "db.internal"
WRITER, READER = f"writer.{ZONE}", f"reader.{ZONE}"
MASTER, REPLICATOR = "clusteradmin", "replicator"


@dataclass(frozen=True, slots=True)
class Seed:
    """Ids and references of what was made."""

    subnets: Mapping[str, list[str]]
    security_groups: Mapping[str, str]
    zone_id: str
    admin_secret_arn: str
    replication_secret_arn: str
    admin_password: str
    replication_password: str


def make(url: str) -> Seed:
    """Make everything, and return it."""
    session = boto3.session.Session(
        aws_access_key_id="lab", aws_secret_access_key="lab", region_name=REGION
    )

    def client(service: str, region: str = REGION) -> Any:
        return session.client(service, region_name=region, endpoint_url=url)  # type: ignore[call-overload]

    networks = {region: _network(client("ec2", region)) for region in (REGION, SECONDARY)}
    zone = client("route53").create_hosted_zone(Name=ZONE, CallerReference="lab")["HostedZone"]
    vault = client("secretsmanager")
    logins = {user: secrets.token_urlsafe(24) for user in (MASTER, REPLICATOR)}
    arns = {
        user: vault.create_secret(
            Name=f"bluegreen/{user}",
            SecretString=json.dumps({"username": user, "password": password}),
        )["ARN"]
        for user, password in logins.items()
    }
    return Seed(
        subnets={region: subnets for region, (subnets, _) in networks.items()},
        security_groups={region: group for region, (_, group) in networks.items()},
        zone_id=zone["Id"].rpartition("/")[2],
        admin_secret_arn=arns[MASTER],
        replication_secret_arn=arns[REPLICATOR],
        admin_password=logins[MASTER],
        replication_password=logins[REPLICATOR],
    )


def _network(ec2: Any) -> tuple[list[str], str]:
    region = ec2.meta.region_name
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{region}{letter}"
        )["Subnet"]["SubnetId"]
        for number, letter in enumerate("ab")
    ]
    group = ec2.create_security_group(
        GroupName="database", Description="clients of the database", VpcId=vpc
    )
    return subnets, group["GroupId"]
