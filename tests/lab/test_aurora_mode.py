"""Aurora mode: what the master user is refused, what it may do, and where the mode goes along."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from lab.postgres import aurora_mode, clone
from lab.postgres.clone import wait_until
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MASTER, OLD_AND_NEW, PASSWORD, MakeServer

_numbers = itertools.count(1)
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="session")
def aurora_server(shared_server: MakeServer) -> Callable[[int], LabServer]:
    """Return a function that returns the run's server of a major in Aurora mode."""
    made: dict[int, LabServer] = {}

    def of(major: int) -> LabServer:
        if major not in made:
            with pytest.MonkeyPatch.context() as patched:
                patched.setenv(aurora_mode.VARIABLE, "on")
                made[major] = shared_server(major, "aurora")
        return made[major]

    return of


@pytest.fixture(params=OLD_AND_NEW)
def aurora(request: pytest.FixtureRequest, aurora_server: Callable[[int], LabServer]) -> LabServer:
    """Return a server in Aurora mode."""
    _need(request.param)
    return aurora_server(request.param)


@pytest.fixture
def app(aurora: LabServer) -> Iterator[Connection]:
    """Return the master user's session in a new database."""
    name = f"mode_{next(_numbers)}"
    with aurora.connect() as conn:
        conn.execute(f"CREATE DATABASE {name}")
    with aurora.connect(name) as conn:
        yield conn
    with aurora.as_superuser() as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _need(*majors: int) -> None:
    for major in majors:
        why = aurora_mode.obstacle(major)
        if why is not None:
            pytest.skip(why)


def _value(conn: Connection, query: str) -> object:
    row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT FROM pg_authid", "permission denied for table pg_authid"),
        ("SELECT FROM pg_shadow", "permission denied for view pg_shadow"),
        ("SELECT subconninfo FROM pg_subscription", "permission denied for table pg_subscription"),
        ("SELECT pg_read_file('PG_VERSION')", "permission denied for function pg_read_file"),
        ("ALTER SYSTEM SET work_mem = '1GB'", "permission denied to set parameter"),
        ("CREATE ROLE boss SUPERUSER", "permission denied to create role"),
        ("CREATE ROLE boss REPLICATION", "permission denied to create role"),
        ("CREATE ROLE boss BYPASSRLS", "permission denied to create role"),
        (f"ALTER ROLE {MASTER} SUPERUSER", "permission denied to alter role"),
        (f"ALTER ROLE {MASTER} REPLICATION", "permission denied to alter role"),
        ("ALTER ROLE rdsadmin NOLOGIN", "permission denied to alter role"),
        ("ALTER ROLE rdsadmin SET work_mem = '1GB'", "permission denied to alter role"),
        (f"GRANT rdsadmin TO {MASTER}", "permission denied to grant role"),
        (f"GRANT pg_execute_server_program TO {MASTER}", "permission denied to grant role"),
        ("ALTER DATABASE rdsadmin SET work_mem = '1GB'", "must be owner of database rdsadmin"),
        ("DROP DATABASE rdsadmin", "must be owner of database rdsadmin"),
        (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rdsadmin'",
            "permission denied to terminate process",
        ),
    ],
)
def test_what_only_a_superuser_may_is_refused(app: Connection, statement: str, said: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=said):
        app.execute(statement.encode())


@pytest.mark.parametrize(
    ("query", "function"),
    [
        ("SELECT * FROM pg_stat_wal", "pg_stat_get_wal"),
        ("SELECT wal_records FROM pg_stat_get_wal()", "pg_stat_get_wal"),
        ("SELECT pg_last_wal_replay_lsn()", "pg_last_wal_replay_lsn"),
        ("SELECT pg_walfile_name('0/1')", "pg_walfile_name"),
    ],
)
def test_functions_that_aurora_lacks_say_so(app: Connection, query: str, function: str) -> None:
    with pytest.raises(psycopg.errors.FeatureNotSupported) as raised:
        app.execute(query.encode())
    said = f"Function {function}() is currently not supported for Aurora"
    assert raised.value.diag.message_primary == said


def test_nobody_else_gets_into_the_database_of_aws(aurora: LabServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="rejects connection for host"):
        aurora.connect("rdsadmin")


def test_without_logical_replication_there_is_no_position(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _need(18)
    monkeypatch.setenv(aurora_mode.VARIABLE, "on")
    server = make_server(18, wal_level="replica")
    with server.connect() as conn:
        for function in ("pg_current_wal_lsn", "pg_current_wal_insert_lsn"):
            with pytest.raises(
                psycopg.errors.ObjectNotInPrerequisiteState, match="wal_level must be set to"
            ):
                conn.execute(f"SELECT {function}()".encode())
            asked_first = (
                f"SELECT CASE WHEN current_setting('wal_level') = 'logical' THEN {function}() END"
            )
            assert _value(conn, asked_first) is None


def test_the_master_publishes_all_and_owns_it(app: Connection) -> None:
    app.execute("CREATE TABLE item (id int PRIMARY KEY); CREATE SCHEMA shop")
    for scope in ("ALL TABLES", "TABLES IN SCHEMA shop", "TABLE item"):
        app.execute(f"CREATE PUBLICATION one FOR {scope}".encode())
        owner = "SELECT pg_get_userbyid(pubowner) FROM pg_publication WHERE pubname = 'one'"
        assert _value(app, owner) == MASTER
        app.execute(
            "ALTER PUBLICATION one SET (publish = 'insert'); COMMENT ON PUBLICATION one IS 'x'"
        )
        if scope != "ALL TABLES":
            app.execute("ALTER PUBLICATION one SET TABLES IN SCHEMA shop")
        app.execute("ALTER PUBLICATION one RENAME TO two; DROP PUBLICATION two")


def test_the_master_makes_event_triggers_and_owns_them(app: Connection) -> None:
    app.execute(
        "CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER one ON ddl_command_end EXECUTE FUNCTION watch()"
    )
    owner = "SELECT pg_get_userbyid(evtowner) FROM pg_event_trigger WHERE evtname = 'one'"
    assert _value(app, owner) == MASTER
    app.execute("ALTER EVENT TRIGGER one DISABLE; DROP EVENT TRIGGER one")


def test_the_master_makes_extensions_and_owns_them(app: Connection) -> None:
    app.execute("CREATE EXTENSION vector")
    owner = "SELECT pg_get_userbyid(extowner) FROM pg_extension WHERE extname = 'vector'"
    assert _value(app, owner) == MASTER
    app.execute("ALTER EXTENSION vector UPDATE; DROP EXTENSION vector")
    app.execute("CREATE EXTENSION IF NOT EXISTS plpgsql")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner of extension"):
        app.execute("DROP EXTENSION plpgsql")


def test_others_publish_no_more_than_elsewhere(aurora: LabServer, app: Connection) -> None:
    app.execute("CREATE ROLE plain LOGIN PASSWORD 'x'; GRANT CREATE ON SCHEMA public TO plain")
    try:
        app.execute(f"GRANT CREATE ON DATABASE {app.info.dbname} TO plain".encode())
        app.execute("CREATE PUBLICATION masters FOR TABLES IN SCHEMA public")
        with aurora.connect(app.info.dbname, user="plain", password="x") as conn:
            for statement in (
                "CREATE PUBLICATION one FOR ALL TABLES",
                "ALTER PUBLICATION masters SET TABLES IN SCHEMA public",
                "ALTER ROLE clusteradmin NOLOGIN",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    conn.execute(statement.encode())
        app.execute("CREATE TABLE mine (id int)")
        with aurora.as_superuser(app.info.dbname) as conn:
            conn.execute("CREATE TABLE others (id int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner of table"):
            app.execute("CREATE PUBLICATION two FOR TABLE mine, others")
    finally:
        with aurora.as_superuser(app.info.dbname) as conn:
            conn.execute("DROP OWNED BY plain; DROP ROLE plain")


def test_the_master_alters_and_grants_roles_that_it_did_not_make(
    aurora: LabServer, app: Connection
) -> None:
    with aurora.as_superuser() as conn:
        conn.execute("CREATE ROLE older LOGIN; CREATE ROLE group_of_old")
    try:
        app.execute("ALTER ROLE older NOLOGIN; ALTER ROLE older SET work_mem = '8MB'")
        app.execute("GRANT group_of_old TO older; GRANT pg_read_all_data TO older")
        assert _value(app, "SELECT pg_has_role('older', 'group_of_old', 'MEMBER')") is True
        app.execute("REVOKE group_of_old FROM older; ALTER ROLE older RESET ALL")
        for statement in (
            "ALTER ROLE older SUPERUSER",
            "ALTER ROLE older SET log_statement = 'all'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(statement.encode())
        assert _value(app, "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'older'") is False
    finally:
        with aurora.as_superuser() as conn:
            conn.execute("DROP ROLE older, group_of_old")


def test_the_membership_lets_replicate_and_the_attribute_does_not_show(
    aurora: LabServer, app: Connection
) -> None:
    app.execute("CREATE ROLE copier LOGIN PASSWORD 'x'")

    def replicates() -> bool:
        options = {"password": "x", "replication": "database"}
        try:
            with aurora.connect(app.info.dbname, user="copier", **options) as conn:
                return conn.execute("IDENTIFY_SYSTEM").fetchone() is not None
        except psycopg.OperationalError:
            return False

    try:
        assert not replicates()
        app.execute("GRANT rds_replication TO copier")
        assert replicates()
        shown = "SELECT rolname FROM pg_roles WHERE rolreplication ORDER BY 1"
        assert app.execute(shown.encode()).fetchall() == [("rdsadmin",)]
        app.execute("REVOKE rds_replication FROM copier")
        assert not replicates()
    finally:
        app.execute("DROP ROLE copier")
    app.execute("CREATE ROLE copier LOGIN PASSWORD 'x' IN ROLE rds_replication")
    try:
        assert replicates()
    finally:
        app.execute("DROP ROLE copier")


def test_the_master_has_what_replication_and_a_switch_take(
    aurora: LabServer, app: Connection
) -> None:
    app.execute("SELECT pg_create_logical_replication_slot('mode', 'pgoutput')")
    app.execute("SELECT pg_replication_slot_advance('mode', pg_current_wal_lsn())")
    app.execute("SELECT pg_drop_replication_slot('mode')")
    app.execute("SELECT pg_replication_origin_create('mode')")
    app.execute("SELECT pg_replication_origin_advance('mode', '0/1')")
    origins = "SELECT remote_lsn::text FROM pg_replication_origin_status WHERE external_id = 'mode'"
    assert _value(app, origins) == "0/1"
    app.execute("SELECT pg_replication_origin_drop('mode')")
    app.execute("SET session_replication_role = replica; CHECKPOINT")
    app.execute(
        f"ALTER DATABASE {app.info.dbname} SET default_transaction_read_only = off".encode()
    )
    app.execute("ALTER DATABASE postgres SET work_mem = '8MB'; ALTER DATABASE postgres RESET ALL")
    conninfo = f"host={aurora.host} port={aurora.port} dbname=postgres user={MASTER} password=x"
    app.execute(
        f"CREATE SUBSCRIPTION mode CONNECTION '{conninfo}' PUBLICATION mode"
        " WITH (connect = false, slot_name = NONE)".encode()
    )
    app.execute("DROP SUBSCRIPTION mode")
    with aurora.connect(app.info.dbname) as other:
        ended = _value(app, f"SELECT pg_terminate_backend({other.info.backend_pid})")
        assert ended is True


@pytest.mark.parametrize("copied", ["template0", "template1"])
def test_other_positions_are_of_another_space(
    aurora: LabServer, app: Connection, copied: str
) -> None:
    name = f"{app.info.dbname}_{copied}"
    app.execute(f"CREATE DATABASE {name} TEMPLATE {copied}".encode())
    try:
        with aurora.connect(name) as conn:
            _require_other_space(conn)
    finally:
        app.execute(f"DROP DATABASE {name}".encode())


def _require_other_space(conn: Connection) -> None:
    far = "pg_wal_lsn_diff(({}), pg_current_wal_lsn()) > 1e11"
    for call in (
        "pg_current_wal_insert_lsn()",
        "pg_current_wal_flush_lsn()",
        "pg_logical_emit_message(true, 'mode', 'text')",
        "pg_logical_emit_message(false, 'mode', '\\x01'::bytea)",
        "SELECT * FROM pg_logical_emit_message(false, 'mode', 'text')",
    ):
        assert _value(conn, f"SELECT {far.format(call)}") is True, call
    conn.execute(
        "DO $$ DECLARE x pg_lsn; BEGIN x := pg_current_wal_insert_lsn();"
        " ASSERT x - pg_current_wal_lsn() > 1e11; END $$"
    )
    near = "abs(pg_wal_lsn_diff(lab_insert_lsn(), pg_current_wal_lsn())) < 1e8"
    assert _value(conn, f"SELECT {near}") is True


def _beats(server: LabServer) -> int:
    with server.as_superuser("rdsadmin") as conn:
        return int(str(_value(conn, "SELECT value FROM rds_heartbeat")))


def test_rdsadmin_is_logged_in_and_writes(aurora: LabServer, app: Connection) -> None:
    before = _beats(aurora)
    wait_until(lambda: _beats(aurora) > before, "a heartbeat")
    session = (
        "SELECT backend_type FROM pg_stat_activity"
        " WHERE datname = 'rdsadmin' AND usename = 'rdsadmin' AND application_name = ''"
    )
    assert _value(app, session) == "client backend"


def _require_mode(server: LabServer) -> None:
    """Look for a sign of each part of the mode."""
    with server.connect("app") as conn:
        assert _value(conn, "SHOW is_superuser") == "off"
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            conn.execute("SELECT FROM pg_stat_wal")
        shown = conn.execute("SELECT rolname FROM pg_roles WHERE rolreplication").fetchall()
        assert shown == [("rdsadmin",)]
        conn.execute("CREATE PUBLICATION later FOR ALL TABLES; DROP PUBLICATION later")
        conn.execute("SELECT pg_create_logical_replication_slot('later', 'pgoutput')")
        conn.execute("SELECT pg_drop_replication_slot('later')")
        conn.execute("SELECT count(*) FROM pg_replication_origin_status")
        _require_other_space(conn)
        conn.execute("CREATE DATABASE newer")
    with server.connect("newer") as conn:
        _require_other_space(conn)
    before = _beats(server)
    wait_until(lambda: _beats(server) > before, "a heartbeat")


def test_a_clone_and_what_it_is_upgraded_to_are_in_the_mode(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _need(16, 18)
    monkeypatch.setenv(aurora_mode.VARIABLE, "on")
    source = make_server(16, "source")
    with source.connect() as conn:
        conn.execute("CREATE DATABASE app")
    host = f"{source.host.rpartition('.')[0]}.77"
    copy = LabServer("copy", 16, source.root, host, source.port)
    try:
        clone.clone(source, copy, dict(source.parameters))
        _require_mode(copy)
        with copy.connect() as conn:
            conn.execute("DROP DATABASE newer")
        copy = clone.upgrade(copy, 18, dict(source.parameters))
        _require_mode(copy)
    finally:
        copy.remove()


def test_the_users_libraries_are_loaded_besides(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _need(18)
    monkeypatch.setenv(aurora_mode.VARIABLE, "on")
    server = make_server(18, shared_preload_libraries="plpgsql")
    with server.connect() as conn:
        assert _value(conn, "SHOW shared_preload_libraries") == "plpgsql, rds_lookalike"


def test_without_a_compiler_the_master_is_a_superuser_and_the_lab_says_so(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(aurora_mode, "cache_root", lambda: tmp_path / "cache" / "lab")
    (tmp_path / "cp").symlink_to("/bin/cp")  # what a test's server takes besides PostgreSQL
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(aurora_mode.VARIABLE, raising=False)
    why = "there is no C compiler on PATH (cc, gcc, clang)"
    assert aurora_mode.described() == (
        f"the master user is a superuser, which it is not on Aurora: {why}"
    )
    with make_server(18).connect() as conn:
        assert _value(conn, "SHOW is_superuser") == "on"
    monkeypatch.setenv(aurora_mode.VARIABLE, "on")
    with pytest.raises(LookupError) as raised:
        aurora_mode.described()
    assert str(raised.value) == f"LAB_AURORA=on: {why}; LAB_AURORA=auto does without"


def test_older_majors_and_missing_headers_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert aurora_mode.obstacle(15) == "PostgreSQL 15 has no Aurora mode, 16 and newer have"
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'x.c:1: error: no such header' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(aurora_mode, "cache_root", lambda: tmp_path / "cache" / "lab")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert aurora_mode.obstacle(18) == ("cc can't build the library: x.c:1: error: no such header")


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(aurora_mode.VARIABLE, "yes")
    with pytest.raises(LookupError, match="LAB_AURORA=yes: expected one of off, on, auto"):
        aurora_mode.decide(18)


def test_where_it_is_off_the_master_is_a_superuser(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(aurora_mode.VARIABLE, "off")
    server = make_server(18)
    with server.connect() as conn:
        assert (conn.info.user, _value(conn, "SHOW is_superuser")) == (MASTER, "on")
        assert conn.execute("SELECT FROM pg_stat_wal").rowcount == 1
    assert server.master is not None
    assert server.master.password == PASSWORD
