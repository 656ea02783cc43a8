"""`postgres:Publication`: which tables one database of the writer sends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict, Unpack

import pulumi
from pulumi import contains_unknowns
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    ReadResult,
    Resource,
    UpdateResult,
)

from bluegreen.errors import Refused
from bluegreen.postgres import presence, publications
from bluegreen.replication.publication import declared_identity, definition, publishing
from bluegreen.replication.publication import scope as publication_scope
from dynamic_providers.inputs import FIXED, UPDATES, Default, properties
from dynamic_providers.provider import Props, Provider, inputs_only
from dynamic_providers.value_types import NameInput, ServerInput

_LOCK_SECONDS = 60.0
# A restart must not stop a destroy halfway either.
_DROP_SECONDS = 60.0


class PublicationInputs(TypedDict):
    """What a publication takes."""

    server: Annotated[ServerInput, UPDATES]
    """Writer endpoint of the environment that publishes, and references to its credentials."""
    database: Annotated[pulumi.Input[str], FIXED]
    """The database whose tables are published."""
    name: Annotated[NameInput, FIXED]
    """The publication's name, 63 bytes at most."""
    scope: Annotated[pulumi.Input[Mapping[str, Any]], UPDATES]
    """What is published: `kind` `all`, `schemas` with `schemas` (and perhaps `tables`), or `tables`
    with `tables`, each a `schema` and `name` with optional `columns` and `where`. `operations` are
    all four by default; `publish_via_partition_root` sends partitions as their root. Changed in
    place, but for `kind` from or to `all` and for `publish_via_partition_root`; and while a slot
    reads it no more of a table than before."""
    replica_identity: NotRequired[
        Annotated[pulumi.Input[Mapping[str, str]] | None, UPDATES, Default({})]
    ]
    """Replica identities to declare, `schema.table` to `full` or `index NAME`, a partitioned table
    for all its partitions; undone when they are no longer declared, and on delete."""


class PublicationProvider(Provider):
    """Alters in place; what only a drop could change is refused at preview."""

    inputs = PublicationInputs

    def check(self, olds: Props, news: Props) -> CheckResult:
        failures = super().check(olds, news).failures
        well_formed = all(one.property != "scope" for one in failures)
        if well_formed and not contains_unknowns([olds.get("scope"), news["scope"]]):
            try:
                _require_possible(str(news.get("name")), olds.get("scope"), news["scope"])
            except Refused as error:
                failures.append(CheckFailure("scope", str(error)))
        return CheckResult(news, failures)

    def create(self, props: Props) -> CreateResult:
        made = self._ensured(props, alter=False)
        return CreateResult(f"{props['database']}/{props['name']}", made)

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        return UpdateResult(self._ensured(news, alter=True))

    def _ensured(self, props: Props, *, alter: bool) -> Props:
        given = self.values(props)
        desired = publication_scope.from_scope(given["name"], given["scope"])
        with given["server"].connect(given["database"]) as conn:
            have = publishing.ensure(
                conn,
                desired,
                given["replica_identity"],
                alter=alter,
                deadline=time.monotonic() + _LOCK_SECONDS,
            )
        return {**inputs_only(props), "published": definition.described(have)}

    def read(self, id_: str, props: Props) -> ReadResult:
        given = self.values(props)
        conn = presence.connect_unless_gone(given["server"], given["database"])
        if conn is None:
            return ReadResult(None, {})
        with conn:
            have = publications.inspect(conn, given["name"])
            identities = declared_identity.in_force(conn, given["replica_identity"])
        if have is None:
            return ReadResult(None, {})
        published = definition.described(have)
        # The server spells filters in its own way: while unchanged there, the input keeps the
        # user's text.
        same = published == props.get("published")
        live = inputs_only(props) | {
            "scope": props["scope"] if same else publication_scope.to_scope(have),
            "replica_identity": identities,
            "published": published,
        }
        return ReadResult(id_, live, self.inputs_in(live))

    def delete(self, _id: str, props: Props) -> None:
        given = self.values(props)
        deadline = time.monotonic() + _DROP_SECONDS
        presence.while_it_exists(
            given["server"],
            given["database"],
            lambda conn: publishing.drop(conn, given["name"], deadline=deadline),
            deadline=deadline,
        )


def _require_possible(name: str, old: Props | None, new: Props) -> None:
    """Raise `Refused` for a malformed scope, or one that only a drop could bring about."""
    desired = publication_scope.from_scope(name, new)
    why = definition.unchangeable(_kind_of(name, old), desired) if old else None
    if why is not None:
        raise Refused(why)


def _kind_of(name: str, scope: Props) -> publications.Publication:
    """Return what of a scope can't change; a refreshed one may hold what no input can say."""
    return publications.Publication(
        name,
        all_tables=scope.get("kind") == "all",
        via_root=bool(scope.get("publish_via_partition_root")),
    )


class Publication(Resource, module="postgres", name="Publication"):
    """A publication with a heartbeat, and the replica identities that it needs.

    Errors:
        refused: a table whose updates or deletes would begin to fail without a replica identity
            (named, with the remedies); one of that name that exists and differs (with the
            difference), or that somebody else made, as a schema `bluegreen` (they carry no mark);
            objects of others in that schema, or that depend on it; a change between all tables
            and a choice of them, of `publish_via_partition_root`, of database or name (at preview);
            another filter, more columns or one operation more while a slot reads it (what was left
            out before would be missing; with the way that copies the table);
            schemas, row filters and column lists before 15; a missing privilege (with its GRANT); a
            deletion while a slot reads it.
        retry: locks that others hold for longer than a minute; a server out of reach, for deletions
            after a minute.
        clone again: a publication that is gone while a slot reads it.
    """

    published: pulumi.Output[list[str]]
    """What the server says that it publishes, one line each; every refresh compares it."""

    def __init__(
        self,
        resource_name: str,
        *,
        opts: pulumi.ResourceOptions | None = None,
        **inputs: Unpack[PublicationInputs],
    ) -> None:
        props = properties(PublicationInputs, inputs, Publication)
        super().__init__(PublicationProvider(), resource_name, props, opts)
