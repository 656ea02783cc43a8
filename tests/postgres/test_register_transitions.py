"""The register's functions make the changes of the model, from every state, and no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from bluegreen import names
from bluegreen.errors import Refused
from bluegreen.lsn import Lsn
from bluegreen.register import register
from bluegreen.register.register import AttemptState, Opening
from tests.fixtures.postgres import MakeServer
from tests.model.world import OPENING_CHANGES, REGISTER_CHANGES, UNKNOWN, UNREGISTERED

Connection = psycopg.Connection[tuple[Any, ...]]

NAME = "attempt"
MARK = Lsn.parse("0/10")


@pytest.fixture(scope="module")
def tool(shared_server: MakeServer) -> Iterator[Connection]:
    server = shared_server(18)
    with server.connect() as conn:
        conn.execute(f"CREATE DATABASE {names.TOOL_DATABASE}")
    with server.connect(names.TOOL_DATABASE) as conn:
        register.ensure_tables(conn)
        yield conn


def begin(conn: Connection) -> None:
    register.begin(conn, NAME, "other", seconds=60)


def decide(conn: Connection) -> None:
    with conn.transaction():
        xid = conn.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
    assert xid is not None
    register.decide(conn, NAME, [xid[0]], [], MARK)


def abort(conn: Connection) -> None:
    register.abort(conn, NAME)


def finish(conn: Connection) -> None:
    register.finish(conn, NAME, 0)


def go_back(conn: Connection) -> None:
    register.go_back(conn, NAME)


def give_up(conn: Connection) -> None:
    register.give_up_opening(conn, NAME)


def expect(conn: Connection) -> None:
    register.expect_opening(conn, NAME)


def open_it(conn: Connection) -> None:
    conn.execute("SELECT bluegreen.open_environment(%s, %s, '{}')", (NAME, str(MARK)))


REGISTER: dict[str, Callable[[Connection], None]] = {
    "begin": begin,
    "decide": decide,
    "abort": abort,
    "finish": finish,
    "go back": go_back,
}
OPENING: dict[str, Callable[[Connection], None]] = {
    "expect": expect,
    "open": open_it,
    "give up": give_up,
}


@pytest.mark.parametrize("state", [UNREGISTERED, *AttemptState])
@pytest.mark.parametrize("command", REGISTER)
def test_each_command_changes_the_register_as_the_model_says(
    tool: Connection, command: str, state: str
) -> None:
    tool.execute("DELETE FROM bluegreen.opening; DELETE FROM bluegreen.register")
    if state:
        tool.execute(
            "INSERT INTO bluegreen.register (attempt, state, new_writer, deadline)"
            " VALUES (%s, %s, 'other', now())",
            (NAME, state),
        )
    expected = REGISTER_CHANGES[command][1] if REGISTER_CHANGES[command][0] == state else state
    _try(REGISTER[command], tool)
    assert _state(tool, "register") == expected


@pytest.mark.parametrize("state", [UNKNOWN, *Opening])
@pytest.mark.parametrize("command", OPENING)
def test_each_command_changes_the_opening_as_the_model_says(
    tool: Connection, command: str, state: str
) -> None:
    tool.execute("DELETE FROM bluegreen.opening; DELETE FROM bluegreen.register")
    if state:
        tool.execute(
            "INSERT INTO bluegreen.opening (attempt, state) VALUES (%s, %s)", (NAME, state)
        )
    expected = OPENING_CHANGES[command][1] if OPENING_CHANGES[command][0] == state else state
    _try(OPENING[command], tool)
    assert _state(tool, "opening") == expected


def test_every_change_of_the_model_has_its_command() -> None:
    assert set(REGISTER) == set(REGISTER_CHANGES)
    assert set(OPENING) == set(OPENING_CHANGES)


def _try(command: Callable[[Connection], None], conn: Connection) -> None:
    """Run a command that may refuse; a row that is there already is one way to refuse."""
    with contextlib.suppress(psycopg.errors.UniqueViolation, Refused):
        command(conn)


def _state(conn: Connection, table: str) -> str:
    query = {
        "register": "SELECT state FROM bluegreen.register",
        "opening": "SELECT state FROM bluegreen.opening",
    }
    row = conn.execute(query[table]).fetchone()
    return str(row[0]) if row else ""
