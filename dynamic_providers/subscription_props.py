"""A subscription's properties: read into a `SubscriptionSpec`, and written from what exists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pulumi import contains_unknowns

from bluegreen.postgres.subscriptions import Subscription as Found
from bluegreen.replication.subscription import options
from bluegreen.replication.subscription.options import SubscriptionSpec
from dynamic_providers.provider import Props
from dynamic_providers.values import Values


def clusters(props: Props) -> Props:
    """Return only the clusters' names: addresses and secrets may change in place."""
    return {
        key: props[key].get("cluster")
        for key in ("server", "publisher")
        if isinstance(props.get(key), Mapping) and not contains_unknowns(props[key])
    }


def desired(given: Values) -> SubscriptionSpec:
    """Return what the subscription is to be."""
    return SubscriptionSpec(
        name=given["name"],
        publications=given["publication"],
        slot_name=given["slot_name"],
        start=given["start_lsn"],
        enabled=given["enabled"],
        streaming=given["streaming"],
        binary=given["binary"],
        origin=given["origin"],
        disable_on_error=given["disable_on_error"],
        run_as_owner=given["run_as_owner"],
        owner=given["owner"],
        copy_new_tables=given["copy_new_tables"],
    )


def live_inputs(props: Props, desired: SubscriptionSpec, have: Found, major: int) -> Props:
    """Return the inputs as the server has them; one left to the server stays None if it agrees."""
    found: Props = {
        "publication": (
            have.publications[0]
            if isinstance(props["publication"], str) and len(have.publications) == 1
            else _in_order_of(desired.publications, have.publications)
        ),
        "slot_name": have.slot_name or "",
        "enabled": have.enabled,
        "binary": have.binary,
        "run_as_owner": have.run_as_owner,
        "streaming": have.streaming,
        "origin": have.origin or "any",
        "disable_on_error": have.disable_on_error,
        "owner": have.owner,
    }
    best = options.options(major, desired)
    actual = options.live_options(have)
    for key in ("streaming", "origin"):
        if getattr(desired, key) is None and actual[key] == best.get(key, actual[key]):
            found[key] = None
    if desired.owner is None:
        found["owner"] = None
    return found


def _in_order_of(desired: Sequence[str], found: Sequence[str]) -> list[str]:
    return list(desired) if set(desired) == set(found) else sorted(found)


def live(have: Found, secret: str | None, drift: list[str], trouble: list[str]) -> Props:
    """Return what changes by itself; 64-bit numbers as text."""
    return {
        "worker": have.worker_pid is not None,
        "applied": (have.applied or "0/0") if have.readable else "unknown",
        "apply_errors": str(have.apply_errors),
        "owner": have.owner,
        "secret_version": secret,
        "trouble": trouble,
        "drift": drift,
    }


def secret_version(props: Props) -> str | None:
    """Return the version that the connection was set with."""
    found: str | None = (props.get("live") or {}).get("secret_version")
    return found
