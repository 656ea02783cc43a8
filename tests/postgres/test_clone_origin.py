"""`aurora:CloneOrigin` on real clones, through the real provider host."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from psycopg import sql

from bluegreen.names import TOOL_DATABASE
from dynamic_providers.clone_origin import CloneOriginProvider
from lab.postgres.server import LabServer
from tests.fixtures.cloned import SLOT, Cloning
from tests.fixtures.provider_host import Host, HostError, ProviderHost
from tests.fixtures.replicated import DATABASE


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(CloneOriginProvider())


def told(lab: LabServer) -> str:
    """Return the LSN that the clone's own function tells."""
    with lab.connect(DATABASE) as conn:
        row = conn.execute("SELECT aurora_volume_logical_start_lsn()::text").fetchone()
    assert row is not None
    return str(row[0])


def tell(lab: LabServer, lsn: str) -> None:
    """Let the clone's function tell another LSN, as it does once somebody has written there."""
    with lab.as_superuser(TOOL_DATABASE) as conn:
        conn.execute(
            sql.SQL(
                "CREATE OR REPLACE FUNCTION pg_catalog.aurora_volume_logical_start_lsn()"
                " RETURNS pg_lsn LANGUAGE sql IMMUTABLE AS {}"
            ).format(sql.Literal(f"SELECT '{lsn}'::pg_catalog.pg_lsn"))
        )


def untouched(lab: LabServer) -> bool:
    """Return whether the clone is open and has what it inherited."""
    with lab.connect(TOOL_DATABASE) as conn:
        row = conn.execute(
            "SELECT to_regclass('bluegreen.clone_origin') IS NULL"
            " AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE 'default_transaction_read_only"
            "=on' = ANY (setconfig)) AND EXISTS (SELECT FROM pg_replication_slots)"
        ).fetchone()
    return bool(row and row[0])


def refusal(host: ProviderHost, props: dict[str, Any]) -> str:
    """Return the one line that a refused create says."""
    with pytest.raises(HostError) as refused:
        host.create(props)
    text = str(refused.value).strip()
    assert "Traceback" not in text
    return text


def test_the_life_of_an_origin_cell_by_cell(cloning: Cloning, host: ProviderHost) -> None:
    cloning.slot()
    with cloning.source.connect(DATABASE) as conn:
        conn.execute(
            "CREATE SUBSCRIPTION asleep CONNECTION 'host=127.0.0.1 port=1 dbname=x password=x'"
            " PUBLICATION p WITH (connect = false)"
        )
    lab, clone = cloning.clone()
    with lab.connect(DATABASE) as conn, lab.as_superuser(DATABASE) as admin:
        # What a DROP DATABASE leaves that was broken off: nobody can connect to it.
        conn.execute("CREATE DATABASE half")
        admin.execute("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'")
    lsn, props = told(lab), cloning.props(clone)

    # create: the LSN is the function's, the clone is closed and clean
    made = host.create(props)
    assert made.outs["lsn"] == lsn
    with lab.connect(DATABASE) as conn:
        assert conn.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM pg_subscription").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)
        closed = conn.execute(
            "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
            " WHERE d.datname = current_database() AND s.setrole = 0"
        ).fetchone()
        assert closed == (["default_transaction_read_only=on"],)
    with cloning.source.connect(DATABASE) as conn:
        assert conn.execute("SELECT count(*) FROM pg_subscription").fetchone() == (1,)
        assert conn.execute("SELECT slot_name FROM pg_replication_slots").fetchall() == [(SLOT,)]

    # no change: no diff; and a refresh sees the same
    live = host.read(made)
    assert live is not None
    assert not host.diff(live, props).changes

    # create again, when the clone has a life of its own: the stored LSN, nothing cleaned
    tell(lab, "FFFF/0")
    with lab.connect(DATABASE) as conn:
        conn.execute("SET default_transaction_read_only = off")
        conn.execute("CREATE PUBLICATION bg_green_forward")
    assert host.create(props).outs["lsn"] == lsn
    with lab.connect(DATABASE) as conn:
        assert conn.execute("SELECT count(*) FROM pg_publication").fetchone() == (1,)

    # change in place, keeping the LSN; another deployment is refused
    wish = props | {"slots": []}
    assert host.diff(live, wish).changes
    assert host.diff(live, wish).replaces == []
    assert host.update(made, wish).outs["lsn"] == lsn
    assert "deployment" in host.check(live.inputs, props | {"deployment": "other"})

    # delete, and delete again
    host.delete(made)
    host.delete(made)
    with lab.connect() as conn:
        row = conn.execute("SELECT FROM pg_database WHERE datname = %s", (TOOL_DATABASE,))
        assert row.fetchone() is None


@pytest.mark.slow
def test_delete_of_an_unreachable_clone_is_an_error_and_of_a_gone_one_is_done(
    cloning: Cloning, host: ProviderHost
) -> None:
    cloning.slot()
    lab, clone = cloning.clone()
    made = host.create(cloning.props(clone))
    lab.stop()
    with pytest.raises(HostError) as unreachable:
        host.delete(made)
    assert "Traceback" not in str(unreachable.value)
    cloning.placed.rds.delete_db_instance(DBInstanceIdentifier=f"{clone.cluster}-1")
    cloning.placed.rds.delete_db_cluster(DBClusterIdentifier=clone.cluster, SkipFinalSnapshot=True)
    assert host.read(made) is None
    host.delete(made)


def test_wrong_lsns_and_wrong_servers_are_refused_and_nothing_is_touched(
    cloning: Cloning, host: ProviderHost
) -> None:
    with cloning.source.connect() as conn:
        row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    before_slot = row[0]
    cloning.slot()
    lab, clone = cloning.clone()
    right, props = told(lab), cloning.props(clone)

    tell(lab, before_slot)
    low = refusal(host, props)
    assert "clone again" in low
    assert SLOT in low

    tell(lab, "FFFF/0")
    assert "later than its source is now" in refusal(host, props)

    source_itself = props | {"server": cloning.life.source.to_props()}
    assert "is the source itself" in refusal(host, source_itself)

    stranger = cloning.placed.place_with(lab, "stranger", clone.credentials)
    assert "shares no volume" in refusal(host, props | {"server": stranger.to_props()})
    assert untouched(lab)

    tell(lab, right)
    assert host.create(props).outs["lsn"] == right


def test_an_enabled_subscription_of_the_source_is_refused_by_name(
    cloning: Cloning, host: ProviderHost
) -> None:
    cloning.slot()
    with cloning.source.connect(DATABASE) as conn:
        conn.execute(
            "CREATE SUBSCRIPTION upstream CONNECTION 'host=127.0.0.1 port=1 dbname=x password=x'"
            " PUBLICATION p WITH (connect = false, slot_name = 'x')"
        )
        conn.execute("ALTER SUBSCRIPTION upstream ENABLE")
    lab, clone = cloning.clone()
    assert "has subscription upstream" in refusal(host, cloning.props(clone))
    assert untouched(lab)


def _said_of_cron(cloning: Cloning, caplog: pytest.LogCaptureFixture) -> str:
    """Clone, and return the one line that warns of pg_cron."""
    _, clone = cloning.clone()
    with caplog.at_level(logging.WARNING, "bluegreen.replication.clone_origin"):
        CloneOriginProvider().create(cloning.props(clone))
    (line,) = [one.getMessage() for one in caplog.records if "pg_cron" in one.getMessage()]
    return line


def test_active_cron_jobs_are_named_in_one_line(
    cloning: Cloning, caplog: pytest.LogCaptureFixture
) -> None:
    cloning.slot()
    with cloning.source.connect(DATABASE) as conn:
        conn.execute("CREATE SCHEMA cron; CREATE TABLE cron.job (jobid bigint, active boolean)")
        conn.execute("INSERT INTO cron.job VALUES (7, true), (8, false)")
    assert "job(s) 7;" in _said_of_cron(cloning, caplog)


def test_cron_jobs_that_may_not_be_read_are_told_of(
    cloning: Cloning, caplog: pytest.LogCaptureFixture
) -> None:
    """Another role's, as AWS's own may be: only a superuser could name them."""
    cloning.slot()
    with cloning.source.as_superuser(DATABASE) as conn:
        conn.execute("CREATE SCHEMA cron; CREATE TABLE cron.job (jobid bigint, active boolean)")
        conn.execute("INSERT INTO cron.job VALUES (7, true)")
    line = _said_of_cron(cloning, caplog)
    assert ("can't be read: permission denied for schema cron" in line) == cloning.source.aurora


def test_a_missing_privilege_is_one_line_that_names_it(
    cloning: Cloning, host: ProviderHost
) -> None:
    cloning.slot()
    lab, clone = cloning.clone()
    with lab.as_superuser() as conn:
        conn.execute("ALTER ROLE clusteradmin NOSUPERUSER; ALTER DATABASE app OWNER TO rdsadmin")
    text = refusal(host, cloning.props(clone))
    assert text.count("\n") == 0
    assert clone.cluster in text
    with lab.as_superuser() as conn:
        conn.execute("ALTER DATABASE app OWNER TO clusteradmin")
        if not lab.aurora:
            conn.execute("ALTER ROLE clusteradmin SUPERUSER")
    assert host.create(cloning.props(clone)).outs["lsn"] == told(lab)
