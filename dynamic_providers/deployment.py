"""`bluegreen:Deployment`: what the stack is, and whether it may become what is asked for.

Declared in every stack, and everything else depends on it: a refusal here has touched nothing.
"""

from __future__ import annotations

from typing import Any

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

from bluegreen.deployment import preconditions as deployment
from bluegreen.deployment.preconditions import Deployment as Wanted
from bluegreen.deployment.preconditions import Published
from bluegreen.deployment.transition import State, Wishes, refusals
from bluegreen.replication.publication.scope import from_scope
from dynamic_providers.props import credentials as credentials_of
from dynamic_providers.props import server as server_of
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only

_INPUTS = (
    "stack",
    "cluster_identifier",
    "region",
    "credentials",
    "source",
    "source_stack",
    "databases",
    "cutover",
    "rollback",
    "rehearsal",
)
# A refresh found a running deployment without the register that its switch needs.
_UNREGISTERED = "unregistered"


def _known(value: Any) -> str:
    """Return a text property, empty when it is missing or unknown at preview."""
    return "" if value is None or contains_unknowns(value) else str(value)


def _wishes(props: Props, had: Wishes | None = None) -> Wishes:
    source = props.get("source")
    known = source if isinstance(source, dict) else {}
    cluster = _known(known.get("cluster"))
    stack = _known(props.get("source_stack"))
    if source is not None and not stack and not cluster:
        # Unknown at preview, it is a source all the same: the one that was, or a new one.
        stack, cluster = (had.source_stack, had.source_cluster) if had else ("(unknown)", "")
    databases = props.get("databases") or []
    return Wishes(
        stack=_known(props.get("stack")),
        cluster=_known(props.get("cluster_identifier")),
        region=_known(props.get("region")),
        databases=frozenset(_known(name) for name in databases),
        source_stack=stack,
        source_cluster=cluster,
        source_region=_known(known.get("region")),
        cutover=bool(props.get("cutover", False)),
        rollback=bool(props.get("rollback", True)),
        rehearsal=bool(props.get("rehearsal", False)),
    )


def _wanted(props: Props) -> Wanted:
    source = props.get("source")
    return Wanted(
        wishes=_wishes(props),
        credentials=credentials_of(props["credentials"]),
        source=server_of(source) if source else None,
        publishes={
            database: Published(
                from_scope(one["name"], one["scope"]), one.get("replica_identity") or {}
            )
            for database, one in (props.get("publishes") or {}).items()
        },
        engine_version=_known(props.get("engine_version")) or None,
    )


class DeploymentProvider(Provider):
    """Checks wishes without I/O, and looks at the live world in `create` and `update`."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        """Refuse transitions that are never allowed; `olds` are the last inputs that held."""
        had = _wishes(olds) if olds.get("stack") else None
        found = refusals(had, _wishes(news, had))
        return CheckResult(news, [CheckFailure(one.setting, one.reason) for one in found])

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Compare the wishes; a deployment without its register has a difference too."""
        found = explicit_diff(olds, news, updates=_INPUTS)
        if olds.get("state") != str(_wishes(news).state):
            found.changes = True
        return found

    def create(self, props: Props) -> CreateResult:
        """Look whether the stack can begin; make the register on the source."""
        state = deployment.prepare(_wanted(props))
        return CreateResult(str(props["stack"]), {**inputs_only(props), "state": str(state)})

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        """Look whether the stack can go this way now; finishing drops the registers."""
        had, want = _wanted(olds), _wanted(news)
        state = deployment.change(had.wishes.state, want)
        if had.wishes.state is State.FINAL and state is State.PLAIN:
            deployment.forget(had)
        return UpdateResult({**inputs_only(news), "state": str(state)})

    def read(self, id_: str, props: Props) -> ReadResult:
        """Return the state, `unregistered` where the register on the source is missing."""
        inputs = {key: props[key] for key in _INPUTS if key in props}
        had = _wanted(props)
        state = str(had.wishes.state) if deployment.is_registered(had) else _UNREGISTERED
        return ReadResult(id_, {**inputs, "state": state}, inputs)

    def delete(self, _id: str, props: Props) -> None:
        """Drop the register on the source where one was made and its cluster still exists."""
        deployment.remove(_wanted(props))


class Deployment(Resource, module="bluegreen", name="Deployment"):
    """What this stack is: a plain environment, or one that is to replace `source`.

    Inputs:
        stack: The stack's name.
        cluster_identifier: The identifier of this environment's cluster.
        region: The AWS Region of the cluster.
        credentials: References to credentials, never the credentials.
        databases: The databases that are replicated.
        source: Writer endpoint of the environment that this one is to replace, and references to
            its credentials. None makes the stack plain.
        source_stack: The stack of the source.
        cutover: Whether this environment is to be the writer.
        rollback: Whether the way back stays open.
        rehearsal: Whether it is a writable clone without replication.
        publishes: What each database will publish: looked at before anything is made.
        engine_version: The version that a clone is brought to: what its upgrade would refuse is
            looked for before the clone is made.

    Errors:
        refused: a transition that is not allowed (at preview); a switch before both sides stand and
            the running direction is healthy; `rollback: false` before the target is the writer; a
            source that can't be published, or lacks free slots, senders or workers; triggers, event
            triggers and functions of the source that would stop or falsify the replication; what
            the clone's upgrade would refuse; a database or schema `bluegreen` there that somebody
            else made (it carries no mark), or put things in.
        retry: AWS or a server out of reach.
    """

    state: pulumi.Output[str]
    """`plain`, `forward`, `switched`, `final` or `rehearsal`; `unregistered` when a refresh misses
    the register."""

    def __init__(
        self,
        name: str,
        *,
        stack: pulumi.Input[str],
        cluster_identifier: pulumi.Input[str],
        region: pulumi.Input[str],
        credentials: pulumi.Input[dict[str, Any]],
        databases: pulumi.Input[list[str]],
        source: pulumi.Input[dict[str, Any]] | None = None,
        source_stack: pulumi.Input[str] | None = None,
        cutover: pulumi.Input[bool] = False,
        rollback: pulumi.Input[bool] = True,
        rehearsal: pulumi.Input[bool] = False,
        publishes: pulumi.Input[dict[str, Any]] | None = None,
        engine_version: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "stack": stack,
            "cluster_identifier": cluster_identifier,
            "region": region,
            "credentials": credentials,
            "source": source,
            "source_stack": source_stack,
            "databases": databases,
            "cutover": cutover,
            "rollback": rollback,
            "rehearsal": rehearsal,
            "publishes": publishes,
            "engine_version": engine_version,
            "state": None,
        }
        super().__init__(DeploymentProvider(), name, props, opts)
