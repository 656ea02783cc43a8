"""Whether a real server is fit to be a source."""

from __future__ import annotations

import pytest
from psycopg import sql

from bluegreen.deployment import source_check
from bluegreen.errors import Refused
from bluegreen.postgres.server import Server
from lab.postgres import replicator
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MASTER, OLD_AND_NEW, MakeServer
from tests.fixtures.rds import REPLICATOR, PlacedClusters

pytestmark = pytest.mark.parametrize("major", OLD_AND_NEW)


@pytest.fixture
def lab(major: int, make_server: MakeServer) -> LabServer:
    server = make_server(major)
    with server.connect() as conn:
        conn.execute("CREATE DATABASE app")
    return server


@pytest.fixture
def source(lab: LabServer, placed: PlacedClusters) -> Server:
    return placed.place(lab, "orders-1")


def test_a_fit_source_is_seen_as_fit(source: Server) -> None:
    found = source_check.inspect(source, ["app"])
    source_check.require_clonable(found, ["app"])
    source_check.require_replicable(source, found, ["app"], "green")
    assert found.wal_level == "logical"
    assert found.databases - {"rdsadmin"} == {"app", "postgres"}
    assert found.role.name == REPLICATOR
    assert not found.closed


def test_what_makes_it_unfit_is_seen(source: Server, lab: LabServer) -> None:
    with lab.connect("app") as conn:
        conn.execute(
            "SELECT pg_create_logical_replication_slot('bg_purple_forward_app', 'pgoutput')"
        )
        conn.execute(
            "CREATE SUBSCRIPTION feed CONNECTION 'dbname=elsewhere password=x' PUBLICATION p "
            "WITH (connect=false, slot_name=NONE)"
        )
        conn.execute("ALTER DATABASE app SET default_transaction_read_only = on")
        conn.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(REPLICATOR)))
        replicator.forbid(conn, REPLICATOR)
    found = source_check.inspect(source, ["app"])
    assert found.slots == {"bg_purple_forward_app"}
    assert found.subscriptions == ("feed in app",)
    assert found.closed
    assert found.capacity.used_slots == 1
    assert not found.role.can_login
    assert not found.role.can_replicate


def test_the_statements_of_the_refusal_mend_the_role(source: Server, lab: LabServer) -> None:
    with lab.connect("app") as conn:
        conn.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(REPLICATOR)))
        replicator.forbid(conn, REPLICATOR)
        missing = source_check.inspect(source, ["app"]).role.problem()
        assert missing is not None
        conn.execute(missing.partition("run: ")[2].encode())
    found = source_check.inspect(source, ["app"])
    source_check.require_replicable(source, found, ["app"], "green")


def test_a_wrong_replication_password_is_refused_before_anything_is_made(
    source: Server, lab: LabServer
) -> None:
    with lab.connect() as conn:
        conn.execute(sql.SQL("ALTER ROLE {} PASSWORD 'another'").format(sql.Identifier(REPLICATOR)))
    found = source_check.inspect(source, ["app"])
    with pytest.raises(Refused, match="wrong user or password; fix the secret"):
        source_check.require_replicable(source, found, ["app"], "green")


def test_a_transaction_timeout_of_replication_is_named(
    source: Server, lab: LabServer, major: int
) -> None:
    if major < 17:
        return
    with lab.as_superuser() as conn:
        conn.execute("ALTER SYSTEM SET transaction_timeout = '2s'")
        conn.execute("SELECT pg_reload_conf()")
        found = source_check.inspect(source, ["app"])
        for role in (REPLICATOR, MASTER):
            with pytest.raises(Refused, match=r"transaction_timeout is 2s for role") as refused:
                source_check.require_replicable(source, found, ["app"], "green")
            assert f"'{role}'" in str(refused.value)
            conn.execute(str(refused.value).partition("; ")[2].encode())
        source_check.require_replicable(source, found, ["app"], "green")
        # The narrowest setting holds.
        in_app = sql.SQL("ALTER ROLE {} IN DATABASE app SET transaction_timeout = '1min'")
        conn.execute(in_app.format(sql.Identifier(REPLICATOR)))
        with pytest.raises(Refused, match=f"1min for role '{REPLICATOR}'"):
            source_check.require_replicable(source, found, ["app"], "green")
