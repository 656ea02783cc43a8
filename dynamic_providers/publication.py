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

from bluegreen.errors import Refused
from bluegreen.postgres import presence, publications
from bluegreen.replication.publication import declared_identity, definition, publishing
from bluegreen.replication.publication import scope as publication_scope
from dynamic_providers.props import server as server_of
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
                why = definition.unchangeable(_kind_of(name, old), want) if old else None
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
        with server_of(props["server"]).connect(props["database"]) as conn:
            have = publishing.ensure(
                conn,
                want,
                props.get("replica_identity") or {},
                alter=alter,
                deadline=time.monotonic() + _LOCK_SECONDS,
            )
        return {**inputs_only(props), "published": definition.described(have)}

    def read(self, id_: str, props: Props) -> ReadResult:
        conn = presence.connect_unless_gone(server_of(props["server"]), props["database"])
        if conn is None:
            return ReadResult(None, {})
        with conn:
            have = publications.inspect(conn, props["name"])
            identities = declared_identity.live(conn, props.get("replica_identity") or {})
        if have is None:
            return ReadResult(None, {})
        published = definition.described(have)
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
            server_of(props["server"]),
            props["database"],
            lambda conn: publishing.drop(conn, props["name"], deadline=deadline),
            deadline=deadline,
        )


def _kind_of(name: str, scope: Props) -> publications.Publication:
    """Return what of a scope can't change; after a refresh it may hold what no wish can say."""
    return publications.Publication(
        name,
        all_tables=scope.get("kind") == "all",
        via_root=bool(scope.get("publish_via_partition_root")),
    )


class Publication(Resource, module="postgres", name="Publication"):
    """A publication with a heartbeat, and the replica identities that it needs.

    Inputs:
        server: Writer endpoint of the environment that publishes, and references to its
            credentials.
        database: The database whose tables are published.
        name: The publication's name, 63 bytes at most.
        scope: What is published: `kind` `all`, `schemas` with `schemas` (and perhaps `tables`), or
            `tables` with `tables`, each a `schema` and `name` with optional `columns` and `where`.
            `operations` are all four by default; `publish_via_partition_root` sends partitions as
            their root. Changed in place, but for `kind` from or to `all` and for
            `publish_via_partition_root`.
        replica_identity: Replica identities to declare, `schema.table` to `full` or `index NAME`, a
            partitioned table for all its partitions; undone when they are no longer declared, and
            on delete.

    Errors:
        refused: a table whose updates or deletes would begin to fail for want of a replica identity
            (named, with the remedies); one of that name that exists and differs (with the
            difference), or that somebody else made, as a schema `bluegreen` (they carry no mark);
            what others have put into that schema or made depend on it; a change between all tables
            and a choice of them, of `publish_via_partition_root`, of database or name (at preview);
            schemas, row filters and column lists before 15; a missing privilege (with its GRANT); a
            deletion while a slot reads it.
        retry: locks that others hold for longer than a minute; a server out of reach, for deletions
            after a minute.
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
