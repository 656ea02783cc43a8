"""`bluegreen:RetirementGuard`: depends on everything in its stack, so that it is deleted first.

Its refusal stops a plain `pulumi destroy` before anything was touched.
"""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen.deployment import retirement
from dynamic_providers.props import server as server_of
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only

_INPUTS = ("server", "databases", "deployment", "stack", "deletion_protection", "retire")


class RetirementGuardProvider(Provider):
    """Only its deletion does anything; what it is asked then is what was applied last."""

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the wishes; never replaced, since that would delete it."""
        return explicit_diff(olds, news, updates=_INPUTS)

    def create(self, props: Props) -> CreateResult:
        """Stand guard."""
        return CreateResult(str(props["stack"]), inputs_only(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Remember what was applied."""
        return UpdateResult(inputs_only(news))

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return what was applied: there is nothing of it outside the state."""
        inputs = {key: props[key] for key in _INPUTS if key in props}
        return ReadResult(id_, inputs, inputs)

    def delete(self, _id: str, props: Props) -> None:
        """Refuse while the environment is needed."""
        retirement.require_retirable(
            retirement.Retirement(
                server=server_of(props["server"]),
                databases=tuple(props["databases"]),
                stack=str(props["stack"]),
                deployment=props.get("deployment"),
                deletion_protection=bool(props.get("deletion_protection", False)),
                retire=bool(props.get("retire", False)),
            )
        )


class RetirementGuard(Resource, module="bluegreen", name="RetirementGuard"):
    """Keeps an environment that is still needed from being destroyed.

    Inputs:
        server: Writer endpoint of the environment that it guards, and references to its
            credentials.
        databases: The databases to look for replication in.
        stack: The stack that owns the environment.
        deletion_protection: Whether AWS protects the cluster: said in the refusal.
        deployment: The deployment's name, whose replication is the stack's own; none in a plain
            stack.
        retire: Whether a writer may be destroyed, once applied.

    Errors:
        refused: a deletion while the environment is the writer (unless `retire` was applied
            before), while a switch is in progress, or while anything not owned by its stack
            replicates from or to it.
        retry: AWS or a server out of reach.
    """

    def __init__(
        self,
        name: str,
        *,
        server: pulumi.Input[dict[str, Any]],
        databases: pulumi.Input[list[str]],
        stack: pulumi.Input[str],
        deletion_protection: pulumi.Input[bool],
        deployment: pulumi.Input[str] | None = None,
        retire: pulumi.Input[bool] = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "server": server,
            "databases": databases,
            "deployment": deployment,
            "stack": stack,
            "deletion_protection": deletion_protection,
            "retire": retire,
        }
        super().__init__(RetirementGuardProvider(), name, props, opts)
