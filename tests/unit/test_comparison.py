"""Two fingerprints are alike when they say the same, in whichever major's words."""

from __future__ import annotations

import pytest

from bluegreen.switch.readiness import fixes
from bluegreen.switch.readiness.comparison import differences, plain
from bluegreen.switch.readiness.fingerprint import Fact, Fingerprint


def _side(major: int, *facts: Fact) -> Fingerprint:
    return Fingerprint(major, {(one.kind, one.name): one for one in facts})


def _check(definition: str) -> Fact:
    return Fact("constraint", "c on public.t", "relation public.t", "", definition)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param(
            "CHECK (((a)::text = ANY ((ARRAY['x'::character varying, 'y'])::text[])))",
            "CHECK ((a)::text = ANY (ARRAY[('x'::character varying)::text, ('y')::text]))",
            True,
            id="casts",
        ),
        pytest.param("SELECT t.a\n FROM s.t", "SELECT a FROM s.t", True, id="qualifiers"),
        pytest.param("CHECK (a <> 'x::int (y)')", "CHECK (a <> 'x (y)')", False, id="literals"),
        pytest.param("CHECK (a > 1)", "CHECK (a > 2)", False, id="values"),
        pytest.param("CHECK (a > 1)", "CHECK (b > 1)", False, id="columns"),
    ],
)
def test_majors_may_spell_it_differently_and_one_major_may_not(
    one: str, other: str, alike: bool
) -> None:
    assert (plain(one) == plain(other)) is alike
    assert (differences(_side(16, _check(one)), _side(18, _check(other))) == []) is alike
    assert differences(_side(16, _check(one)), _side(16, _check(other))) != []


def test_a_part_of_what_is_missing_is_not_named() -> None:
    table = Fact("relation", "public.t", "schema public", "", "table")
    column = Fact("column", "public.t.a", "relation public.t", "", "integer")
    default = Fact("default", "public.t.a", "column public.t.a", "relation public.t", "1")
    found = differences(_side(16, default, column, table), _side(16))
    assert [one.fact for one in found] == [table]


@pytest.mark.parametrize(("major", "count"), [(16, 0), (17, 1)])
def test_what_an_older_major_can_not_grant_is_no_difference(major: int, count: int) -> None:
    name, whole = "app on TABLE public.t", "relation public.t"
    older = _side(major, Fact("privilege", name, whole, "role app", "INSERT, SELECT"))
    newer = _side(18, Fact("privilege", name, whole, "role app", "INSERT, MAINTAIN, SELECT"))
    assert len(differences(older, newer)) == count


def test_a_roles_remedy_names_only_what_differs() -> None:
    """On Aurora the mere word REPLICATION, SUPERUSER or BYPASSRLS is refused."""
    attributes = "NOSUPERUSER {} NOREPLICATION NOBYPASSRLS VALID UNTIL '{}'"

    def role(*values: str) -> Fingerprint:
        return _side(16, Fact("role attributes", "app", "role app", "", attributes.format(*values)))

    found = differences(role("CREATEDB", "2030-01-01"), role("NOCREATEDB", "infinity"))
    assert [fixes.statement(one) for one in found] == [
        "ALTER ROLE app CREATEDB VALID UNTIL '2030-01-01'"
    ]
