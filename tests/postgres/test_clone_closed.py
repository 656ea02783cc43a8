"""A fresh clone is closed as an old side is: who may write there, and who may not log in."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from bluegreen.names import TOOL_DATABASE
from tests.fixtures.fresh_clone import DATABASE, Seam
from tests.fixtures.postgres import MASTER, PASSWORD
from tests.fixtures.provider_host import ProviderHost
from tests.postgres.test_clone_origin_cells import host as host
from tests.postgres.test_clone_origin_cells import props as props


def test_who_may_write_has_no_session_on_the_clone_and_gets_none_until_it_is_opened(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    """The read-only default alone is passed by who says READ WRITE."""
    _make_roles(seam, "app", "reader")
    with _login(seam, "app") as early:
        host.create(props | {"roles": {"spare_roles": ["reader"]}})
        with pytest.raises(psycopg.OperationalError):
            early.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        _login(seam, "app")
    for name in ("reader", MASTER):
        _login(seam, name).close()
    with seam.clone_server.connect(TOOL_DATABASE) as conn:
        conn.execute("INSERT INTO bluegreen.opening (attempt, state) VALUES ('one', 'closed')")
        conn.execute("SELECT bluegreen.open_environment('one', '0/1', %s)", ([DATABASE],))
    _login(seam, "app").close()


def test_a_clone_that_is_to_be_readable_takes_logins(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    _make_roles(seam, "app")
    host.create(props | {"roles": {"old_side": "readable"}})
    with _login(seam, "app") as conn:
        assert conn.execute("SHOW transaction_read_only").fetchone() == ("on",)


def _make_roles(seam: Seam, *roles: str) -> None:
    with seam.connect() as conn:
        for name in roles:
            conn.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
            conn.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(name), sql.Literal(PASSWORD)
                )
            )


def _login(seam: Seam, user: str) -> psycopg.Connection[Any]:
    return seam.lab.connect(DATABASE, user=user, password=PASSWORD)
