"""Moving the records: one atomic change batch a zone, so that writer and reader move together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from bluegreen.aws import client
from bluegreen.errors import Retry

_SECONDS = 60.0
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)


@dataclass(frozen=True, slots=True)
class Records:
    """The CNAMEs of a deployment: `targets` maps each name to the endpoint it shall have."""

    zone_id: str
    ttl: int
    targets: Mapping[str, str]


def warm(records: Records, region: str) -> None:
    """Make the client and its connection before the outage.

    The first client of a service takes a second, and a connection some round trips. The answer
    doesn't matter, and neither does a role that may not ask.
    """
    with contextlib.suppress(ClientError, BotoCoreError):
        client("route53", region).get_hosted_zone(Id=records.zone_id)


def move(records: Records, region: str) -> None:
    """Send the change, and again while Route 53 can't take it; raises `Retry` in the end.

    The new writer is open by then, so there is nothing to go back to: it is insisted on.
    """
    changes = [
        {
            "Action": "UPSERT",
            "ResourceRecordSet": {
                "Name": name,
                "Type": "CNAME",
                "TTL": records.ttl,
                "ResourceRecords": [{"Value": target}],
            },
        }
        for name, target in sorted(records.targets.items())
    ]
    deadline = time.monotonic() + _SECONDS
    for attempt in range(1000):
        try:
            client("route53", region).change_resource_record_sets(
                HostedZoneId=records.zone_id, ChangeBatch={"Changes": changes}
            )
            return
        except (ClientError, BotoCoreError) as error:
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
            if time.monotonic() + pause > deadline:
                raise Retry(
                    f"zone {records.zone_id}: {', '.join(sorted(records.targets))} could not be"
                    f" moved: {' '.join(str(error).split())}; run pulumi up again"
                ) from None
            time.sleep(pause)  # back off: throttling is what is most likely
