"""This stack: its settings, and the names that follow from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG

from bluegreen import names
from bluegreen.postgres.server import Credentials
from settings import (
    CA_BUNDLE,
    IDENTIFIER,
    Settings,
    SettingsError,
    identity_problem,
    load,
)


@dataclass(frozen=True, slots=True)
class Stack:
    """What the components need to know of the stack that is being declared."""

    name: str
    project: str
    region: str
    settings: Settings

    @property
    def cluster_identifier(self) -> str:
        """Return the identifier of this environment's cluster."""
        return self.settings.cluster_identifier(self.name)

    @property
    def deployment(self) -> str:
        """Return the name that slots, publications and subscriptions of a deployment carry."""
        return names.deployment_name(self.name)

    @property
    def credentials(self) -> dict[str, Any]:
        """Return the references to credentials, as the resources' property."""
        return Credentials(**self.settings.credentials.model_dump()).to_props()

    @property
    def databases(self) -> list[str]:
        """Return the databases that a deployment carries over."""
        return list(self.settings.environment.databases)

    @property
    def replicates(self) -> bool:
        """Return whether this stack describes a deployment, and no mere rehearsal."""
        return self.settings.source is not None and not self.settings.rehearsal

    @property
    def has_standby(self) -> bool:
        """Return whether one side follows the other, so that after a switch the other does."""
        return self.replicates and not (self.settings.cutover and not self.settings.rollback)


def within(minutes: float | None) -> pulumi.CustomTimeouts | None:
    """Return how long AWS may take over a resource; None for the AWS plugin's own times."""
    if minutes is None:
        return None
    limit = f"{minutes * 60:.0f}s"
    return pulumi.CustomTimeouts(create=limit, update=limit, delete=limit)


_MOST = 63  # characters that AWS takes for the identifier of a cluster or an instance


def names_problem(settings: Settings, stack: str, region: str) -> str | None:
    """Return what is wrong with the identifiers that follow from the settings; None if nothing is.

    AWS would refuse a secondary Region's when everything else has been made.
    """
    environment, name = settings.environment, settings.cluster_identifier(stack)
    key = "bluegreen:environment.cluster_identifier"
    if re.fullmatch(IDENTIFIER, name) is None:
        return (
            f"{key}: is {name!r} by default, from the stack's name; expected lower-case letters, "
            "digits and single hyphens: set one"
        )
    longest = [f"{name}-{environment.instances}"]
    for secondary in environment.secondary_regions:
        if secondary.region == region:
            return (
                f"bluegreen:environment.secondary_regions: {region} is the stack's own Region, "
                "aws:region; name another"
            )
        longest += [f"{name}-global", f"{name}-{secondary.region}"]
        if secondary.instances:
            longest.append(f"{name}-{secondary.region}-{secondary.instances}")
    worst = max(longest, key=len)
    if len(worst) > _MOST:
        return (
            f"{key}: got {name!r}, which makes {worst!r} of {len(worst)} characters; AWS takes "
            f"{_MOST}: set one of {len(name) - len(worst) + _MOST} at most"
        )
    return None


def read_stack() -> Stack:
    """Return this stack; ends the program with one line when a setting is wrong."""
    region = pulumi.Config("aws").get("region")
    if region is None:
        raise pulumi.RunError("aws:region: is missing; run: pulumi config set aws:region REGION")
    if reason := identity_problem(CONFIG.get()):
        raise pulumi.RunError(reason)
    try:
        settings = load(CONFIG.get())
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    if reason := names_problem(settings, pulumi.get_stack(), region):
        raise pulumi.RunError(reason)
    ca_file = settings.credentials.ca_file
    if settings.credentials.tls.startswith("verify") and not Path(ca_file or "").is_file():
        raise pulumi.RunError(
            f"bluegreen:credentials.ca_file: got {ca_file!r}, but there is no such file; download"
            f" {CA_BUNDLE} to it"
        )
    return Stack(pulumi.get_stack(), pulumi.get_project(), region, settings)
