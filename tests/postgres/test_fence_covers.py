"""The fence closes what it should, is never up without its fuse, and comes off everywhere."""

from __future__ import annotations

import psycopg
import pytest

from bluegreen.errors import Refused, Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import register
from bluegreen.switch import fence
from bluegreen.switch.server_fuse import ServerFuse
from bluegreen.switch.switchover import switch
from tests.fixtures.postgres import PASSWORD
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import APP, Switchable

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


def _quiet(text: str) -> None:
    """Take what the switch reports."""


def test_an_abort_ends_what_was_born_under_the_fence_in_every_database(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed or not: a pool of another application would stay read-only for ever."""
    world, lab = switchable, switchable.pair.source_lab
    with lab.connect() as conn:
        conn.execute("CREATE DATABASE metrics")
    under: list[psycopg.Connection[tuple[object, ...]]] = []

    class Failed(Exception):
        """What fails behind the fence."""

    def fence_and_fail(*args: object, **kwargs: object) -> None:
        put_up(*args, **kwargs)  # type: ignore[arg-type]
        under.append(lab.connect("metrics", user=APP, password=PASSWORD))
        raise Failed

    put_up = fence.put_up
    monkeypatch.setattr(fence, "put_up", fence_and_fail)
    with pytest.raises(Failed):
        switch(world.cutover(fence="read-only"), _quiet)
    (born_read_only,) = under
    with pytest.raises(psycopg.OperationalError, match="terminating"):
        born_read_only.execute("SELECT 1")
    assert world.open_sides() == [world.pair.source.cluster]


def test_what_the_fence_would_leave_out_is_known_before_and_behind_the_register(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that became a template is not closed: both sides would be open for ever."""
    world, lab = switchable, switchable.pair.source_lab
    template = f"ALTER DATABASE {DATABASE} IS_TEMPLATE "
    with lab.connect() as conn:
        conn.execute(template + "true")
        with pytest.raises(Refused, match=f"orders-1: can't be fenced: {DATABASE}"):
            switch(world.cutover(), _quiet)
        conn.execute(template + "false")

        def late(*args: object, **kwargs: object) -> None:
            conn.execute(template + "true")
            put_up(*args, **kwargs)  # type: ignore[arg-type]

        put_up = fence.put_up
        with monkeypatch.context() as changed:
            changed.setattr(fence, "put_up", late)
            with pytest.raises(Retry, match=f"the fence leaves out: {DATABASE}; writers are back"):
                switch(world.cutover(), _quiet)
        conn.execute(template + "false")
    assert world.open_sides() == [world.pair.source.cluster]

    def ended(fuse: ServerFuse, *args: object) -> None:
        arm(fuse, *args)  # type: ignore[arg-type]
        with lab.connect() as conn:
            conn.execute("SELECT pg_terminate_backend(%s, 5000)", (fuse.pid,))

    arm = ServerFuse.__init__
    with monkeypatch.context() as changed:
        changed.setattr(ServerFuse, "__init__", ended)
        with pytest.raises(Retry, match=r"the server fuse .* is not there; writers are back"):
            switch(world.cutover(), _quiet)
    with world.pair.source.connect(TOOL_DATABASE) as conn:
        assert conn.execute("SELECT count(*) FROM bluegreen.closure").fetchone() == (0,)


def test_a_session_whose_role_was_dropped_is_ended(switchable: Switchable) -> None:
    """It has the role's id and no name; what PUBLIC may write, it may."""
    world, lab = switchable, switchable.pair.source_lab
    with lab.connect(DATABASE) as conn:
        conn.execute("CREATE ROLE gone LOGIN PASSWORD 'x'; GRANT INSERT ON probe TO PUBLIC")
        session = lab.connect(DATABASE, user="gone", password="x")
        conn.execute("DROP ROLE gone")
    switch(world.cutover(), _quiet)
    with pytest.raises(psycopg.OperationalError, match="terminating"):
        session.execute("INSERT INTO probe VALUES (1)")
    session.close()


def test_a_register_that_was_lost_on_a_closed_side_opens_nothing_and_says_so(
    switchable: Switchable,
) -> None:
    world, pair = switchable, switchable.pair
    done = switch(world.cutover(), _quiet)
    world.run_reverse(str(done.mark))
    pair.publish_again_after_drop(pair.source)
    register.drop_database(pair.source)
    register.ensure_database(pair.source)
    with pytest.raises(Refused, match=f"opening leaves read-only: {DATABASE}; .*nothing was touch"):
        switch(world.rollback(), _quiet)
    assert world.open_sides() == [pair.target.cluster]
    with pair.source.connect(TOOL_DATABASE) as conn:
        conn.execute(
            "INSERT INTO bluegreen.closure (kind, name) VALUES ('database', %s), ('role', %s)",
            (DATABASE, APP),
        )
    switch(world.rollback(), _quiet)
    assert world.open_sides() == [pair.source.cluster]


def test_the_last_opening_is_the_last_whatever_the_clock_says(switchable: Switchable) -> None:
    with switchable.pair.target.connect(TOOL_DATABASE) as conn:
        for number, name in enumerate(("before", "after")):
            register.expect_opening(conn, name)
            conn.execute(
                "SELECT bluegreen.open_environment(%s, %s, '{}')", (name, f"0/{2 - number}")
            )
        conn.execute(
            "UPDATE bluegreen.opening SET changed_at = now() - interval '1 hour'"
            " WHERE attempt = 'after'"
        )
        found = register.last_opening(conn)
    assert found is not None
    assert found[0] == "after"
