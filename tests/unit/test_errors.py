"""Every message is one line, whatever the words of others are that it quotes."""

from __future__ import annotations

import pytest

from bluegreen.errors import CloneAgain, Refused, Retry, StayFenced, Unreachable
from bluegreen.finding import Finding, Level

_LIBPQ = (
    "server closed the connection unexpectedly\n"
    "\tThis probably means the server terminated abnormally\n"
    "\tbefore or while processing the request.\n"
)


@pytest.mark.parametrize("kind", [Refused, Retry, Unreachable, CloneAgain, StayFenced])
def test_words_of_others_do_not_break_a_line(kind: type[Exception]) -> None:
    assert str(kind(f"orders-1: {_LIBPQ}; try again")) == (
        "orders-1: server closed the connection unexpectedly This probably means the server "
        "terminated abnormally before or while processing the request. ; try again"
    )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_no_kind_of_line_break_is_left(end: str) -> None:
    finding = Finding(Level.BLOCK, f"table a{end}b", f"found{end}c", f"DROP TABLE d{end}")
    assert str(Refused(f"a{end}b")).splitlines() == ["a b"]
    assert finding.line().splitlines() == ["table a b: found c; DROP TABLE d"]


def test_spaces_within_a_line_are_a_names_own() -> None:
    assert str(Refused('table "a  b": gone')) == 'table "a  b": gone'
