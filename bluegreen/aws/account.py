"""Whose account AWS is asked in: what another account doesn't know isn't gone."""

from __future__ import annotations

from bluegreen.aws.clients import client
from bluegreen.aws.errors import asking
from bluegreen.errors import Refused


def account_of(arn: str) -> str | None:
    """Return the account that an ARN names; None where it names none."""
    parts = arn.split(":")
    return (parts[4] or None) if len(parts) > 5 else None


def inspect(region: str) -> str:
    """Return the account that AWS takes this process for; nobody needs a permission for that.

    Raises `Refused` or `Retry` when AWS gives no answer.
    """
    with asking(f"sts:GetCallerIdentity in {region}"):
        return str(client("sts", region).get_caller_identity()["Account"])


def problem(asked_in: str, expected: str | None) -> str | None:
    """Return why an answer of the account `asked_in` says nothing; None when it does.

    `expected` is None for what was recorded before accounts were: then nothing is compared.
    """
    if expected is None or asked_in == expected:
        return None
    return (
        f"AWS was asked in account {asked_in}, and this environment is in {expected}; log in "
        "there (AWS_PROFILE, or a role), and run it again"
    )


def require(what: str, region: str, expected: str | None) -> None:
    """Raise `Refused` unless AWS is asked in the account `expected`; `what` begins the line."""
    if expected is None:
        return
    reason = problem(inspect(region), expected)
    if reason is not None:
        raise Refused(f"{what}: {reason}")
