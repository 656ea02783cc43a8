"""The names that applications connect to."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.primary import Primary
from components.source import Source
from components.stack import Stack
from hooks import record_hooks
from hooks.traffic import Side


class Traffic(pulumi.ComponentResource):
    """CNAMEs of writer and reader; both stacks may declare them.

    In a plain stack they are set when they are made and left alone from then on: they may have
    moved to another environment since. In a deployment they lead to the running writer; the switch
    itself moves them, in one batch, and the update after it finds them where they should be.
    """

    def __init__(
        self,
        stack: Stack,
        primary: Primary,
        source: Source | None,
        after: Sequence[pulumi.Resource],
    ) -> None:
        super().__init__(
            "bluegreen:index:Traffic",
            "traffic",
            opts=pulumi.ResourceOptions(depends_on=list(after)),
        )
        dns = stack.settings.dns
        if dns is not None and not stack.settings.rehearsal:
            away = source is not None and not stack.settings.cutover
            writer, reader = primary.cluster.endpoint, primary.cluster.reader_endpoint
            if source is not None and away:
                writer = source.server.apply(lambda server: server["host"])
                reader = source.reader_endpoint
            options = pulumi.ResourceOptions(
                parent=self,
                retain_on_delete=True,
                ignore_changes=["records"] if source is None else [],
                hooks=record_hooks(
                    zone_id=dns.zone_id, region=stack.region, sides=_sides(stack, primary, source)
                ),
            )
            targets = {"writer": (dns.writer, writer)}
            if dns.reader is not None:
                targets["reader"] = (dns.reader, reader)
            for logical, (name, target) in targets.items():
                aws.route53.Record(
                    f"{logical}-record",
                    zone_id=dns.zone_id,
                    name=name,
                    type="CNAME",
                    ttl=dns.ttl,
                    records=[target],
                    # Both stacks declare it, and its first owner may have made it by hand. Which
                    # of the records that exist may be taken over, the hook decides.
                    allow_overwrite=True,
                    opts=options,
                )
        self.register_outputs({})


def _sides(stack: Stack, primary: Primary, source: Source | None) -> list[Side]:
    own = Side(stack.cluster_identifier, stack.region, primary.server, stack.credentials)
    if source is None:
        return [own]
    return [own, Side(source.cluster_identifier, stack.region, source.server)]
