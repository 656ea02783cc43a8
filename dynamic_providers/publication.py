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

from bluegreen import presence, publication, replica_identity
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
_OUTPUTS = ("published",)


class PublicationProvider(Provider):
    """Alters in place; what only a drop could change is refused at preview."""

    def check(self, olds: Props, news: Props) -> CheckResult:
        failures = fixed(olds, news, ("database", "name"))
        old, new = olds.get("scope"), news.get("scope")
        if old and new and not contains_unknowns([old, new]):
            try:
                want = publication.from_scope(str(news.get("name")), new)
            except Refused as error:
                failures.append(CheckFailure("scope", str(error)))
            else:
                if (old.get("kind") == "all") != want.all_tables:
                    failures.append(CheckFailure("scope", publication.fixed_kind(want.name)))
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        return explicit_diff(olds, news, updates=("server", "scope", "replica_identity"))

    def create(self, props: Props) -> CreateResult:
        return CreateResult(f"{props['database']}/{props['name']}", self._ensured(props))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._ensured(news))

    def _ensured(self, props: Props) -> Props:
        want = publication.from_scope(props["name"], props["scope"])
        with Server.from_props(props["server"]).connect(props["database"]) as conn:
            have = publication.ensure(
                conn,
                want,
                props.get("replica_identity") or {},
                deadline=time.monotonic() + _LOCK_SECONDS,
            )
        return {**inputs_only(props), "published": publication.described(have)}

    def read(self, id_: str, props: Props) -> ReadResult:
        conn = presence.connect_unless_gone(Server.from_props(props["server"]), props["database"])
        if conn is None:
            return ReadResult(None, {})
        with conn:
            have = publication.find(conn, props["name"])
            identities = replica_identity.live(conn, props.get("replica_identity") or {})
        if have is None:
            return ReadResult(None, {})
        published = publication.described(have)
        # The server spells filters its own way: unchanged there, the wish keeps the user's words.
        same = published == props.get("published")
        live = inputs_only(props) | {
            "scope": props["scope"] if same else publication.to_scope(have),
            "replica_identity": identities,
            "published": published,
        }
        return ReadResult(id_, live, {k: v for k, v in live.items() if k not in _OUTPUTS})

    def delete(self, _id: str, props: Props) -> None:
        conn = presence.connect_unless_gone(Server.from_props(props["server"]), props["database"])
        if conn is None:
            return
        with conn:
            publication.drop(conn, props["name"], deadline=time.monotonic() + _LOCK_SECONDS)


class Publication(Resource, module="postgres", name="Publication"):
    """A publication with heartbeat and canary, and the replica identities that it needs.

    Inputs:
        server: Writer endpoint of the environment that publishes, and references to its
            credentials.
        database: The database whose tables are published.
        name: The publication's name, 63 bytes at most.
        scope: What is published: `kind` `all`, `schemas` with `schemas`, or `tables` with `tables`,
            each a `schema` and `name` with optional `columns` and `where`. All and a choice can't
            become each other.
        replica_identity: Replica identities to declare, `schema.table` to `full` or `index NAME`;
            undone on delete.

    Errors:
        refused: a table whose updates or deletes would begin to fail for want of a replica identity
            (named, with the remedies); a change between all tables and a choice of them, another
            database or name (at preview); schemas, row filters and column lists before 15; a
            deletion while a slot reads it.
        retry: locks that others hold for longer than a minute; a server out of reach.
        clone again: a publication that is gone while a slot reads it.
    """

    published: pulumi.Output[list[str]]
    """What the server says that it publishes, one line each: compared by every refresh."""

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
