"""What of the sequences is decided without a server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bluegreen.replication.sequences import Value, changed, chunks

VALUES = st.dictionaries(st.text(max_size=3), st.builds(Value, st.integers(), st.booleans()))


@given(VALUES, VALUES)
def test_what_changed_brings_the_other_side_to_the_same_values(
    values: dict[str, Value], known: dict[str, Value]
) -> None:
    after = known | changed(values, known)
    assert {name: after[name] for name in values} == values


@given(VALUES)
def test_nothing_changed_is_nothing_to_write(values: dict[str, Value]) -> None:
    assert changed(values, values) == {}


@given(st.lists(st.integers()), st.integers(1, 5))
def test_chunks_are_all_in_order_and_none_is_too_long(items: list[int], size: int) -> None:
    parts = list(chunks(items, size))
    assert [one for part in parts for one in part] == items
    assert all(0 < len(part) <= size for part in parts)
