"""The desired subscription, and which options that means on each PostgreSQL major.

This module only turns values into values. Not settable, with the reason: `two_phase` stays off (a
prepared transaction would hold its locks on the standby too, and COMMIT PREPARED passes a fence);
`failover` stays off (Aurora's storage keeps slots over a failover, and it must agree with the
slot's own); `password_required` stays on (only superusers may switch it off); `synchronous_commit`
stays off (a synchronous apply waits for the storage at every commit: 171 to 380 a second measured;
the switch makes durable what was applied before it opens); `connect`, `create_slot`, `copy_data`
are what the seam needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bluegreen.lsn import Lsn
from bluegreen.postgres import versions
from bluegreen.postgres.subscriptions import Streaming, Subscription
from bluegreen.postgres.versions import Feature

Origin = Literal["none", "any"]


@dataclass(frozen=True, slots=True)
class SubscriptionSpec:
    """A desired subscription; its connection has the same name as its application name.

    None means the best that the subscriber's major has.
    """

    name: str
    publications: tuple[str, ...]
    slot_name: str
    start: Lsn
    enabled: bool = True
    streaming: Streaming | None = None
    binary: bool = False
    origin: Origin | None = None
    disable_on_error: bool = False
    """A publisher's restart is an error too (seen on 18.4): then nothing resumes by itself."""
    run_as_owner: bool = False
    owner: str | None = None
    """The role whose rights the apply uses; None is the role that makes the subscription."""
    copy_new_tables: bool = True
    """Whether tables that are published later are copied, or start without their rows."""

    def __str__(self) -> str:
        return f"subscription {self.name}"


def require_features(major: int, desired: SubscriptionSpec) -> None:
    """Raise `Refused` when a subscriber of `major` lacks what is asked for by name."""
    asked = {
        Feature.STREAMING_PARALLEL: desired.streaming == "parallel",
        Feature.DISABLE_ON_ERROR: desired.disable_on_error,
        Feature.RUN_AS_OWNER: desired.run_as_owner,
        Feature.ORIGIN_NONE: desired.origin == "none",
    }
    for feature, is_asked in asked.items():
        if is_asked:
            versions.require(major, feature, str(desired))


def streaming_problem(desired: Streaming | None, major: int, found: str) -> str | None:
    """Return why a subscriber of `major` can't take the setting, None when it can.

    `found` words which server runs which version.
    """
    least = versions.LEAST_MAJOR[Feature.STREAMING_PARALLEL]
    if desired != "parallel" or major >= least:
        return None
    return (
        f"got 'parallel', but {found}; allowed from {least} on: leave it out for "
        "the best that each side has, or set on or off"
    )


def options(major: int, desired: SubscriptionSpec) -> dict[str, str]:
    """Return the options that can be altered at any time, as `CREATE SUBSCRIPTION` writes them."""
    best: Streaming = "parallel" if versions.has(major, Feature.STREAMING_PARALLEL) else "on"
    found = {
        "streaming": desired.streaming or best,
        "binary": _word(desired.binary),
        "synchronous_commit": "off",
    }
    if versions.has(major, Feature.ORIGIN_NONE):
        found["origin"] = desired.origin or "none"
    if versions.has(major, Feature.DISABLE_ON_ERROR):
        found["disable_on_error"] = _word(desired.disable_on_error)
    if versions.has(major, Feature.RUN_AS_OWNER):
        found["run_as_owner"] = _word(desired.run_as_owner)
    return found


def live_options(have: Subscription) -> dict[str, str]:
    """Return the same options as the server has them."""
    return {
        "streaming": have.streaming,
        "binary": _word(have.binary),
        "synchronous_commit": have.synchronous_commit,
        "origin": have.origin or "any",
        "disable_on_error": _word(have.disable_on_error),
        "run_as_owner": _word(have.run_as_owner),
    }


def altered_options(major: int, have: Subscription, desired: SubscriptionSpec) -> dict[str, str]:
    """Return the options for `ALTER SUBSCRIPTION ... SET`; empty when nothing differs."""
    live = live_options(have)
    return {k: v for k, v in options(major, desired).items() if live[k] != v}


def alterable(major: int, have: Subscription, desired: SubscriptionSpec) -> list[str]:
    """Return in words what differs and can be altered in place."""
    live = live_options(have)
    found = [
        f"{option} is {live[option]}, expected {value}"
        for option, value in altered_options(major, have, desired).items()
    ]
    if set(have.publications) != set(desired.publications):
        found.append(f"reads {_list(have.publications)}, expected {_list(desired.publications)}")
    if desired.owner is not None and have.owner != desired.owner:
        found.append(f"its owner is {have.owner!r}, expected {desired.owner!r}")
    return found


def fixed(have: Subscription, desired: SubscriptionSpec) -> list[str]:
    """Return in words what differs and can't be altered without losing or doubling rows."""
    found = []
    if have.slot_name != desired.slot_name:
        found.append(f"reads slot {have.slot_name!r}, expected {desired.slot_name!r}")
    if have.two_phase:
        found.append("two_phase is on, expected off")
    if have.failover:
        found.append("failover is on, expected off")
    return found


def _list(names: list[str] | tuple[str, ...]) -> str:
    return "publication " + ", ".join(map(repr, sorted(names)))


def _word(flag: bool) -> str:
    return "true" if flag else "false"
