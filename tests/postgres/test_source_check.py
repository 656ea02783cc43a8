"""Whether a real server is fit to be a source."""

from __future__ import annotations

import pytest
from psycopg import sql

from bluegreen.deployment import source_check
from bluegreen.errors import Refused
from bluegreen.postgres.server import Server
from bluegreen.replication.subscription import owner_rights
from lab.postgres import replicator
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MASTER, OLD_AND_NEW, MakeServer
from tests.fixtures.rds import REPLICATOR, PlacedClusters
from tests.fixtures.switchable import DEMOTE

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


def test_a_database_of_another_owner_is_named_and_its_remedy_lets_it_be_closed(
    source: Server, lab: LabServer
) -> None:
    """Whether it is listed or not: a clone is closed as a whole."""
    with lab.as_superuser() as conn:
        conn.execute(DEMOTE)
        conn.execute('CREATE ROLE "Billing Owner"')
        conn.execute('CREATE DATABASE "Billing" OWNER "Billing Owner"')
    found = source_check.inspect(source, ["app"])
    with pytest.raises(Refused, match="Billing of Billing Owner can't be closed by") as refused:
        source_check.require_replicable(source, found, ["app"], "green")
    with lab.as_superuser() as conn:
        remedy = str(refused.value).partition("; ")[2].partition(", or ")[0]
        conn.execute(remedy.encode())
    assert source_check.inspect(source, ["app"]).unclosable == ()


def test_who_else_reads_from_it_is_told_before_anything_is_made(
    source: Server, lab: LabServer, caplog: pytest.LogCaptureFixture
) -> None:
    with lab.connect("app") as conn:
        conn.execute("SELECT pg_create_logical_replication_slot('debezium', 'pgoutput')")
        conn.execute("SELECT pg_create_logical_replication_slot('mine', 'pgoutput', true)")
        found = source_check.inspect(source, ["app"])
    source_check.require_replicable(source, found, ["app"], "green")
    assert "by slots: debezium (pgoutput in app, nobody reads it, keeps 0.0 MB); a " in caplog.text


def test_rows_that_could_not_be_applied_are_named_by_whom_they_belong_to(
    source: Server, lab: LabServer
) -> None:
    """On the source, for both ways: the clone has the same roles and tables."""
    with lab.as_superuser() as conn:
        conn.execute(DEMOTE)
    with lab.as_superuser("app") as conn:
        conn.execute(
            'CREATE ROLE "App Owner"; CREATE TABLE theirs (id int PRIMARY KEY);'
            'ALTER TABLE theirs OWNER TO "App Owner";'
            "CREATE TABLE spatial_ref_sys (id int PRIMARY KEY)"
        )

    def refusal(table: str, applying: int) -> str:
        with source.connect("app") as conn, pytest.raises(Refused) as refused:
            owner_rights.require_appliable(
                conn, "way", MASTER, [("public", table)], run_as_owner=False, major=applying
            )
        return str(refused.value)

    for applying in (14, 18):
        assert refusal("spatial_ref_sys", applying) == (
            "way: public.spatial_ref_sys belong to AWS, so rows of theirs can't be applied; name in"
            " bluegreen:replication.tables what else to replicate, without them"
        )
    for applying in (18, 14):
        said = refusal("theirs", applying)
        assert ("can't SET ROLE to 'App Owner'" in said) == (applying == 18)
        assert ("may not write public.theirs" in said) == (applying == 14)
        with lab.as_superuser("app") as conn:
            conn.execute(said.partition("; ")[2].encode())
        with source.connect("app") as conn:
            owner_rights.require_appliable(
                conn, "way", MASTER, [("public", "theirs")], run_as_owner=False, major=applying
            )
        with lab.as_superuser("app") as conn:
            conn.execute(f'REVOKE "App Owner" FROM {MASTER}')
