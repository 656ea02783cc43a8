"""Where names may lead: only to an environment that takes writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bluegreen import cluster, fence
from bluegreen.server import Credentials

_OWN_DATABASES = """\
SELECT datname FROM pg_database
 WHERE datallowconn AND NOT datistemplate AND datname NOT IN ('bluegreen', 'rdsadmin')"""


def refusal(target: str, region: str, credentials: Mapping[str, Any]) -> str | None:
    """Return why a name must not lead to the endpoint `target`; None when it may.

    The endpoint's first label is the cluster's identifier. Raises `Retry` when the cluster can't be
    reached: what can't be looked at gets no traffic.
    """
    identifier = target.partition(".")[0]
    found = cluster.find(region, identifier)
    if found is None:
        return f"would lead to {target}, where there is no cluster {identifier} in {region}"
    known: dict[str, Any] = {key: credentials.get(key) for key in Credentials.__dataclass_fields__}
    with found.server(Credentials(**known)).connect("postgres") as conn:
        names = [name for (name,) in conn.execute(_OWN_DATABASES).fetchall()]
        closed = fence.is_closed(conn, names)
    if closed:
        return f"would lead to {identifier}, which is closed to writers; run pulumi up in the stack"
    return None
