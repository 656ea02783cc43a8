"""What replication sends in part or not at all, as each version of the server itself says it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bluegreen.errors import Refused
from bluegreen.postgres.publications import Publication
from bluegreen.replication.publication import replica_identity
from bluegreen.replication.publication.publishing import require_publishable
from bluegreen.switch.readiness import left_behind
from tests.fixtures.databases import Connection, Database, soon
from tests.fixtures.postgres import EVERY_MAJOR

TABLES = """
CREATE TABLE whole (id int PRIMARY KEY, v text);
CREATE TABLE "Some.rows" (id int PRIMARY KEY, v text);
CREATE TABLE scratch (a int);
CREATE TABLE part (k int PRIMARY KEY) PARTITION BY RANGE (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE UNLOGGED TABLE fleeting (id int)
"""
IDENTITIES = """
CREATE TYPE pair AS (a int, j json);
CREATE DOMAIN place AS point;
CREATE TABLE listed (a json[]);
CREATE TABLE composed (a pair);
CREATE TABLE placed (a place, b xml);
CREATE TABLE plain (a int[], b varchar(9), c cidr, d regclass, e jsonb, f int4range);
CREATE TABLE keyed (id int PRIMARY KEY, a json)
"""


@pytest.fixture(params=EVERY_MAJOR)
def conn(
    request: pytest.FixtureRequest, make_database: Callable[..., Database]
) -> Iterator[Connection]:
    """Return a superuser's connection to an empty database of each major."""
    with make_database(request.param).connect() as made:
        yield made


def test_roots_lists_and_filters_are_seen_as_the_server_sees_them(conn: Connection) -> None:
    conn.execute(TABLES)
    names = 'whole, part, "Some.rows"'
    conn.execute(f"CREATE PUBLICATION plain FOR TABLE {names}")
    assert left_behind.in_part(conn, "plain") == {("public", "scratch"): "not published"}
    conn.execute("ALTER PUBLICATION plain SET (publish_via_partition_root = true)")
    assert left_behind.in_part(conn, "plain") == {("public", "scratch"): "not published"}
    if conn.info.server_version < 150000:
        return
    conn.execute(
        'ALTER PUBLICATION plain SET TABLE whole (id), part WHERE (k > 5), "Some.rows" (id, v)'
    )
    assert left_behind.in_part(conn, "plain") == {
        ("public", "scratch"): "not published",
        ("public", "whole"): "without column v",
        ("public", "part_1"): "a row filter",
    }


def test_a_full_identity_over_types_without_equality_is_refused_by_name(conn: Connection) -> None:
    """The apply would stop at the first UPDATE; a primary key lets it find the row all the same."""
    conn.execute(IDENTITIES)
    names = ("listed", "composed", "placed", "plain", "keyed")
    declared = {f"public.{name}": "full" for name in names}
    want = Publication("bg_incomparable", all_tables=True)
    with pytest.raises(Refused) as error:
        require_publishable(conn, want, declared, deadline=soon())
    said = str(error.value)
    assert "public.listed (its identity is full, but a json[] has no equality)" in said
    assert "public.composed (its identity is full, but a pair has no equality)" in said
    assert "public.placed (its identity is full, but a place, b xml has no equality)" in said
    assert "plain" not in said
    assert "keyed" not in said
    found = replica_identity.resolve(conn, {"public.plain": "full"})
    assert found["public", "plain"][0].incomparable is None
