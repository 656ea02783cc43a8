"""The rules can fail: each finds what it is there to find."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.chaos import checker
from tests.chaos.clients import Commit
from tests.fixtures.postgres import MakeServer

OLD, NEW = 0, 1


def _commit(side: int, sent: int, done: int) -> Commit:
    return Commit(client=0, side=side, n=1, sent_ns=sent, done_ns=done)


def test_a_commit_on_the_old_side_after_one_on_the_new_is_found() -> None:
    commits = [_commit(OLD, 0, 1), _commit(NEW, 2, 3), _commit(OLD, 4, 5)]
    (found,) = checker.both_open(commits, new=NEW)
    assert "sent_ns=4" in found


def test_a_writer_that_moved_is_nothing_wrong() -> None:
    commits = [_commit(OLD, 0, 1), _commit(OLD, 1, 4), _commit(NEW, 2, 3), _commit(NEW, 5, 6)]
    assert checker.both_open(commits, new=NEW) == []


@pytest.fixture
def ledger(shared_server: MakeServer) -> Iterator[psycopg.Connection[Any]]:
    """Return a session with ten keys of one client, made within a transaction that is undone."""
    with shared_server(18).connect() as conn:
        conn.execute("BEGIN")
        conn.execute(
            "CREATE TABLE ledger (client int, n bigint, id bigint, down bigint);"
            "CREATE TABLE counter (client int, value bigint);"
            "INSERT INTO ledger SELECT 7, n, n, -n FROM generate_series(1, 10) n;"
            "INSERT INTO counter VALUES (7, 10)"
        )
        yield conn
        conn.execute("ROLLBACK")


def test_ten_keys_in_order_are_all_right(ledger: psycopg.Connection[Any]) -> None:
    assert checker.missing(ledger, {7: 10}, {}) == ([], {7: 10})
    assert checker.missing(ledger, {7: 10}, {7: 4}) == ([], {7: 10})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("DELETE FROM ledger WHERE n = 5", "1 keys missing"),
        ("DELETE FROM ledger WHERE n = 10", "10 was acknowledged, 9 is the last"),
        ("UPDATE ledger SET id = 4 WHERE n = 6", "out of order"),
        ("UPDATE counter SET value = 9", "reordered"),
        ("DELETE FROM ledger", "are gone"),
    ],
)
def test_what_is_lost_or_out_of_order_is_found(
    ledger: psycopg.Connection[Any], harm: Any, said: str
) -> None:
    ledger.execute(harm)
    found, _ = checker.missing(ledger, {7: 10}, {})
    assert any(said in one for one in found), found
