"""What a stack is desired to be: the input of everything that is decided about a deployment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from bluegreen.deployment.transition import StackSpec
from bluegreen.postgres.publications import Publication
from bluegreen.postgres.server import Credentials, Server


@dataclass(frozen=True, slots=True)
class Published:
    """What one database will publish, and the replica identities declared for it."""

    publication: Publication
    identities: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What one stack is to be, and how to reach its servers."""

    spec: StackSpec
    credentials: Credentials
    """Of the target."""
    source: Server | None
    """None in a plain stack, and where the source's stack no longer has outputs."""
    publishes: Mapping[str, Published] = field(default_factory=dict)
    """By database; inspected before the first `up` makes anything."""
    engine_version: str | None = None
    """The version that the clone is brought to."""
    instance_classes: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The classes of the instances, by Region."""
    account: str | None = None
    """The AWS account in which the stack's resources are; None where nobody has recorded it."""
