"""`bluegreen:Deployment`: what the stack is, and whether it may become what is asked for.

Declared in every stack, and everything else depends on it: a refusal here has touched nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict, Unpack

import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    UpdateResult,
)
from pydantic import BaseModel

from bluegreen.aws import account
from bluegreen.deployment import preconditions as deployment
from bluegreen.deployment.spec import DeploymentSpec, Published
from bluegreen.deployment.transition import StackState, refusals
from bluegreen.postgres.server import Credentials, Server
from bluegreen.replication.publication.scope import from_scope
from bluegreen.upgrade.engine_version import major_change_problem
from dynamic_providers.deployment_spec import stack_spec
from dynamic_providers.inputs import UPDATES, Default, Value, keys, properties
from dynamic_providers.provider import Props, Provider, inputs_only

# A refresh found a running deployment without the register that its switch needs.
_UNREGISTERED = "unregistered"

# A change of these is no difference, but what they were decides over what they may become.
_COMPARED = ("engine_version", "secondary_regions", "deletion_protection", "account")


class _Publishes(BaseModel):
    """What one database will publish."""

    name: str
    scope: dict[str, Any]
    replica_identity: dict[str, str] = {}


class DeploymentInputs(TypedDict):
    """What a stack is, and what it is asked to become."""

    stack: Annotated[pulumi.Input[str], UPDATES]
    """The stack's name."""
    cluster_identifier: Annotated[pulumi.Input[str], UPDATES]
    """The identifier of this environment's cluster."""
    region: Annotated[pulumi.Input[str], UPDATES]
    """The AWS Region of the cluster."""
    credentials: Annotated[pulumi.Input[Mapping[str, Any]], Value(Credentials), UPDATES]
    """References to credentials, never the credentials."""
    databases: Annotated[pulumi.Input[Sequence[str]], UPDATES]
    """The databases that are replicated."""
    source: NotRequired[Annotated[pulumi.Input[Mapping[str, Any]] | None, Value(Server), UPDATES]]
    """Writer endpoint of the environment that this one is to replace, and references to its
    credentials. None makes the stack plain."""
    source_stack: NotRequired[Annotated[pulumi.Input[str] | None, UPDATES]]
    """The stack of the source."""
    cutover: NotRequired[Annotated[pulumi.Input[bool], Default(False), UPDATES]]
    """Whether this environment is to be the writer."""
    rollback: NotRequired[Annotated[pulumi.Input[bool], Default(True), UPDATES]]
    """Whether the way back stays open."""
    rehearsal: NotRequired[Annotated[pulumi.Input[bool], Default(False), UPDATES]]
    """Whether it is a writable clone without replication."""
    publishes: NotRequired[
        Annotated[pulumi.Input[Mapping[str, Any]] | None, Value(dict[str, _Publishes])]
    ]
    """What each database will publish, checked before anything is made."""
    engine_version: NotRequired[pulumi.Input[str] | None]
    """The version that a clone is upgraded to: what its upgrade would refuse is checked before the
    clone is made."""

    secondary_regions: NotRequired[pulumi.Input[Sequence[str]] | None]
    """The other Regions of its global database."""
    deletion_protection: NotRequired[Annotated[pulumi.Input[bool], Default(False)]]
    """Whether AWS protects its clusters: one that is taken out then is torn from the global
    database, and stays."""
    instance_classes: NotRequired[
        Annotated[pulumi.Input[Mapping[str, Any]] | None, Value(dict[str, tuple[str, ...]])]
    ]
    """The classes of its instances by Region, compared with what AWS offers before anything is
    made."""
    account: NotRequired[pulumi.Input[str] | None]
    """The AWS account that the AWS plugin works in. What asks AWS itself must do so there too, and
    so must every later update."""


class DeploymentProvider(Provider):
    """Checks the inputs without I/O, and the servers in `create` and `update`."""

    inputs = DeploymentInputs

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Refuse transitions that are never allowed; `olds` are the last inputs that held."""
        malformed = super().check(olds, news).failures
        if malformed:
            return CheckResult(news, malformed)
        had = stack_spec(olds) if olds.get("stack") else None
        found = refusals(had, stack_spec(news, had))
        failures = [CheckFailure(one.setting, one.reason) for one in found]
        versions = olds.get("engine_version"), news.get("engine_version")
        if all(isinstance(one, str) and not contains_unknowns(one) for one in versions):
            serves = not news.get("source") or bool(news.get("cutover"))
            reason = major_change_problem(str(versions[0]), str(versions[1]), serves=serves)
            failures += [CheckFailure("environment.engine_version", reason)] if reason else []
        reason = _protected_region_problem(olds, news)
        failures += [CheckFailure("environment.secondary_regions", reason)] if reason else []
        reason = _account_problem(olds.get("account"), news.get("account"))
        failures += [CheckFailure("account", reason)] if reason else []
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the inputs; a deployment without its register has a difference too."""
        found = super().diff(_id, olds, news)
        if olds.get("state") != str(stack_spec(news).state):
            found.changes = True
        return found

    def create(self, props: Props) -> CreateResult:
        """Check that the stack can begin; make the register on the source."""
        state = deployment.prepare(self._desired(props))
        return CreateResult(str(props["stack"]), {**inputs_only(props), "state": str(state)})

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Check that the stack can take this transition now; finishing drops the registers."""
        had, desired = self._desired(olds), self._desired(news)
        state = deployment.change(had.spec.state, desired)
        if had.spec.state is StackState.FINAL and state is StackState.PLAIN:
            deployment.forget(had)
        return UpdateResult({**inputs_only(news), "state": str(state)})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the state, `unregistered` where the register on the source is missing."""
        kept = [*keys(self.inputs, UPDATES), *_COMPARED]
        inputs = {key: props[key] for key in kept if key in props}
        had = self._desired(props)
        state = str(had.spec.state) if deployment.is_registered(had) else _UNREGISTERED
        return ReadResult(id_, {**inputs, "state": state}, inputs)

    def delete(self, _id: str, props: Props) -> None:
        """Drop the register on the source where one was made and its cluster still exists."""
        deployment.remove(self._desired(props))

    def _desired(self, props: Props) -> DeploymentSpec:
        given = self.values(props)
        return DeploymentSpec(
            spec=stack_spec(props),
            credentials=given["credentials"],
            source=given["source"],
            publishes={
                database: Published(from_scope(one.name, one.scope), one.replica_identity)
                for database, one in (given["publishes"] or {}).items()
            },
            engine_version=given["engine_version"],
            instance_classes=given["instance_classes"] or {},
            account=given["account"],
        )


def _account_problem(had: Any, asked_in: Any) -> str | None:
    """Return why an update can't run in this account; None when it can, or neither is known."""
    if not isinstance(had, str) or not isinstance(asked_in, str) or contains_unknowns(asked_in):
        return None
    return account.problem(asked_in, had)


def _protected_region_problem(olds: Props, news: Props) -> str | None:
    """Return why a secondary Region can't be taken out; None when none is, or none is protected.

    AWS lets it leave the global database, and then refuses to delete it: it can't be brought back.
    """
    had, want = olds.get("secondary_regions") or (), news.get("secondary_regions") or ()
    if contains_unknowns(want) or not olds.get("deletion_protection"):
        return None
    gone = sorted(set(had) - set(want))
    if not gone:
        return None
    return (
        f"{', '.join(gone)} can't be taken out under deletion_protection; put it back, set "
        "environment.deletion_protection to false, run pulumi up, and take it out then"
    )


class Deployment(Resource, module="bluegreen", name="Deployment"):
    """What this stack is: a plain environment, or one that is to replace `source`.

    Errors:
        refused: a transition that is not allowed, another major version, or another AWS account (at
            preview); an AWS account in which the program's own calls don't arrive; an instance
            class that AWS doesn't offer there; a source that has 15 clones already; a switch before
            both sides stand and the running direction is healthy; `rollback: false` before the
            target is the writer; a source that can't be published, or lacks free slots, senders or
            workers; a database of it that its administrator can't close; tables whose rows could
            not be applied on the target, or on the source by the way back; triggers, event triggers
            and functions of the source that would stop or falsify the replication; what the clone's
            upgrade would refuse, or a version that it can't be brought to; a database or schema
            `bluegreen` there that somebody else made (it carries no mark), or put things in; a
            source that another cluster is to replace already, even by a stack of the same name in
            another project.
        retry: AWS or a server out of reach.
    """

    state: pulumi.Output[str]
    """`plain`, `forward`, `switched`, `final` or `rehearsal`; `unregistered` when a refresh misses
    the register."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[DeploymentInputs],
    ) -> None:
        props = properties(DeploymentInputs, inputs, Deployment)
        super().__init__(DeploymentProvider(), resource_name, props, opts)
