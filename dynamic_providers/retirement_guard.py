"""`bluegreen:RetirementGuard`: depends on everything in its stack, so that it is deleted first.

Its refusal stops a plain `pulumi destroy` before anything was touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NotRequired, TypedDict, Unpack

import pulumi
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from bluegreen.deployment import retirement
from dynamic_providers.inputs import UPDATES, Default, properties
from dynamic_providers.provider import Props, Provider, inputs_only
from dynamic_providers.value_types import ServerInput


class RetirementGuardInputs(TypedDict):
    """What is guarded, and against what."""

    server: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that it guards, and references to its credentials."""
    databases: Annotated[pulumi.Input[Sequence[str]], UPDATES]
    """The databases to search for replication."""
    stack: Annotated[pulumi.Input[str], UPDATES]
    """The stack that owns the environment."""
    deletion_protection: Annotated[pulumi.Input[bool], UPDATES]
    """Whether AWS protects the cluster; the refusal says so."""
    deployment: NotRequired[Annotated[pulumi.Input[str] | None, UPDATES]]
    """The deployment's name, whose replication is the stack's own; none in a plain stack."""
    retire: NotRequired[Annotated[pulumi.Input[bool], Default(False), UPDATES]]
    """Whether a writer may be destroyed, once applied."""


class RetirementGuardProvider(Provider):
    """Only its deletion does anything; it uses the inputs that were applied last.

    Nothing replaces it, since that would delete it.
    """

    inputs = RetirementGuardInputs

    def create(self, props: Props) -> CreateResult:
        """Stand guard."""
        return CreateResult(str(props["stack"]), inputs_only(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Remember what was applied."""
        return UpdateResult(inputs_only(news))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return what was applied: it exists in the state only."""
        inputs = self.inputs_in(props)
        return ReadResult(id_, inputs, inputs)

    def delete(self, _id: str, props: Props) -> None:
        """Refuse while the environment is needed."""
        given = self.values(props)
        retirement.require_retirable(
            retirement.Retirement(
                server=given["server"],
                databases=tuple(given["databases"]),
                stack=given["stack"],
                deployment=given["deployment"],
                deletion_protection=given["deletion_protection"],
                retire=given["retire"],
            )
        )


class RetirementGuard(Resource, module="bluegreen", name="RetirementGuard"):
    """Keeps an environment that is still needed from being destroyed.

    Errors:
        refused: a deletion while the environment is the writer (unless `retire` was applied
            before), while a switch is in progress, or while anything not owned by its stack
            replicates from or to it.
        retry: AWS or a server out of reach.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[RetirementGuardInputs],
    ) -> None:
        props = properties(RetirementGuardInputs, inputs, RetirementGuard)
        super().__init__(RetirementGuardProvider(), resource_name, props, opts)
