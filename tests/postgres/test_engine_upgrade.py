"""A cluster that runs the wanted version: verified, never touched without need."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from moto.rds.models import RDSBackend

from bluegreen.postgres.server import Server
from bluegreen.upgrade import engine, parameters
from dynamic_providers.engine_upgrade import EngineUpgradeProvider
from dynamic_providers.host_errors import ProviderError
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer
from tests.fixtures.rds import PlacedClusters

provider = EngineUpgradeProvider()


@pytest.fixture
def lab(make_server: MakeServer) -> LabServer:
    server = make_server(16, autovacuum="off")
    with server.connect() as conn:
        conn.execute("CREATE DATABASE app")
    with server.connect("app") as conn:
        conn.execute("CREATE TABLE orders AS SELECT generate_series(1, 100) AS id")
    return server


@pytest.fixture
def server(lab: LabServer, placed: PlacedClusters) -> Server:
    for name in ("cluster-16", "cluster-16-other"):
        placed.rds.create_db_cluster_parameter_group(
            DBClusterParameterGroupName=name,
            DBParameterGroupFamily="aurora-postgresql16",
            Description="test",
        )
    return placed.place(
        lab, "orders-2", EngineVersion="16.6", DBClusterParameterGroupName="cluster-16"
    )


def props(server: Server, version: str, group: str | None = "cluster-16") -> dict[str, Any]:
    return {
        "server": server.to_props(),
        "databases": ["app"],
        "engine_version": version,
        "cluster_parameter_group": group,
        "instance_parameter_group": None,
        "timeout_seconds": 60.0,
    }


def analyzed(lab: LabServer) -> bool:
    with lab.connect("app") as conn:
        row = conn.execute("SELECT reltuples FROM pg_class WHERE relname = 'orders'").fetchone()
    return row == (100,)


def test_an_environment_that_serves_is_only_verified(server: Server, lab: LabServer) -> None:
    made = provider.create(props(server, "16.6"))
    assert made.outs is not None
    assert made.outs["engine_version_actual"] == "16.6"
    assert not analyzed(lab)
    assert not provider.diff(made.id, made.outs, props(server, "16.6")).changes
    assert provider.diff(made.id, made.outs, props(server, "16.8")).changes


def test_a_clone_gets_what_an_interrupted_upgrade_left_undone(
    server: Server, lab: LabServer
) -> None:
    with lab.connect() as conn:
        conn.execute("ALTER DATABASE app SET default_transaction_read_only = on")
    provider.create(props(server, "16.6"))
    assert analyzed(lab)


def test_another_parameter_group_is_given_to_the_cluster(
    server: Server, placed: PlacedClusters
) -> None:
    provider.create(props(server, "16.6", "cluster-16-other"))
    described = placed.rds.describe_db_clusters(DBClusterIdentifier="orders-2")["DBClusters"][0]
    assert described["DBClusterParameterGroup"] == "cluster-16-other"


def test_a_clone_is_rebooted_for_the_group_that_has_what_its_first_one_left_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it is closed, also when an earlier run gave it the group and was interrupted."""
    rebooted = []

    def reboot(self: RDSBackend, db_instance_identifier: str) -> object:
        # A plain moto's instances have no server to restart.
        rebooted.append(db_instance_identifier)
        waiting.clear()
        return self.describe_db_instances(db_instance_identifier)[0]

    def status(_: str) -> bool:
        return bool(waiting)

    waiting = ["orders-2-1"]
    monkeypatch.setattr(RDSBackend, "reboot_db_instance", reboot)
    monkeypatch.setattr(parameters, "waits", status)
    provider.create(props(server, "16.6"))
    provider.create(props(server, "16.6", "cluster-16-other"))
    assert rebooted == []  # one that is open serves somebody
    with server.connect("app") as conn:
        conn.execute("ALTER DATABASE app SET default_transaction_read_only = on")
    provider.create(props(server, "16.6", "cluster-16-other"))
    assert rebooted == ["orders-2-1"]
    waiting.append("orders-2-1")
    provider.create(props(server, "16.6"))
    assert rebooted == ["orders-2-1", "orders-2-1"]


def test_a_major_upgrade_is_asked_for_awaited_and_finished(
    placed: PlacedClusters, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A plain moto knows no upgrade targets, and only the label of its cluster changes: the server
    # has the new version from the start.
    monkeypatch.setattr(engine, "targets", lambda _: {"18.4": True})
    upgraded = make_server(18, autovacuum="off")
    with upgraded.connect() as conn:
        conn.execute("CREATE DATABASE app")
    with upgraded.connect("app") as conn:
        conn.execute("CREATE TABLE orders AS SELECT generate_series(1, 100) AS id")
    placed.rds.create_db_cluster_parameter_group(
        DBClusterParameterGroupName="cluster-18",
        DBParameterGroupFamily="aurora-postgresql18",
        Description="test",
    )
    server = placed.place(upgraded, "orders-3", EngineVersion="16.6")
    with pytest.raises(
        ProviderError, match=r"no upgrade from 16\.6 to 18\.1; allowed to 18: 18\.4"
    ):
        provider.create(props(server, "18.1", "cluster-18"))
    with upgraded.connect("app") as conn:
        conn.execute("SELECT pg_create_logical_replication_slot('debezium', 'pgoutput')")
    with pytest.raises(ProviderError, match=r"has logical slots \(debezium\)"):
        provider.create(props(server, "18.4", "cluster-18"))
    with upgraded.connect("app") as conn:
        conn.execute("SELECT pg_drop_replication_slot('debezium')")
    made = provider.create(props(server, "18.4", "cluster-18"))
    assert made.outs is not None
    assert made.outs["engine_version_actual"] == "18.4"
    assert analyzed(upgraded)
    described = placed.rds.describe_db_clusters(DBClusterIdentifier="orders-3")["DBClusters"][0]
    assert described["DBClusterParameterGroup"] == "cluster-18"


def test_an_older_version_is_refused(server: Server) -> None:
    with pytest.raises(ProviderError, match=r"engine version is 16\.6, 16\.4 asked for"):
        provider.create(props(server, "16.4"))
    made = provider.create(props(server, "16.6"))
    assert made.outs is not None
    with pytest.raises(ProviderError, match="Aurora can't go back"):
        provider.update(made.id, made.outs, props(server, "15.9"))


def test_a_minor_that_aws_brought_is_seen_and_kept(
    server: Server, placed: PlacedClusters, caplog: pytest.LogCaptureFixture
) -> None:
    made = provider.create(props(server, "16.6"))
    assert made.outs is not None
    placed.rds.modify_db_cluster(
        DBClusterIdentifier="orders-2", EngineVersion="16.8", ApplyImmediately=True
    )
    live = provider.read(made.id, made.outs)
    assert live.outs is not None
    assert live.outs["engine_version_actual"] == "16.8"
    assert not provider.diff(made.id, live.outs, props(server, "16.6")).changes
    with caplog.at_level(logging.WARNING):
        kept = provider.update(made.id, live.outs, props(server, "16.6", None)).outs
    assert kept is not None
    assert kept["engine_version_actual"] == "16.8"
    assert "runs 16.8, newer than 16.6" in caplog.text


def test_deleting_it_changes_nothing_and_a_cluster_that_is_gone_reads_as_gone(
    server: Server, placed: PlacedClusters
) -> None:
    made = provider.create(props(server, "16.6"))
    assert made.outs is not None
    provider.delete(made.id, made.outs)
    assert provider.read(made.id, made.outs).id == "orders-2"
    placed.rds.delete_db_instance(DBInstanceIdentifier="orders-2-1", SkipFinalSnapshot=True)
    placed.rds.delete_db_cluster(DBClusterIdentifier="orders-2", SkipFinalSnapshot=True)
    assert provider.read(made.id, made.outs).id is None


def in_place(server: Server, version: str, allow: str) -> dict[str, Any]:
    return props(server, version) | {"allow_reboot": allow}


def test_an_environment_that_serves_is_brought_to_a_minor_when_it_may(
    server: Server, lab: LabServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "targets", lambda _: {"16.8": False, "18.4": True})
    made = provider.create(in_place(server, "16.6", "never"))
    assert made.outs is not None
    with pytest.raises(ProviderError, match=r"runs 16\.6, expected 16\.8; the upgrade restarts it"):
        provider.update(made.id, made.outs, in_place(server, "16.8", "never"))
    with pytest.raises(ProviderError, match="another major version"):
        provider.update(made.id, made.outs, in_place(server, "18.4", "now"))
    newer = provider.update(made.id, made.outs, in_place(server, "16.8", "now")).outs
    assert newer is not None
    assert newer["engine_version_actual"] == "16.8"
    assert not analyzed(lab)


def test_a_minor_that_aws_brought_before_the_first_look_stays(server: Server) -> None:
    made = provider.create(in_place(server, "16.4", "never"))
    assert made.outs is not None
    assert made.outs["engine_version_actual"] == "16.6"
    assert not provider.diff(made.id, made.outs, in_place(server, "16.4", "never")).changes


def test_the_groups_of_an_environment_that_serves_are_left_alone(
    server: Server, placed: PlacedClusters
) -> None:
    provider.create(in_place(server, "16.6", "now") | {"cluster_parameter_group": "other"})
    described = placed.rds.describe_db_clusters(DBClusterIdentifier="orders-2")["DBClusters"][0]
    assert described["DBClusterParameterGroup"] == "cluster-16"


def test_a_standby_that_its_own_stack_looks_at_is_left_as_it_is(
    server: Server, lab: LabServer
) -> None:
    with lab.connect() as conn:
        conn.execute("ALTER DATABASE app SET default_transaction_read_only = on")
    provider.create(in_place(server, "16.6", "never"))
    assert not analyzed(lab)
