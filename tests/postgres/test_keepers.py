"""Who could go on writing: found for every way in which a role may write, and for no other."""

from __future__ import annotations

import pytest

from bluegreen.register import keepers
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MASTER, PASSWORD, MakeServer

# Each role with what makes it a writer of `app.ledger`, or of something that leads there.
_WRITERS = {
    "inserts": ("app.ledger", "GRANT INSERT ON app.ledger TO inserts"),
    "truncates": ("app.ledger", "GRANT TRUNCATE ON app.ledger TO truncates"),
    "one_column": ("app.ledger", "GRANT UPDATE (n) ON app.ledger TO one_column"),
    "owns": ("app.mine", "ALTER TABLE app.mine OWNER TO owns; REVOKE ALL ON app.mine FROM owns"),
    "rds_orders": ("app.ledger", "GRANT DELETE ON app.ledger TO rds_orders"),
    "rdstopmgr": ("app.ledger", "GRANT DELETE ON app.ledger TO rdstopmgr"),
    "takes": ("app.s", "GRANT USAGE ON SEQUENCE app.s TO takes"),
    "may_become": ("app.ledger", "GRANT inserts TO may_become; ALTER ROLE may_become NOINHERIT"),
    "two_steps": ("app.ledger", "GRANT may_become TO two_steps"),
    "all_data": ("pg_write_all_data", "GRANT pg_write_all_data TO all_data"),
    "by_view": ("app.through", "GRANT INSERT ON app.through TO by_view"),
    "by_trigger": ("app.instead", "GRANT INSERT ON app.instead TO by_trigger"),
    "by_function": ("app.write()", "GRANT EXECUTE ON FUNCTION app.write() TO by_function"),
    "super": ("superuser", "ALTER ROLE super SUPERUSER"),
}
_READERS = {
    "reads": "GRANT SELECT ON ALL TABLES IN SCHEMA app TO reads; GRANT SELECT ON app.s TO reads",
    "no_schema": "REVOKE ALL ON SCHEMA app FROM no_schema; GRANT INSERT ON app.ledger TO no_schema",
    "own_view": "ALTER VIEW app.its OWNER TO own_view; GRANT SELECT ON app.ledger TO own_view",
    "counts": "GRANT INSERT ON app.grouped TO counts",
    "runs_readers": "GRANT EXECUTE ON FUNCTION app.read() TO runs_readers",
    "elsewhere": "GRANT CREATE, TEMP ON DATABASE app TO elsewhere",
    "rdswriteforwarduser": "GRANT pg_write_all_data TO rdswriteforwarduser",
}
_OBJECTS = """\
CREATE SCHEMA app; CREATE TABLE app.ledger (n int); CREATE TABLE app.mine (n int);
CREATE SEQUENCE app.s;
CREATE VIEW app.through AS SELECT n FROM app.ledger;
CREATE VIEW app.its AS SELECT n FROM app.ledger;
CREATE VIEW app.grouped AS SELECT count(*) AS n FROM app.ledger;
CREATE VIEW app.instead AS SELECT count(*) AS n FROM app.ledger;
CREATE FUNCTION app.put() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    AS 'BEGIN INSERT INTO app.ledger VALUES (NEW.n); RETURN NEW; END';
CREATE TRIGGER put INSTEAD OF INSERT ON app.instead FOR EACH ROW EXECUTE FUNCTION app.put();
CREATE FUNCTION app.write() RETURNS void SECURITY DEFINER
    LANGUAGE sql AS 'INSERT INTO app.ledger VALUES (1)';
CREATE ROLE meek; GRANT USAGE ON SCHEMA app TO meek;
CREATE FUNCTION app.read() RETURNS bigint SECURITY DEFINER
    LANGUAGE sql AS 'SELECT count(*) FROM pg_catalog.pg_class';
ALTER FUNCTION app.read() OWNER TO meek;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA app FROM PUBLIC"""


@pytest.fixture(params=[16, 18, *(pytest.param(m, marks=pytest.mark.slow) for m in (14, 15, 17))])
def server(make_server: MakeServer, request: pytest.FixtureRequest) -> LabServer:
    """Return a server with a database `app`."""
    lab = make_server(request.param)
    with lab.connect() as conn:
        conn.execute("CREATE DATABASE app")
    return lab


def test_every_way_to_write_is_found_and_no_other(server: LabServer) -> None:
    with server.as_superuser("app") as conn:
        conn.execute(_OBJECTS)
        for role in (*_WRITERS, *_READERS):
            conn.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA app TO {role}")
        for statement in (*(sql for _, sql in _WRITERS.values()), *_READERS.values()):
            conn.execute(statement)
    with server.connect("app", user=MASTER, password=PASSWORD) as conn:
        found = keepers.find(conn, [MASTER], own=[])
        assert found == sorted(f"{role} ({what})" for role, (what, _) in _WRITERS.items())
        with server.as_superuser("app") as admin:
            admin.execute("GRANT UPDATE ON app.ledger TO PUBLIC")
        rest = keepers.find(conn, [MASTER, *_WRITERS], own=["reads"])
        assert "reads (app.ledger)" not in rest
        assert "runs_readers (app.ledger)" in rest
        conn.execute("REVOKE CONNECT ON DATABASE app FROM PUBLIC")
        assert keepers.find(conn, [MASTER, "super"], own=[]) == []


@pytest.mark.slow
def test_ten_thousand_tables_and_a_thousand_roles_take_seconds(make_server: MakeServer) -> None:
    lab = make_server(18, max_locks_per_transaction="2000")
    with lab.connect() as conn:
        conn.execute(
            "CREATE ROLE app_writer; CREATE ROLE app_reader;"
            "DO $$ BEGIN FOR i IN 1 .. 1000 LOOP"
            " EXECUTE format('CREATE ROLE member_%s LOGIN IN ROLE %s', i,"
            " CASE i % 2 WHEN 0 THEN 'app_reader' ELSE 'app_writer' END);"
            "END LOOP; END $$;"
            "DO $$ BEGIN FOR i IN 1 .. 10000 LOOP"
            " EXECUTE format('CREATE TABLE t_%s (n int)', i);"
            "END LOOP; END $$;"
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO app_reader;"
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO app_writer"
        )
        conn.execute("SET statement_timeout = '20s'")
        assert len(keepers.find(conn, [MASTER], own=[])) == 500
