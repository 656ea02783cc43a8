"""The schema zoo: published whole, and each of its tables changed while it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.postgres.binaries import MAJORS
from tests.fixtures.databases import Database
from tests.fixtures.zoo import make_zoo, write_zoo, zoo_contents


@pytest.fixture(params=MAJORS)
def database(request: pytest.FixtureRequest, make_database: Callable[..., Database]) -> Database:
    """Return an empty database on each server that there is."""
    return make_database(request.param)


def test_a_round_changes_every_table(database: Database) -> None:
    with database.connect() as conn:
        make_zoo(conn)
        before = zoo_contents(conn)
        write_zoo(conn, 1, keyless=True)
        after = zoo_contents(conn)
        assert before.keys() == after.keys()
        assert [name for name in before if before[name] == after[name]] == []
        write_zoo(conn, 2, keyless=True, truncate=True)
        assert [name for name, digest in zoo_contents(conn).items() if digest == after[name]] == []


def test_two_zoos_are_equal_when_the_same_was_written(
    database: Database, make_database: Callable[..., Database]
) -> None:
    other = make_database(database.lab.major)
    with database.connect() as conn, other.connect() as parted:
        make_zoo(conn)
        make_zoo(parted, parted=True)
        for number in (1, 2):
            for one in (conn, parted):
                write_zoo(one, number, keyless=True)
        assert zoo_contents(conn) == zoo_contents(parted)
        conn.execute("UPDATE zoo.one_column SET id = id + 5 WHERE id = 3")
        assert zoo_contents(conn) != zoo_contents(parted)
