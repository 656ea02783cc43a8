"""Route 53: change batches that are atomic and exact, and changes that take a moment.

A change is in the API at once and with resolvers later, as AWS's is: `PROPAGATION` knows when.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

import moto.route53.models as m
import moto.route53.responses as r
import moto.route53.urls as urls
from moto.route53.exceptions import Route53ClientError

from lab.aws.errors import Answering400, invalid_batch
from lab.aws.propagation import PROPAGATION

_ONE_AT_A_TIME = threading.Lock()


class ExactZones(m.Route53Backend):  # type: ignore[misc]
    """Record sets are told apart by name, type and set identifier; a batch is all or nothing."""

    __module__ = "moto.route53.models"

    def change_resource_record_sets(self, zoneid: str, change_list: list[dict[str, Any]]) -> None:
        """Apply a batch, or refuse it and change nothing."""
        with _ONE_AT_A_TIME:  # requests come on threads, and a batch replaces the whole list
            self._change(zoneid, change_list)

    def _change(self, zoneid: str, change_list: list[dict[str, Any]]) -> None:
        zone = self.get_hosted_zone(zoneid)
        records = list(zone.rrsets)
        for change in copy.deepcopy(change_list):
            wanted = change["ResourceRecordSet"]
            wanted["Name"] = wanted["Name"].rstrip(".").lower() + "."
            if not f".{wanted['Name']}".endswith(f".{zone.name}"):
                raise invalid_batch(
                    f"RRSet with DNS name {wanted['Name']} is not permitted in zone {zone.name}"
                )
            listed = wanted.get("ResourceRecords") or []
            wanted["ResourceRecords"] = [item["Value"] for item in listed]
            _apply(records, change["Action"], m.RecordSet(wanted), zone.name)
        zone.rrsets = records
        PROPAGATION.changed(zone)


def _apply(records: list[Any], action: str, wanted: Any, zone: str) -> None:
    same_name = [record for record in records if record.name == wanted.name]
    same_type = [record for record in same_name if record.type == wanted.type]
    hit = next((x for x in same_type if x.set_identifier == wanted.set_identifier), None)
    what = f"name='{wanted.name}', type='{wanted.type}', set-identifier='{wanted.set_identifier}'"
    if action == "DELETE":
        if hit is None:
            raise invalid_batch(
                f"Tried to delete resource record set [{what}] but it was not found"
            )
        if _values(hit) != _values(wanted):
            raise invalid_batch(
                f"Tried to delete resource record set [{what}] but the values provided do not"
                " match the current values"
            )
        records.remove(hit)
        return
    if action == "CREATE" and hit is not None:
        raise invalid_batch(f"Tried to create resource record set [{what}] but it already exists")
    if any(bool(x.set_identifier) != bool(wanted.set_identifier) for x in same_type):
        raise invalid_batch(
            f"RRSet with DNS name {wanted.name}, type {wanted.type} cannot be created as other"
            " RRSets exist with the same name and type."
        )
    if any(x.type != wanted.type and "CNAME" in (x.type, wanted.type) for x in same_name):
        raise invalid_batch(
            f"RRSet of type CNAME with DNS name {wanted.name} is not permitted as it conflicts"
            f" with other records with the same DNS name in zone {zone}"
        )
    if hit is not None:
        records[records.index(hit)] = wanted
    else:
        records.append(wanted)


def _values(record: Any) -> tuple[Any, ...]:
    return sorted(record.records), str(record.ttl), record.alias_target


class ExactResponses(Answering400, r.Route53):  # type: ignore[misc]
    """Answers of Route 53."""

    __module__ = "moto.route53.responses"

    def create_hosted_zone(self) -> Any:
        """Make a zone; a VPC makes it private, as AWS infers."""
        if self._get_param("VPC.VPCId"):
            self.params.setdefault("HostedZoneConfig", {})["PrivateZone"] = True
        answer = super().create_hosted_zone()
        for record in answer.result["HostedZone"].rrsets:  # moto's SOA holds a dict
            record.records = [v["Value"] if isinstance(v, dict) else v for v in record.records]
        return answer

    def change_resource_record_sets(self) -> Any:
        """Answer with an id of the change's own, pending at first."""
        answer = super().change_resource_record_sets()
        change = "C" + m.random.get_random_hex(20).upper()
        PROPAGATION.submit(change)
        answer.result["ChangeInfo"].update(Id=f"/change/{change}", Status="PENDING")
        return answer

    def get_change(self) -> Any:
        """Answer PENDING or INSYNC for a change that was made, and refuse others."""
        change = (self._get_param("Id") or "").rpartition("/")[2]
        status = PROPAGATION.status(change)
        # moto's own constants for zones and associations.
        if status is None and change.startswith(("C1PA6795UKMFR9", "C2682N5HXP0BZ4")):
            status = "INSYNC"
        if status is None:
            raise Route53ClientError("NoSuchChange", f"Could not find resource with ID: {change}")
        answer = super().get_change()
        answer.result["ChangeInfo"]["Status"] = status
        return answer


def install() -> None:
    """Put the subclasses in moto's place; call it before the first request."""
    m.route53_backends.backend = ExactZones
    urls.url_paths = dict.fromkeys(urls.url_paths, ExactResponses.dispatch)
