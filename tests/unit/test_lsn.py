"""LSNs compare as positions and keep PostgreSQL's spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bluegreen.errors import Refused
from bluegreen.lsn import Lsn


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_text_and_position_are_the_same(position: int) -> None:
    assert Lsn.parse(str(Lsn(position))) == position


def test_order_is_that_of_positions_not_of_text() -> None:
    assert Lsn.parse("0/9") < Lsn.parse("0/10") < Lsn.parse("1/0")


@pytest.mark.parametrize("text", ["", "0", "0/", "0x1/2", "g/1", "0/123456789", "0/1 "])
def test_anything_else_is_refused_by_what_it_is(text: str) -> None:
    with pytest.raises(Refused, match="LSN: got"):
        Lsn.parse(text)
