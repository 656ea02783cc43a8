"""A role or a database may carry any setting; the tool's own sessions work all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql

from bluegreen.switch.switchover import switch
from dynamic_providers.provider import one_line
from tests.fixtures.databases import Database
from tests.fixtures.postgres import MASTER
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.switchable import Switchable

_SETTINGS = """\
SELECT name, vartype, boot_val, enumvals, min_val::numeric, max_val::numeric
  FROM pg_settings WHERE context IN ('user', 'superuser') ORDER BY name"""

_WORDS = {
    "client_encoding": "LATIN1",
    "DateStyle": "SQL, DMY",
    "TimeZone": "Pacific/Kiritimati",
    "search_path": "nowhere",
    "default_tablespace": "",
    "role": "someone",
    "plpgsql.extra_errors": "all",
}
# Not about what a session is told, or nobody could log in with it at all.
_LEFT_ALONE = {
    "transaction_isolation",
    "transaction_read_only",
    "transaction_deferrable",
    "zero_damaged_pages",
    "ignore_checksum_failure",
    "ignore_system_indexes",
    "allow_system_table_mods",
    "jit_debugging_support",
    "jit_profiling_support",
    "post_auth_delay",
    "pre_auth_delay",
    "temp_buffers",
    "is_superuser",
    "vacuum_buffer_usage_limit",
}


def _hostile(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """Return for each setting a value as far from its own as it may be."""
    found = dict(_WORDS)
    for name, kind, usual, choices, least, most in conn.execute(_SETTINGS):
        if name in _LEFT_ALONE or name in found:
            continue
        if kind == "bool":
            found[name] = "off" if usual == "on" else "on"
        elif kind == "enum":
            found[name] = next((one for one in reversed(choices) if one != usual), usual)
        elif kind in ("integer", "real"):
            found[name] = str(1 if least < 1 < most else least)
    return found


# What an apply worker of the tool's subscription would fail at: that is no session of the tool's.
_APPLY = {"transaction_timeout"}


def _set(conn: psycopg.Connection[Any], settings: dict[str, str]) -> None:
    for name, value in settings.items():
        conn.execute(
            sql.SQL("ALTER ROLE {} SET {} = {}").format(
                sql.Identifier(MASTER), sql.SQL(name), sql.Literal(value)
            )
        )


@pytest.mark.long
def test_a_switch_does_not_care_what_its_role_is_set_to(ordinary: Switchable) -> None:
    """Every setting of the version that a role can carry, all at once, on both sides."""
    world, pair = ordinary, ordinary.pair
    for lab, spared in ((pair.source_lab, set[str]()), (pair.target_lab, _APPLY)):
        with lab.connect() as conn:
            conn.execute(f"CREATE ROLE someone; GRANT someone TO {MASTER}")
            hostile = _hostile(conn)
            assert len(hostile) > 100
            _set(conn, {name: to for name, to in hostile.items() if name not in spared})
    switch(world.cutover())
    assert world.open_sides() == [pair.target.cluster]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_names_and_messages_in_any_encoding(
    make_database: Callable[..., Database], placed: PlacedClusters, encoding: str
) -> None:
    """Names are text, and what can't be read as UTF-8 is an error of one line, no traceback."""
    database = make_database(18)
    name = sql.Identifier(database.name)
    with database.lab.connect() as conn:
        conn.execute(sql.SQL("DROP DATABASE {}").format(name))
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'").format(
                name, sql.Literal(encoding)
            )
        )
    with database.place(placed).connect(database.name) as conn:
        conn.execute('CREATE TABLE public."größe" (n int PRIMARY KEY)')
        found = conn.execute("SELECT relname FROM pg_class WHERE relname ~ '^gr'").fetchall()
        assert ("größe",) in found
        with pytest.raises(psycopg.errors.UndefinedTable) as told:
            conn.execute('SELECT FROM "größer"')
        assert "größer" in one_line(told.value)
        assert f"database '{database.name}' on orders-1" in one_line(told.value)

    if encoding == "SQL_ASCII":  # which takes any bytes, from clients that say nothing of theirs
        with database.lab.connect(database.name) as conn:
            conn.execute("SET client_encoding = 'SQL_ASCII'")
            conn.execute(b'CREATE TABLE public."wei\xdf" (n int)')
        with (
            database.place(placed, "orders-2").connect(database.name) as conn,
            pytest.raises(psycopg.errors.CharacterNotInRepertoire) as unread,
        ):
            conn.execute("SELECT relname FROM pg_class WHERE relname ~ '^wei'")
        assert "\n" not in one_line(unread.value)
