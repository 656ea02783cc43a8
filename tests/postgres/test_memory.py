"""What the schema's mark remembers is kept, whoever else remembers something at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from bluegreen.postgres import owned
from bluegreen.replication import heartbeat
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer
from tests.fixtures.switchable import wait_until

CUSTOMERS = ("public", "customers")
_WAITING = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"


@pytest.fixture(scope="module")
def lab(shared_server: MakeServer) -> LabServer:
    """Return a server whose database `remembering` has the tool's schema."""
    made = shared_server(18, "memory")
    with made.connect() as conn:
        conn.execute("CREATE DATABASE remembering")
    with made.connect("remembering") as conn:
        heartbeat.ensure(conn)
    return made


def test_two_that_remember_at_once_lose_nothing(lab: LabServer) -> None:
    """A publication notes a table while another deployment notes its slot."""
    with (
        lab.connect("remembering") as one,
        lab.connect("remembering") as other,
        lab.connect("remembering") as looking,
        ThreadPoolExecutor(1) as pool,
    ):
        with one.transaction():
            owned.note_added(one, "bg_a_forward", [CUSTOMERS])
            second = pool.submit(
                owned.note_slot, other, "bg_b_forward_app", publication="bg_b_forward"
            )
            pid = other.info.backend_pid
            wait_until(lambda: looking.execute(_WAITING, (pid,)).rowcount == 1, "the second")
        second.result(30)
        assert owned.added(one, ["bg_a_forward"]) == {CUSTOMERS}
        assert owned.knows_slot(one, "bg_b_forward_app")


def test_a_slot_makes_whole_what_its_own_publication_was_given_and_no_other(
    lab: LabServer,
) -> None:
    """The names of two deployments may begin alike, up to the direction."""
    with lab.connect("remembering") as conn:
        for publication in ("bg_a_forward", "bg_a_forward_b_forward"):
            owned.note_added(conn, publication, [CUSTOMERS])
        owned.note_slot(conn, "bg_a_forward_b_forward_app", publication="bg_a_forward_b_forward")
        assert owned.added(conn, ["bg_a_forward_b_forward"]) == set()
        assert owned.added(conn, ["bg_a_forward"]) == {CUSTOMERS}
