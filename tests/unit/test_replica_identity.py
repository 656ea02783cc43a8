"""Replica identities without a server: names to and fro, and what writes would break."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen.errors import Refused
from bluegreen.postgres.table_names import shown, table_name
from bluegreen.replication.publication.replica_identity import (
    Identity,
    TableIdentity,
    problem,
    require_none,
    statement,
)
from settings import PublishedTable

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
KEY = {"name": "t_pkey", "columns": ["id"], "primary": True, "chosen": False, "flaw": None}
TABLE = TableIdentity(
    schema="s",
    name="t",
    relkind="r",
    letter="d",
    indexes=[KEY],
    columns=["id", "v", "g"],
    generated=None,
    incomparable=None,
    full_needs_generated=True,
    listed=None,
    filtered=None,
)
FULL = Identity("full")


@given(NAMES, NAMES)
def test_every_name_is_read_back(schema: str, name: str) -> None:
    assert table_name(shown((schema, name))) == (schema, name)


@given(NAMES, NAMES)
def test_the_settings_take_every_name_that_is_shown(schema: str, name: str) -> None:
    assert PublishedTable(table=shown((schema, name))).table == shown((schema, name))


@pytest.mark.parametrize("text", ["orders", "a.b.c", ".b", "a.", 'a."b', 'a.b"c', '"a"b.c', ""])
def test_a_name_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(Refused, match=r"expected schema\.table"):
        table_name(text)


def _index(**different: Any) -> TableIdentity:
    return replace(TABLE, indexes=[KEY | different])


@pytest.mark.parametrize(
    ("table", "identity", "why"),
    [
        (TABLE, TABLE.identity, None),
        (replace(TABLE, indexes=[]), TABLE.identity, "has no replica identity"),
        (_index(flaw="deferrable"), TABLE.identity, "has no replica identity"),
        (TABLE, Identity("nothing"), "has no replica identity"),
        (TABLE, Identity("index", "gone"), "has no replica identity"),
        (TABLE, Identity("index", "t_pkey"), None),
        (TABLE, FULL, None),
        (
            replace(TABLE, listed=["id", "v", "g"]),
            FULL,
            "its identity is full, which no column list goes with",
        ),
        (
            replace(TABLE, generated=["g"]),
            FULL,
            "its identity is full, but generated g can't be sent",
        ),
        (replace(TABLE, generated=["g"], full_needs_generated=False), FULL, None),
        (
            replace(TABLE, incomparable=["v json"], indexes=[]),
            FULL,
            "its identity is full, but v json has no equality",
        ),
        (replace(TABLE, incomparable=["v json"]), FULL, None),
        (replace(TABLE, incomparable=["v json"]), Identity("default"), None),
        (
            replace(TABLE, generated=["id"]),
            TABLE.identity,
            "its identity has the generated id, which can't be sent",
        ),
        (
            replace(TABLE, listed=["v"]),
            TABLE.identity,
            "the column list leaves out id of its identity",
        ),
        (
            replace(TABLE, listed=["id", "g"], generated=["g"]),
            TABLE.identity,
            "the column list has the generated g",
        ),
        (
            replace(TABLE, filtered=["v"]),
            TABLE.identity,
            "the row filter uses v, which its identity lacks",
        ),
        (replace(TABLE, filtered=["v"]), FULL, None),
    ],
)
def test_what_would_break_the_writes(
    table: TableIdentity, identity: Identity, why: str | None
) -> None:
    assert problem(table, identity) == why


def test_the_refusal_names_the_tables_and_the_three_remedies() -> None:
    problems = {("s", f"t{n}"): "has no replica identity" for n in range(22)}
    with pytest.raises(Refused) as raised:
        require_none("bg", problems)
    line = str(raised.value)
    assert "s.t0 (has no replica identity), s.t1 (" in line
    assert "and 2 more" in line
    assert "give each a primary key" in line
    assert '"full"} or "index NAME"' in line
    assert "or publish a list without it" in line


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (FULL, 'ALTER TABLE "s"."a""b" REPLICA IDENTITY FULL'),
        (Identity("index", "i.x"), 'ALTER TABLE "s"."a""b" REPLICA IDENTITY USING INDEX "i.x"'),
        (Identity("default"), 'ALTER TABLE "s"."a""b" REPLICA IDENTITY DEFAULT'),
        (Identity("nothing"), 'ALTER TABLE "s"."a""b" REPLICA IDENTITY NOTHING'),
    ],
)
def test_statements(identity: Identity, text: str) -> None:
    assert statement(("s", 'a"b'), identity).as_string() == text
    assert Identity.parse(str(identity)) == identity
