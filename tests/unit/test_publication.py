"""Publications without a server: what is built, what is refused, what differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bluegreen.errors import Refused
from bluegreen.postgres.publications import Publication, PublishedTable
from bluegreen.replication.publication.definition import difference, statements
from bluegreen.replication.publication.scope import from_scope, to_scope
from tests.fixtures.zoo import ODD

ALL = Publication("bg", all_tables=True)
ODD_TABLE = PublishedTable(ODD, 'a"b', frozenset({"i d"}), '"i d" > 0')
LIST = Publication("bg", all_tables=False, tables=frozenset({ODD_TABLE}))
SCHEMA = Publication("bg", all_tables=False, schemas=frozenset({"s"}))
OPTIONS = "publish = 'delete, insert, truncate, update', publish_via_partition_root = false"
LISTED = '"Zoo ""odd"". %s {}"."a""b" ("i d") WHERE ("i d" > 0)'


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        pytest.param(
            None, ALL, [f'CREATE PUBLICATION "bg" FOR ALL TABLES WITH ({OPTIONS})'], id="all"
        ),
        pytest.param(
            None, LIST, [f'CREATE PUBLICATION "bg" FOR TABLE {LISTED} WITH ({OPTIONS})'], id="odd"
        ),
        pytest.param(ALL, ALL, [], id="no-change"),
        pytest.param(
            LIST, SCHEMA, ['ALTER PUBLICATION "bg" SET TABLES IN SCHEMA "s"'], id="schema"
        ),
        pytest.param(
            ALL,
            replace(ALL, operations=frozenset({"insert", "update"})),
            [
                "ALTER PUBLICATION \"bg\" SET (publish = 'insert, update', "
                "publish_via_partition_root = false)"
            ],
            id="operations",
        ),
        pytest.param(
            replace(ALL, generated=True),
            ALL,
            ['ALTER PUBLICATION "bg" SET (publish_generated_columns = none)'],
            id="generated-columns-by-hand",
        ),
    ],
)
def test_statements_are_exactly_the_difference(
    have: Publication | None, want: Publication, expected: list[str]
) -> None:
    assert [one.as_string() for one in statements(have, want)] == expected


@pytest.mark.parametrize(
    ("have", "want", "said"),
    [
        (ALL, LIST, "can't change between all tables and a choice of them"),
        (LIST, ALL, "can't change between all tables and a choice of them"),
        (ALL, replace(ALL, via_root=True), "can't change publish_via_partition_root"),
    ],
)
def test_what_only_a_drop_could_change_is_refused(
    have: Publication, want: Publication, said: str
) -> None:
    with pytest.raises(Refused, match=f"publication 'bg': {said}"):
        statements(have, want)


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({}, "scope.kind: got None, expected all, schemas or tables"),
        ({"kind": "some"}, "scope.kind: got 'some', expected"),
        ({"kind": "all", "tables": []}, "not allowed with kind all; allowed: kind, oper"),
        ({"kind": "tables"}, "scope.tables: is empty"),
        ({"kind": "schemas", "schemas": []}, "scope.schemas: is empty"),
        ({"kind": "tables", "tables": [{"name": "t"}]}, "expected schema and name"),
        (
            {"kind": "tables", "tables": [{"schema": "s", "name": "t", "column": ["a"]}]},
            "expected schema and name, and perhaps columns and where",
        ),
        (
            {
                "kind": "tables",
                "tables": [{"schema": "s", "name": "t"}, {"schema": "s", "name": "t"}],
            },
            "s.t is named twice",
        ),
        ({"kind": "all", "operations": ["upsert"]}, "scope.operations: got upsert, expected"),
        ({"kind": "all", "operations": ["insert"]}, "insert and update carry the heartbeat"),
    ],
)
def test_a_scope_of_another_shape_is_refused_by_key(scope: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as raised:
        from_scope("bg", scope)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "scope",
    [
        {"kind": "all"},
        {"kind": "all", "operations": ["insert", "update"], "publish_via_partition_root": True},
        {"kind": "schemas", "schemas": ["a", "b"]},
        {"kind": "schemas", "schemas": ["a"], "tables": [{"schema": "s", "name": "t"}]},
        {
            "kind": "tables",
            "tables": [
                {"schema": "s", "name": "t", "columns": ["a", "b"], "where": "a > 0"},
                {"schema": ODD, "name": 'a"b'},
            ],
        },
    ],
)
def test_what_is_wished_is_read_back_in_the_same_words(scope: dict[str, Any]) -> None:
    wanted = from_scope("bg", scope)
    tables = scope.get("tables", [])
    assert to_scope(wanted) == scope | (
        {"tables": sorted(tables, key=lambda one: (one["schema"], one["name"]))} if tables else {}
    )


def test_a_publication_without_heartbeat_is_told_from_every_wish() -> None:
    assert to_scope(LIST)["missing"] == ["bluegreen.heartbeat"]


def test_a_difference_names_both_sides_and_not_what_they_share() -> None:
    more = replace(LIST, tables=LIST.tables | {PublishedTable("s", "extra")})
    assert difference(more, LIST) == 'has "s"."extra", expected nothing else'
