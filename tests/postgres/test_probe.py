"""`bluegreen probe` on real servers: what it finds, what it leaves, and that it names nobody."""

from __future__ import annotations

import pytest

from lab.postgres import aurora_mode
from lab.postgres.server import LabServer
from tests.fixtures import probed
from tests.fixtures.postgres import OLD_AND_NEW, MakeServer
from tests.fixtures.probed import catalogs, dsn, named_in, plant, run

# What community PostgreSQL has not got, and what the lab's servers are made without.
_AURORAS = {
    "whose server it is: aurora_version",
    "where a clone's copy ends: aurora_volume_logical_start_lsn",
    "the clone's position is of the same space",
}
_NO_TLS = "where certificates of authorities are: ssl_ca_file"
_BAD = ("refused", "differs")
_IN_THE_MODE = {
    "read pg_stat_wal",
    "flushed, written and inserted are of one space",
    "what pg_logical_emit_message answers is of the same space",
}


@pytest.fixture
def planted(make_server: MakeServer, request: pytest.FixtureRequest) -> LabServer:
    """Return a server with an application's database, whose master is a superuser.

    Not in Aurora mode, as in the next one: what community PostgreSQL answers is asked here.
    """
    server = make_server(getattr(request, "param", 18), aurora=False)
    plant(server)
    return server


@pytest.fixture
def demoted(make_server: MakeServer, request: pytest.FixtureRequest) -> LabServer:
    """Return the same, whose master is none."""
    server = make_server(getattr(request, "param", 18), aurora=False)
    plant(server, demoted=True)
    return server


@pytest.mark.parametrize("planted", OLD_AND_NEW, indirect=True)
def test_all_but_auroras_own_works_on_community_postgresql(planted: LabServer) -> None:
    before = catalogs(planted)
    done = run("--dsn", dsn(planted), "--write", "--json")
    assert set(done.what(*_BAD)) == _AURORAS | {_NO_TLS}
    assert all(done.what("refused")[one].startswith("42883 ") for one in _AURORAS)
    assert done.found["left"] == []
    assert done.code == 1
    assert catalogs(planted) == before


@pytest.mark.parametrize("planted", OLD_AND_NEW, indirect=True)
def test_without_write_nothing_is_made(planted: LabServer) -> None:
    before = catalogs(planted)
    done = run("--dsn", dsn(planted), "--json")
    assert set(done.what(*_BAD)) == _AURORAS | {_NO_TLS}
    assert done.what("not tried")["make a publication of nothing, with the tool's mark"]
    assert catalogs(planted) == before


@pytest.mark.parametrize("demoted", OLD_AND_NEW, indirect=True)
@pytest.mark.parametrize("write", [[], ["--write"]], ids=["reads", "writes"])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_nothing_of_the_users_is_named(
    demoted: LabServer, write: list[str], form: list[str]
) -> None:
    done = run("--dsn", dsn(demoted), *write, *form)
    assert named_in(done.out + done.err, demoted) == []
    # It is the scrubbing that does it: names came up.
    assert "<table>" in done.out
    assert done.code == 1


def test_an_ordinary_master_is_told_what_is_refused(demoted: LabServer) -> None:
    done = run("--dsn", dsn(demoted), "--write", "--json")
    refused = done.what("refused")
    assert refused["publish all tables"].startswith("42501 must be superuser")
    assert refused["drop a replication origin"].startswith("42501 permission denied for function")
    assert refused["take LOGIN from roles that this one may not grant"].startswith("42501 ")
    # The table says what works for him as well.
    assert {"make a slot", "end another role's session"} <= set(done.what("works"))
    assert done.found["about"]["role"] == "in rds_superuser"
    assert done.found["left"] == []


@pytest.mark.parametrize("major", OLD_AND_NEW)
def test_in_aurora_mode_what_aurora_lacks_is_told(make_server: MakeServer, major: int) -> None:
    if (why := aurora_mode.obstacle(major)) is not None:
        pytest.skip(why)
    server = make_server(major, aurora=True)
    plant(server)
    done = run("--dsn", dsn(server), "--write", "--json")
    told = done.what(*_BAD)
    assert set(told) >= _IN_THE_MODE
    assert told["read pg_stat_wal"].startswith("0A000 Function pg_stat_get_wal() is currently")
    works = {
        "publish all tables",
        "make a slot",
        "take LOGIN from roles that this one may not grant",
    }
    assert works <= set(done.what("works"))
    assert done.found["left"] == []


def test_a_server_below_logical_refuses_a_slot(make_server: MakeServer) -> None:
    server = make_server(18, wal_level="replica")
    done = run("--dsn", dsn(server, "postgres"), "--json")
    assert done.what("refused")["make a slot"].startswith("55000 ")
    assert done.what("differs")["wal_level"] == "answered false, expected true"


def test_a_reader_is_asked_what_readers_can_do(make_server: MakeServer) -> None:
    server = make_server(18, aurora=False)  # the others are no reader's
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    done = run("--dsn", dsn(server, "postgres"), "--reader", "--write", "--json")
    assert done.found["about"]["endpoint"] == "a reader"
    assert set(done.what(*_BAD)) <= _AURORAS | {_NO_TLS}
    assert done.what("not tried")["publish all tables"] == "not on a reader"
    assert done.what("not tried")["make a slot"] == "not on a reader"


def test_a_reader_that_is_taken_for_the_writer_differs(make_server: MakeServer) -> None:
    server = make_server(18)
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    done = run("--dsn", dsn(server, "postgres"), "--json")
    assert done.what("differs")["the writer's own word: pg_is_in_recovery"]
    assert done.what("refused")["publish all tables"].startswith("25006 ")
    assert done.what("refused")["pg_current_wal_lsn"].startswith("55000 ")


def test_a_deployments_schema_is_left_alone(planted: LabServer) -> None:
    with planted.connect(probed.DATABASE) as conn:
        conn.execute("CREATE SCHEMA bluegreen; CREATE TABLE bluegreen.heartbeat (n int)")
    before = catalogs(planted)
    done = run("--dsn", dsn(planted), "--json")
    said = done.what("not tried")
    assert "is left alone" in said["the tool's schema and its heartbeats"]
    assert "is left alone" in said["the register, and a fence that ends nobody"]
    assert catalogs(planted) == before


def test_the_table_is_markdown_with_the_servers_words(planted: LabServer) -> None:
    done = run("--dsn", dsn(planted))
    lines = done.out.splitlines()
    assert lines[0].startswith("bluegreen ")
    assert "PostgreSQL 18" in lines[0]
    assert "| outcome | what | the words |" in lines
    (aurora,) = [line for line in lines if line.startswith("| refused | whose server")]
    assert "42883: function pg_catalog.aurora_version() does not exist" in aurora
    assert any(line.startswith("* whose server it is") and "SELECT" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either --cluster or --dsn"),
        (["--cluster", "c", "--dsn", "host=h"], "give either --cluster or --dsn"),
        (["--dsn", "quagga secret=zebra"], "--dsn: is no connection string"),
        (["--dsn", "host=127.0.0.1 port=1 user=quagga password=zebra"], "can't go on: "),
    ],
    ids=["neither", "both", "no string", "nobody there"],
)
def test_an_error_is_one_line_without_a_name(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith(said)
    assert done.err.count("\n") == 1
    assert not [name for name in ("quagga", "zebra", "127.0.0.1") if name in done.err]


def test_a_wrong_password_is_an_error_without_a_name(planted: LabServer) -> None:
    done = run("--dsn", dsn(planted, password="oryx"))
    assert done.code == 2
    assert "password authentication failed" in done.err
    assert named_in(done.err, planted) == []
