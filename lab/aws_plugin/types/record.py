"""aws:route53/record:Record: simple record sets."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from lab.aws_plugin import rules
from lab.aws_plugin.errors import code, doing
from lab.aws_plugin.spec import Aws, Made, Spec, names
from lab.aws_plugin.values import Props

_KINDS = names(
    "SOA A TXT NS CNAME MX NAPTR PTR SRV SPF AAAA CAA DS TLSA SSHFP SVCB HTTPS"  # guessed
)


class _Record:
    def create(self, aws: Aws, news: Props, made: Made) -> None:
        action = "UPSERT" if news.get("allowOverwrite") else "CREATE"
        with doing("creating Route53 Record"):
            change = _change(aws, action, news)
        made(f"{news['zoneId']}_{news['name']}_{news['type']}")
        _wait(aws, change)

    def read(self, aws: Aws, identity: str, known: Props) -> Props | None:
        zone, name, kind = _parts(identity, known)
        route53 = aws.client("route53")
        try:
            full = _full_name(route53, zone, name)
            listed = route53.list_resource_record_sets(
                HostedZoneId=zone, StartRecordName=full, StartRecordType=kind, MaxItems="100"
            )["ResourceRecordSets"]
        except ClientError as error:
            if code(error) == "NoSuchHostedZone":
                return None
            raise
        for found in listed:
            if found["Name"].rstrip(".") == full and found["Type"] == kind:
                return {
                    "fqdn": full,
                    "name": name,
                    "records": [item["Value"] for item in found.get("ResourceRecords", [])],
                    "setIdentifier": found.get("SetIdentifier", ""),
                    "ttl": found.get("TTL"),
                    "type": kind,
                    "zoneId": zone,
                }
        return None

    def update(self, aws: Aws, identity: str, olds: Props, news: Props) -> None:  # noqa: ARG002
        with doing("updating Route53 Record"):
            _wait(aws, _change(aws, "UPSERT", news))

    def delete(self, aws: Aws, identity: str, olds: Props) -> None:
        live = self.read(aws, identity, olds)
        if live is not None:
            with doing("deleting Route53 Record"):
                _wait(aws, _change(aws, "DELETE", live))


def _change(aws: Aws, action: str, props: Props) -> str:
    """Send a change and return its id."""
    route53 = aws.client("route53")
    record = {
        "Name": _full_name(route53, props["zoneId"], props["name"]),
        "Type": props["type"],
        "TTL": int(props["ttl"]),
        "ResourceRecords": [{"Value": value} for value in props["records"]],
    }
    answer = route53.change_resource_record_sets(
        HostedZoneId=props["zoneId"],
        ChangeBatch={"Changes": [{"Action": action, "ResourceRecordSet": record}]},
    )
    return str(answer["ChangeInfo"]["Id"])


def _wait(aws: Aws, change: str) -> None:
    route53 = aws.client("route53")
    aws.wait(
        f"Route53 change {change}",
        lambda: bool(route53.get_change(Id=change)["ChangeInfo"]["Status"] == "INSYNC"),
    )


def _full_name(route53: Any, zone: str, name: str) -> str:
    """Return the name with the zone's, which the id leaves out where the program did."""
    domain = route53.get_hosted_zone(Id=zone)["HostedZone"]["Name"].rstrip(".")
    plain = name.rstrip(".").lower()
    return plain if f".{plain}".endswith(f".{domain}") else f"{plain}.{domain}"


def _parts(identity: str, known: Props) -> tuple[str, str, str]:
    if "zoneId" in known:
        return known["zoneId"], known["name"], known["type"]
    zone, _, rest = identity.partition("_")
    name, _, kind = rest.rpartition("_")
    return zone, name, kind


SPEC = Spec(
    operations=_Record(),
    required=names("name type zoneId"),
    optional=names("allowOverwrite records ttl"),
    computed=names("allowOverwrite"),
    outputs=names("fqdn"),
    replaces=names("name type zoneId"),
    sets=names("records"),
    rules=(
        rules.aliases_or_records,
        rules.with_all("records", "ttl"),
        rules.with_all("ttl", "records"),
        rules.whole_number("ttl"),
        rules.one_of("type", *sorted(_KINDS)),
    ),
    regional=False,
    tagged=False,
)
