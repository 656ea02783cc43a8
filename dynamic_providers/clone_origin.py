"""`aurora:CloneOrigin`: where the clone's copy of the source ends, read once and never again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NotRequired, TypedDict, Unpack

import psycopg
import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from bluegreen.errors import Retry
from bluegreen.polling import poll_until
from bluegreen.postgres.server import Server
from bluegreen.register import register
from bluegreen.replication import clone_origin
from bluegreen.replication.clone_origin import SourceSlot
from bluegreen.switch.declared import Fencing
from dynamic_providers.inputs import FIXED, REPLACES, UPDATES, Value, keys, properties
from dynamic_providers.provider import Props, Provider, explicit_diff, inputs_only
from dynamic_providers.value_types import NamesInput, ServerInput

_CLEAN_SECONDS = 120.0
_DROP_SECONDS = 60.0
_OUTPUTS = ("lsn", "resource_id")


class CloneOriginInputs(TypedDict):
    """The clone, and what it was made of."""

    server: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the clone, and references to its credentials."""
    source: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that was cloned, and references to its credentials."""
    databases: Annotated[NamesInput, UPDATES]
    """The databases that are replicated."""
    deployment: Annotated[pulumi.Input[str], FIXED]
    """The deployment's name."""
    slots: Annotated[pulumi.Input[Sequence[Mapping[str, str]]], Value(list[SourceSlot]), UPDATES]
    """The slots that were made on the source before the clone: `database` and `name` each."""
    roles: NotRequired[Annotated[pulumi.Input[Mapping[str, Any]] | None, Value(Fencing)]]
    """Which roles lose LOGIN on the clone until it is opened: `roles`, `spare_roles` and `old_side`
    of the settings. Used once, when the clone is closed."""
    clone_id: NotRequired[Annotated[pulumi.Input[str] | None, REPLACES]]
    """AWS's resource id of the clone. Another one, under whatever name, replaces this resource."""


class CloneOriginProvider(Provider):
    """Only `create` reads the LSN; a clone in use has another one, which means nothing."""

    inputs = CloneOriginInputs

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        fenced = news.get("clone_id")
        if fenced and not contains_unknowns(fenced) and fenced != olds.get("resource_id"):
            # Another cluster under the same name and address: its copy ends elsewhere.
            return DiffResult(changes=True, replaces=["clone_id"], delete_before_replace=True)
        return explicit_diff(olds, news, updates=keys(self.inputs, UPDATES))

    def create(self, props: Props) -> CreateResult:
        given = self.values(props)
        origin = clone_origin.ensure(
            given["server"],
            given["source"],
            databases=given["databases"],
            deployment=given["deployment"],
            slots=given["slots"],
            deadline=time.monotonic() + _CLEAN_SECONDS,
            resource_id=given["clone_id"],
            fence_spec=(given["roles"] or Fencing()).fence_spec,
        )
        outputs = {"lsn": str(origin.lsn), "resource_id": origin.resource_id}
        return CreateResult(origin.resource_id, {**inputs_only(props), **outputs})

    def update(self, _id: str, olds: Props, news: Props) -> UpdateResult:
        return UpdateResult({**inputs_only(news), **{key: olds[key] for key in _OUTPUTS}})

    def read(self, id_: str, props: Props) -> ReadResult:
        server: Server = self.values(props)["server"]
        itself = server.find_cluster()
        if itself is None or itself.resource_id != props["resource_id"]:
            return ReadResult(None, {})
        live = inputs_only(props)
        return ReadResult(id_, live, self.inputs_in(live))

    def delete(self, _id: str, props: Props) -> None:
        server: Server = self.values(props)["server"]
        deadline = time.monotonic() + _DROP_SECONDS
        for _ in poll_until(deadline, first=0.2, most=2.0):
            itself = server.find_cluster()
            if itself is None or itself.resource_id != props["resource_id"]:
                return
            try:
                register.drop_database(server)
            except (Retry, psycopg.OperationalError):
                # It may be restarting, which must not stop a destroy halfway.
                if time.monotonic() >= deadline:
                    raise
                continue
            return


class CloneOrigin(Resource, module="aurora", name="CloneOrigin"):
    """The seam's LSN; closes the clone to writers and removes what it inherited.

    Errors:
        refused: another deployment (at preview); the source itself, an older cluster, one of
            another clone group, another id than `clone_id`, a reader, or a clone that was written
            to, or has switches or subscriptions of its own; a source that is itself a subscriber; a
            slot in use; a missing privilege (with its GRANT).
        retry: a server out of reach, for deletions after a minute.
        clone again: a slot that begins after the clone ends, or is missing, lost or invalidated; an
            LSN past a heartbeat that the source wrote and the clone lacks (it was written to).
    """

    lsn: pulumi.Output[str]
    """Where the clone's copy of the source ends: read once, before anything else."""
    resource_id: pulumi.Output[str]
    """AWS's id of this very cluster; another one of the same name has another id."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[CloneOriginInputs],
    ) -> None:
        props = properties(CloneOriginInputs, inputs, CloneOrigin)
        super().__init__(CloneOriginProvider(), resource_name, props, opts)
