"""This stack: its settings, and the names that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG

from bluegreen import names
from bluegreen.postgres.server import Credentials
from settings import CA_BUNDLE, Settings, SettingsError, load


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


def read_stack() -> Stack:
    """Return this stack; ends the program with one line when a setting is wrong."""
    region = pulumi.Config("aws").get("region")
    if region is None:
        raise pulumi.RunError("aws:region: is missing; run: pulumi config set aws:region REGION")
    try:
        settings = load(CONFIG.get())
    except SettingsError as error:
        raise pulumi.RunError(str(error)) from None
    ca_file = settings.credentials.ca_file
    if settings.credentials.tls.startswith("verify") and not Path(ca_file or "").is_file():
        raise pulumi.RunError(
            f"bluegreen:credentials.ca_file: got {ca_file!r}, but there is no such file; download"
            f" {CA_BUNDLE} to it"
        )
    return Stack(pulumi.get_stack(), pulumi.get_project(), region, settings)
