"""Names may lead to the environment that takes writes only, and only a switch moves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bluegreen.aws import cluster, dns
from bluegreen.aws.dns import Found
from bluegreen.postgres.queries import column
from bluegreen.postgres.server import Credentials, Server
from bluegreen.register import closing

_OWN_DATABASES = """\
SELECT datname FROM pg_database
 WHERE datallowconn AND NOT datistemplate AND datname NOT IN ('bluegreen', 'rdsadmin')"""


@dataclass(frozen=True, slots=True)
class Environment:
    """One side, as a record's guard knows it; `host` is None while its cluster is being made."""

    cluster: str
    region: str
    host: str | None
    credentials: Credentials
    account: str | None = None

    def owns(self, endpoint: str) -> bool:
        """Return whether an endpoint is the writer's or the readers' of this very cluster.

        Both are IDENTIFIER.cluster-UNIQUE.REGION.rds.amazonaws.com, with `-ro` at the readers':
        UNIQUE differs between accounts and Regions.
        """
        endpoint = dns.plain(endpoint)
        if self.host is not None:
            return _same_cluster(endpoint, dns.plain(self.host))
        label, _, rest = endpoint.partition(".")
        return label == self.cluster.lower() and f".{self.region}." in f".{rest}."

    def is_closed(self) -> bool | None:
        """Return whether it refuses writes; None when AWS says that there is no such cluster.

        Raises `Retry` when it can't be reached: what can't be inspected gets no traffic.
        """
        found = cluster.find(self.region, self.cluster, account=self.account)
        if found is None:
            return None
        with Server.of(found, self.credentials).connect("postgres") as conn:
            names = column(conn, _OWN_DATABASES)
            return closing.is_closed(conn, names)


def _same_cluster(one: str, other: str) -> bool:
    return one.replace(".cluster-ro-", ".cluster-", 1) == other.replace(
        ".cluster-ro-", ".cluster-", 1
    )


def refusal(found: Sequence[Found], target: str | None, sides: Sequence[Environment]) -> str | None:
    """Return why a record must not be made or changed to lead to `target`; None when it may.

    `found` is what exists under its name; `sides` are this stack's environment, and the other one
    of its deployment if there is one. `target` is None while its cluster is being made. Raises
    `Retry` when a side can't be reached.
    """
    reason = foreign(found, sides)
    if reason is not None:
        return reason
    leads_to = [record.leads_to for record in found if record.leads_to is not None]
    if target is None:
        return None
    target = dns.plain(target)
    new = next((side for side in sides if side.owns(target)), None)
    if new is None:
        return f"would lead to {target}, which is no environment of this stack"
    closed = new.is_closed()
    if closed is None:
        return f"would lead to {target}, where there is no cluster {new.cluster} in {new.region}"
    if closed:
        return (
            f"would lead to {new.cluster}, which is closed to writers; run pulumi up in the stack"
        )
    for side in sides:
        if (
            side is not new
            and any(side.owns(one) for one in leads_to)
            and side.is_closed() is False
        ):
            return (
                f"leads to {side.cluster}, which takes writes, and would lead to {new.cluster};"
                " only a switch moves it"
            )
    return None


def foreign(found: Sequence[Found], sides: Sequence[Environment]) -> str | None:
    """Return why an existing record isn't this stack's; None when it is, or when none exists."""
    for record in found:
        leads_to = record.leads_to
        if leads_to is None:
            if record.kind in _BESIDE:
                continue
            return f"there is a {record} of that name, expected a simple CNAME or nothing"
        if not any(side.owns(leads_to) for side in sides):
            ours = " nor ".join(side.cluster for side in sides)
            return (
                f"exists and leads to {leads_to}, which is {'neither' if sides[1:] else 'not'}"
                f" {ours}; a name is moved by a switch only: take dns out of this stack's settings,"
                " or lead the record here by hand"
            )
    return None


# Types that may exist beside a CNAME; Route 53 refuses one beside any other record of its name.
_BESIDE = frozenset({"DS", "NSEC", "RRSIG"})
