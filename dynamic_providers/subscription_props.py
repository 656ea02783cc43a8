"""A subscription's properties: read into what the library wants, and written from what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pulumi import contains_unknowns
from pulumi.dynamic import CheckFailure

from bluegreen import names
from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.postgres.subscriptions import Subscription as Found
from bluegreen.replication.subscription import options
from bluegreen.replication.subscription.options import Wanted
from dynamic_providers.provider import Props

_CHOICES = {"streaming": ("off", "on", "parallel"), "origin": ("none", "any")}


def clusters(props: Props) -> Props:
    """Return only which clusters it is about: addresses and secrets may change in place."""
    return {
        key: props[key].get("cluster")
        for key in ("server", "publisher")
        if isinstance(props.get(key), Mapping) and not contains_unknowns(props[key])
    }


def unusable(news: Props) -> list[CheckFailure]:
    """Return what no server could do, so that a preview says it."""
    failures = []
    for key, allowed in _CHOICES.items():
        got = news.get(key)
        if got is not None and not contains_unknowns(got) and got not in allowed:
            reason = f"got {got!r}, allowed are {', '.join(allowed)}, or nothing for the best"
            failures.append(CheckFailure(key, reason))
    start = news.get("start_lsn")
    if start is not None and not contains_unknowns(start):
        try:
            Lsn.parse(start)
        except Refused as error:
            failures.append(CheckFailure("start_lsn", str(error)))
    for key in ("name", "slot_name"):
        got = news.get(key)
        if isinstance(got, str) and not 0 < len(got.encode()) <= names.MAX_BYTES:
            reason = f"got {got!r}, expected 1 to {names.MAX_BYTES} bytes"
            failures.append(CheckFailure(key, reason))
    wish = news.get("publication")
    if wish is not None and not contains_unknowns(wish) and not publications(news):
        failures.append(CheckFailure("publication", "names none; expected one at least"))
    return failures


def publications(props: Props) -> tuple[str, ...]:
    """Return the publications by name, whether one is given or a list."""
    found = props["publication"]
    return (found,) if isinstance(found, str) else tuple(found)


def wanted(props: Props) -> Wanted:
    """Return what the subscription is to be."""
    return Wanted(
        name=props["name"],
        publications=publications(props),
        slot_name=props["slot_name"],
        start=Lsn.parse(props["start_lsn"]),
        enabled=bool(props.get("enabled")),
        streaming=props.get("streaming"),
        binary=bool(props.get("binary")),
        origin=props.get("origin"),
        disable_on_error=bool(props.get("disable_on_error")),
        run_as_owner=bool(props.get("run_as_owner")),
        owner=props.get("owner"),
        copy_new_tables=props.get("copy_new_tables") is not False,
    )


def live_inputs(props: Props, have: Found, major: int) -> Props:
    """Return the inputs as the server has them; what was left to the server stays so if it is."""
    found: Props = {
        "publication": (
            have.publications[0]
            if isinstance(props["publication"], str) and len(have.publications) == 1
            else _in_order_of(publications(props), have.publications)
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
    best = options.options(major, wanted(props))
    actual = options.live_options(have)
    for key in ("streaming", "origin"):
        if props.get(key) is None and actual[key] == best.get(key, actual[key]):
            found[key] = None
    if props.get("owner") is None:
        found["owner"] = None
    return found


def _in_order_of(wish: Sequence[str], found: Sequence[str]) -> list[str]:
    return list(wish) if set(wish) == set(found) else sorted(found)


def live(have: Found, secret: str | None, drift: list[str], trouble: list[str]) -> Props:
    """Return what changes of itself; 64-bit numbers as text."""
    return {
        "worker": have.worker_pid is not None,
        "applied": have.applied or "0/0",
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
