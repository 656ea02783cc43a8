"""Connection strings: whatever is in them comes out of libpq's own parser as it went in."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from psycopg import conninfo, sql

from bluegreen.postgres import server as server_module
from bluegreen.postgres.server import Credentials, Server

SERVER = Server("orders", "eu-west-1", "db.example", 5432, Credentials("admin", "repl"))

# The server knows no NUL in any text.
_TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=63)


@given(user=_TEXT, password=_TEXT, database=_TEXT)
def test_every_user_password_and_database_survives(user: str, password: str, database: str) -> None:
    with patch.object(server_module, "secret_login", return_value=(user, password)):
        text = SERVER.conninfo(database, "replication", application_name="bg")
    found = conninfo.conninfo_to_dict(text)
    assert (found["user"], found["password"], found["dbname"]) == (user, password, database)
    assert found["sslmode"] == "verify-full"


@given(text=_TEXT)
def test_a_literal_holds_a_whole_connection_string(text: str) -> None:
    """As CREATE SUBSCRIPTION takes it: one literal, whatever is inside."""
    literal = sql.Literal(text).as_string().strip()
    assert literal.startswith(("'", "E'", "e'"))
    assert literal.endswith("'")
    body = literal[literal.index("'") + 1 : -1]
    assert body.replace("''", "").count("'") == 0
