"""Answers from moto's state in this very process, without a cache: a change is seen at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import moto.rds.models as rds
from dnslib import CNAME, QTYPE, RCODE, RR, TXT, A, DNSRecord
from dnslib.server import BaseResolver, DNSLogger, DNSServer
from moto.route53.models import route53_backends

from lab.aws.servers import WIRE

_ENDPOINT_TTL = 5  # Aurora's own, in seconds
_LONGEST_CHAIN = 8


class Resolver(BaseResolver):  # type: ignore[misc]
    """Follows CNAMEs within the zones to the address of a cluster's server."""

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:  # noqa: ARG002
        """Answer one question."""
        reply = request.reply()
        name = str(request.q.qname).lower()
        kind = QTYPE[request.q.qtype]
        for _ in range(_LONGEST_CHAIN):
            address = _endpoint(name.rstrip("."))
            if address is not None:
                if kind in ("A", "ANY"):
                    reply.add_answer(RR(name, QTYPE.A, ttl=_ENDPOINT_TTL, rdata=A(address)))
                return reply
            records = [record for record in _records() if _dotted(record.name) == name]
            if not records:
                if not reply.rr:
                    reply.header.rcode = RCODE.NXDOMAIN
                return reply
            alias = next((record for record in records if record.type == "CNAME"), None)
            if alias is None:
                _add(reply, name, kind, records)
                return reply
            target = _dotted(alias.records[0])
            reply.add_answer(RR(name, QTYPE.CNAME, ttl=int(alias.ttl), rdata=CNAME(target)))
            if kind == "CNAME":
                return reply
            name = target
        return reply


def start(host: str, port: int) -> Any:
    """Start answering on UDP in a thread of its own; return what `stop()` ends."""
    server = DNSServer(Resolver(), address=host, port=port, logger=DNSLogger("-"))
    server.start_thread()
    return server


def _add(reply: DNSRecord, name: str, kind: str, records: list[Any]) -> None:
    made = {"A": A, "TXT": lambda value: TXT(value.strip('"'))}.get(kind)
    if made is None:
        return
    for record in records:
        if record.type == kind:
            for value in record.records:
                rdata = made(value)
                reply.add_answer(RR(name, getattr(QTYPE, kind), ttl=int(record.ttl), rdata=rdata))


def _dotted(name: str) -> str:
    return name.rstrip(".").lower() + "."


def _records() -> Iterator[Any]:
    for account in list(route53_backends.values()):
        for backend in list(account.values()):
            for zone in list(backend.zones.values()):
                yield from list(zone.rrsets)


def _endpoint(name: str) -> str | None:
    """Return the address behind the endpoint of a cluster or an instance; None for other names."""
    if not name.endswith(".rds.amazonaws.com"):
        return None
    for account in list(rds.rds_backends.values()):
        for backend in list(account.values()):
            for cluster in list(backend.clusters.values()):
                address = WIRE.addresses.get(cluster.arn)
                if address is None:
                    continue
                names = {cluster.endpoint, cluster.reader_endpoint}
                names |= {instance.address for instance in cluster._members}
                if name in {known.lower() for known in names}:
                    return address[0]
    return None
