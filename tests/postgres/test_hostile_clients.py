"""What a client does that a fence does not expect: nothing of it is lost, or it is refused."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from bluegreen.errors import Refused, Retry
from bluegreen.finding import Level
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import closing
from bluegreen.register.fenced_roles import FenceSpec
from bluegreen.switch.readiness import leaks, strangers
from bluegreen.switch.switchover import switch
from lab.postgres import replicator
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MASTER, PASSWORD
from tests.fixtures.rds import REPLICATOR
from tests.fixtures.replicated import DATABASE
from tests.fixtures.switchable import APP, Switchable


def test_clients_that_say_read_write_and_reconnect_lose_nothing(switchable: Switchable) -> None:
    """As pgx, JDBC and psycopg do when asked for an access mode, each time they begin."""
    world, pair = switchable, switchable.pair
    with world.writers(8, read_write=True) as writers:
        writers.wait_for(100, pair.source.cluster)
        there = switch(world.cutover())
        writers.wait_for(100, pair.target.cluster)
    assert there.slipped == 0
    assert set(writers.numbers()) <= set(world.rows(pair.target))
    assert set(world.rows(pair.source)) <= set(world.rows(pair.target))


@contextmanager
def _half_open(lab: LabServer) -> Iterator[None]:
    """Begin a login and say no more, once the server has asked for the password."""
    with socket.create_connection((lab.host, lab.port)) as line:
        said = struct.pack("!I", 196608) + f"user\0{APP}\0database\0{DATABASE}\0\0".encode()
        line.sendall(struct.pack("!I", len(said) + 4) + said)
        assert line.recv(1) == b"R"
        yield


def test_a_login_that_may_not_be_ended_is_named_with_its_age(ordinary: Switchable) -> None:
    world, pair = ordinary, ordinary.pair
    with _half_open(pair.source_lab):
        with pair.source.connect(DATABASE) as conn:
            (one,) = strangers.logging_in(conn)
        with pytest.raises(Retry, match=rf"aborted: {one} has been logging in for more than 1\."):
            switch(world.cutover(drain_seconds=2.0))
        assert world.open_sides() == [pair.source.cluster]
    switch(world.cutover())
    assert world.open_sides() == [pair.target.cluster]


def test_sessions_that_are_no_ordinary_ones_are_ended_too(switchable: Switchable) -> None:
    """A WAL sender takes SQL, a dropped role's session goes on, a login may never end."""
    world, pair = switchable, switchable.pair
    for lab in (pair.source_lab, pair.target_lab):
        with lab.connect(DATABASE) as conn:
            replicator.make(conn, "batch", "x")
            conn.execute(
                "GRANT INSERT ON probe TO batch;"
                "CREATE ROLE leaver LOGIN PASSWORD 'x'; GRANT INSERT ON probe TO PUBLIC"
            )
    lab = pair.source_lab
    with ExitStack() as stack:
        options = {"user": "batch", "password": "x", "replication": "database"}
        sender = stack.enter_context(lab.connect(DATABASE, **options))
        holder = stack.enter_context(lab.connect(DATABASE, **options))
        leaver = stack.enter_context(lab.connect(DATABASE, user="leaver", password="x"))
        for conn in (sender, holder, leaver):
            conn.execute("INSERT INTO probe VALUES (1)")
        # Its session counts as the slot's reader, and streams nothing.
        holder.execute("CREATE_REPLICATION_SLOT held TEMPORARY LOGICAL pgoutput")
        with lab.connect() as conn:
            conn.execute("DROP ROLE leaver")
        looker = stack.enter_context(pair.source.connect(TOOL_DATABASE))
        if not lab.aurora:  # where nobody may end it, see above
            stack.enter_context(_half_open(lab))
            assert len(strangers.logging_in(looker)) == 1
        switch(world.cutover(roles=(APP, "batch")))
        assert strangers.logging_in(looker) == []
        for conn in (sender, holder, leaver):
            with pytest.raises(psycopg.OperationalError, match=r"terminating|closed"):
                conn.execute("INSERT INTO probe VALUES (2)")
    assert world.open_sides() == [pair.target.cluster]


def test_who_keeps_login_and_may_write_is_refused_whatever_the_role_is_called(
    switchable: Switchable,
) -> None:
    """The tool's own roles, when an application uses them, and those that sound like AWS's."""
    world, pair = switchable, switchable.pair
    with pair.target_lab.connect() as lab, pair.target.connect(TOOL_DATABASE) as conn:
        for spelt in ("true", "1", "YES", "tr", "on"):  # closed by hand
            lab.execute(f"ALTER DATABASE {DATABASE} SET default_transaction_read_only = '{spelt}'")
            assert closing.is_closed(conn, [DATABASE]), spelt
    for role in (MASTER, REPLICATOR):
        login = {"user": role, "password": PASSWORD, "application_name": "orders-api"}
        said = rf"tool's roles: orders-api as {role} in app \(pid \d+\);"
        with (
            pair.source_lab.connect(DATABASE, **login),
            pytest.raises(Refused, match=said),
        ):
            switch(world.cutover())
    for one in (pair.source_lab, pair.target_lab):
        with one.connect(DATABASE) as conn:
            conn.execute(
                "CREATE ROLE rdsapp LOGIN; CREATE ROLE rds_orders LOGIN;"
                "GRANT ALL ON probe TO rdsapp, rds_orders;"
                "ALTER ROLE rdsapp SET default_transaction_read_only = off"
            )
    with pytest.raises(Refused, match="read-write default of their own: rdsapp;"):
        switch(world.cutover())
    with pair.source_lab.connect() as conn:
        conn.execute("ALTER ROLE rdsapp RESET ALL")
    with pytest.raises(Refused, match=r"keep LOGIN and may write: rds_orders \(public.probe\);"):
        switch(world.cutover(spare_roles=("rds_orders",)))
    switch(world.cutover())
    assert world.logins(pair.source) == {REPLICATOR, MASTER}
    assert world.open_sides() == [pair.target.cluster]


def test_what_the_settings_leave_open_on_purpose_is_a_warning() -> None:
    warned = [
        finding.line()
        for fence_spec in (
            FenceSpec(fence="read-only"),
            FenceSpec(old_side="readable"),
            FenceSpec(),
        )
        for finding in leaks.chosen(fence_spec)
        if finding.level is Level.WARN
    ]
    assert [line.partition(";")[0] for line in warned] == [
        "switch.fence: is read-only",
        "switch.old_side: is readable",
    ]
