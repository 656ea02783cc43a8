"""The first and the last word: may the stack change so, and may its environment go."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_aws as aws

from components.primary import Primary
from components.seam import publishes
from components.source import Source
from components.stack import Stack
from dynamic_providers.deployment import Deployment
from dynamic_providers.retirement_guard import RetirementGuard


def allow_transition(stack: Stack, source: Source | None) -> Deployment:
    """Declare the deployment, on which everything else depends: a refusal has touched nothing."""
    settings = stack.settings
    return Deployment(
        "deployment",
        stack=stack.name,
        cluster_identifier=stack.cluster_identifier,
        region=stack.region,
        credentials=stack.credentials,
        databases=stack.databases,
        source=source.server if source is not None else None,
        source_stack=source.stack if source is not None else None,
        cutover=settings.cutover,
        rollback=settings.rollback,
        rehearsal=settings.rehearsal,
        publishes={name: publishes(stack, name) for name in stack.databases}
        if stack.replicates
        else None,
        engine_version=settings.environment.engine_version,
        secondary_regions=[one.region for one in settings.environment.secondary_regions],
        deletion_protection=settings.environment.deletion_protection,
        instance_classes=_classes(stack),
        account=_account(source),
    )


def _classes(stack: Stack) -> dict[str, list[str]]:
    """Return the classes of the instances, by Region."""
    environment = stack.settings.environment
    return {stack.region: [environment.instance_class]} | {
        one.region: [one.instance_class or environment.instance_class]
        for one in environment.secondary_regions
    }


def _account(source: Source | None) -> pulumi.Output[str]:
    """Return the account that the AWS plugin works in."""
    if source is None:
        return aws.get_caller_identity_output().account_id
    # Not before the source is known: an error of its own is then the only one that the user reads.
    return source.server.apply(lambda _: aws.get_caller_identity_output().account_id)


def guard_retirement(
    stack: Stack, primary: Primary, after: Sequence[pulumi.Resource]
) -> RetirementGuard:
    """Declare the guard; it depends on everything, so its deletion comes first."""
    environment = stack.settings.environment
    return RetirementGuard(
        "retirement-guard",
        server=primary.server,
        databases=stack.databases,
        stack=stack.name,
        deployment=stack.deployment if stack.replicates else None,
        deletion_protection=environment.deletion_protection,
        retire=environment.retire,
        opts=pulumi.ResourceOptions(depends_on=list(after)),
    )
