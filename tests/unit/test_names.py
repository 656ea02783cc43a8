"""Names fit the server's 63 bytes, hold only slot characters, and never collide."""

import re

from hypothesis import given
from hypothesis import strategies as st

from bluegreen import names
from bluegreen.names import Direction


def test_plain_names_stay_readable() -> None:
    deployment = names.deployment_name("green")
    assert names.publication(deployment, Direction.FORWARD) == "bg_green_forward"
    assert names.slot(deployment, Direction.REVERSE, "orders") == "bg_green_reverse_orders"


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(Direction))
def test_any_name_becomes_a_valid_slot_name(stack: str, database: str, way: Direction) -> None:
    slot = names.slot(names.deployment_name(stack), way, database)
    assert re.fullmatch(r"[a-z0-9_]{1,63}", slot)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=20, unique=True))
def test_different_databases_have_different_slots(databases: list[str]) -> None:
    slots = {names.slot("green", Direction.FORWARD, database) for database in databases}
    assert len(slots) == len(databases)


def test_databases_that_differ_only_in_case_or_quotes_keep_apart() -> None:
    slots = {names.slot("g", Direction.FORWARD, d) for d in ("Sales", "sales", 'sa"les', "sa les")}
    assert len(slots) == 4
