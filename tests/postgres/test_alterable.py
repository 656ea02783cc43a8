"""What the administrator may alter: tried, and nothing of it stays."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import sql

from bluegreen.register import alterable
from tests.fixtures.postgres import EVERY_MAJOR, MakeServer

_ADMIN = "plain admin"
_MADE = """\
CREATE ROLE "plain admin" LOGIN CREATEROLE CREATEDB PASSWORD 'x';
CREATE ROLE "another's" LOGIN; CREATE ROLE mighty LOGIN SUPERUSER; CREATE ROLE "other owner";
SET ROLE "plain admin"; CREATE ROLE "App User" LOGIN; RESET ROLE"""


@pytest.mark.parametrize("major", EVERY_MAJOR)
def test_what_is_refused_is_named_and_nothing_changes(major: int, make_server: MakeServer) -> None:
    server = make_server(major, "alterable")
    with server.as_superuser() as conn:
        conn.execute(_MADE)
        for name, owner in (("odd %I 'name", _ADMIN), ("theirs", "other owner")):
            conn.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(owner)
                )
            )
    names = ["App User", "another's", "mighty", "gone"]
    with server.connect("theirs", user=_ADMIN, password="x") as conn:
        before = conn.execute(_STATE).fetchall()
        roles = alterable.denied_roles(conn, names)
        databases = [str(one) for one in alterable.denied_databases(conn)]
        assert conn.execute(_STATE).fetchall() == before
        assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)
    with server.as_superuser("theirs") as conn:
        conn.execute("DROP EXTENSION plpgsql")
    with server.connect("theirs", user=_ADMIN, password="x") as conn:
        assert alterable.denied_roles(conn, names) == roles
        assert [str(one) for one in alterable.denied_databases(conn)] == databases
        assert conn.execute(_STATE).fetchall() == before
        assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)
    # Before 16 CREATEROLE was enough.
    assert list(roles) == (["another's", "mighty"] if major >= 16 else ["mighty"])
    assert all(said.startswith(("permission denied", "must be")) for said in roles.values())
    assert "theirs of other owner" in databases
    assert not any("odd" in one or "template" in one for one in databases)


_STATE = """\
SELECT r::text FROM pg_roles r UNION ALL SELECT s::text FROM pg_db_role_setting s ORDER BY 1"""


def test_somebody_elses_alteration_is_no_denial(make_server: MakeServer) -> None:
    server = make_server(18, "alterable")
    with server.connect() as conn, server.connect() as other:
        conn.execute("CREATE ROLE app LOGIN")
        other.autocommit = False
        other.execute("ALTER ROLE app CONNECTION LIMIT 7")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            alterable.denied_roles(conn, ["app"])
        other.rollback()
        assert alterable.denied_roles(conn, ["app"]) == {}
