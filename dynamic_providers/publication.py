"""`postgres:Publication`: which tables one database of the writer sends."""

from __future__ import annotations

import time
from collections.abc import Mapping
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

from bluegreen import declared_identity, presence, publication, publication_scope, publishing
from bluegreen.errors import Refused
from bluegreen.server import Server
from dynamic_providers.provider import (
    Props,
    Provider,
    explicit_diff,
    fixed,
    inputs_only,
)

_LOCK_SECONDS = 60.0
# A restart, too, must not stop a destroy half way.
_DROP_SECONDS = 60.0
_OUTPUTS = ("published",)


class PublicationProvider(Provider):
    """Alters in place; what only a drop could change is refused at preview."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        failures = fixed(olds, news, ("database", "name"))
        name, new = str(news.get("name")), news.get("scope")
        old = olds.get("scope")
        if new and not contains_unknowns([old, new]):
            try:
                want = publication_scope.from_scope(name, new)
            except Refused as error:
                failures.append(CheckFailure("scope", str(error)))
            else:
                why = publication.unchangeable(_kind_of(name, old), want) if old else None
                failures += [CheckFailure("scope", why)] if why is not None else []
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        return explicit_diff(olds, news, updates=("server", "scope", "replica_identity"))

    def create(self, props: Props) -> CreateResult:
        made = self._ensured(props, alter=False)
        return CreateResult(f"{props['database']}/{props['name']}", made)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._ensured(news, alter=True))

    def _ensured(self, props: Props, *, alter: bool) -> Props:
        want = publication_scope.from_scope(props["name"], props["scope"])
        with Server.from_props(props["server"]).connect(props["database"]) as conn:
            have = publishing.ensure(
                conn,
                want,
                props.get("replica_identity") or {},
                alter=alter,
                deadline=time.monotonic() + _LOCK_SECONDS,
            )
        return {**inputs_only(props), "published": publication.described(have)}

    def read(self, id_: str, props: Props) -> ReadResult:
        conn = presence.connect_unless_gone(Server.from_props(props["server"]), props["database"])
        if conn is None:
            return ReadResult(None, {})
        with conn:
            have = publication.find(conn, props["name"])
            identities = declared_identity.live(conn, props.get("replica_identity") or {})
        if have is None:
            return ReadResult(None, {})
        published = publication.described(have)
        # The server spells filters its own way: unchanged there, the wish keeps the user's words.
        same = published == props.get("published")
        live = inputs_only(props) | {
            "scope": props["scope"] if same else publication_scope.to_scope(have),
            "replica_identity": identities,
            "published": published,
        }
        return ReadResult(id_, live, {k: v for k, v in live.items() if k not in _OUTPUTS})

    def delete(self, _id: str, props: Props) -> None:
        deadline = time.monotonic() + _DROP_SECONDS
        presence.while_it_exists(
            Server.from_props(props["server"]),
            props["database"],
            lambda conn: publishing.drop(conn, props["name"], deadline=deadline),
            deadline=deadline,
        )


def _kind_of(name: str, scope: Props) -> publication.Publication:
    """Return what of a scope can't change; after a refresh it may hold what no wish can say."""
    return publication.Publication(
        name,
        all_tables=scope.get("kind") == "all",
        via_root=bool(scope.get("publish_via_partition_root")),
    )


class Publication(Resource, module="postgres", name="Publication"):
    """A publication with heartbeat and canary, and the replica identities that it needs.

    Inputs:
        server: The publisher: its writer endpoint and the references that open it. In place.
        database: The database that it is made in; it can't change.
        name: The publication's name; it can't change.
        scope: What it sends. `kind` is `all`, `schemas` or `tables`; with `schemas` (names) and
            `tables` (each with `schema`, `name` and perhaps `columns` and `where`). `operations`
            are all four by default; `publish_via_partition_root` sends partitions as their root.
            In place, but for `kind` from or to `all` and for `publish_via_partition_root`.
        replica_identity: Identities that tables get while they are published: `schema.table` to
            `full` or `index NAME`, a partitioned table for all its partitions. In place.
    """

    published: pulumi.Output[list[str]]
    """What the server says that it sends, sorted. It changes when a subscription must refresh."""

    def __init__(
        self,
        resource_name: str,
        *,
        server: pulumi.Input[Mapping[str, Any]],
        database: pulumi.Input[str],
        name: pulumi.Input[str],
        scope: pulumi.Input[Mapping[str, Any]],
        replica_identity: pulumi.Input[Mapping[str, str]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "server": server,
            "database": database,
            "name": name,
            "scope": scope,
            "replica_identity": replica_identity or {},
            "published": None,
        }
        super().__init__(PublicationProvider(), resource_name, props, opts)
