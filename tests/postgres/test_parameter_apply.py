"""Static parameters of a real server: in force, waiting, and what is said about those."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from moto.rds.models import RDSBackend

from bluegreen.postgres.server import Server
from dynamic_providers.host_errors import ProviderError
from dynamic_providers.parameter_apply import ParameterApplyProvider
from lab.postgres.server import LabServer
from tests.fixtures.postgres import OLD_AND_NEW, MakeServer
from tests.fixtures.rds import PlacedClusters

provider = ParameterApplyProvider()
GROUP = "orders-cluster"


@pytest.fixture(params=OLD_AND_NEW)
def lab(request: pytest.FixtureRequest, make_server: MakeServer) -> LabServer:
    return make_server(request.param, wal_level="replica", max_replication_slots="12")


@pytest.fixture
def server(lab: LabServer, placed: PlacedClusters) -> Server:
    placed.rds.create_db_cluster_parameter_group(
        DBClusterParameterGroupName=GROUP,
        DBParameterGroupFamily=f"aurora-postgresql{lab.major}",
        Description="test",
    )
    return placed.place(lab, "orders-1", DBClusterParameterGroupName=GROUP)


def props(server: Server, allow: str, **parameters: Any) -> dict[str, Any]:
    return {
        "server": server.to_props(),
        "parameters": parameters,
        "allow_reboot": allow,
        "timeout_seconds": 30.0,
    }


def logical(server: Server, allow: str) -> dict[str, Any]:
    return props(server, allow) | {"parameters": {"rds.logical_replication": "1"}}


@pytest.mark.parametrize("allow", ["never", "window", "now"])
def test_what_is_in_force_is_only_verified(server: Server, allow: str) -> None:
    made = provider.create(props(server, allow, max_replication_slots=12.0))
    assert made.outs is not None
    assert made.outs["effective"] == {"max_replication_slots": "12"}
    assert made.outs["waiting"] == []
    assert not provider.diff(
        made.id, made.outs, props(server, "now", max_replication_slots=12.0)
    ).changes


def test_what_waits_is_refused_with_the_setting_that_allows_the_reboot(server: Server) -> None:
    with pytest.raises(ProviderError, match=r"replica, expected 1; .*allow_reboot to now"):
        provider.create(logical(server, "never"))


def test_what_waits_for_the_window_is_said_and_looked_at_again(
    server: Server, lab: LabServer, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = logical(server, "window")
    with caplog.at_level(logging.WARNING):
        made = provider.create(wanted)
    assert made.outs is not None
    assert made.outs["waiting"] == ["rds.logical_replication"]
    assert "do that in the maintenance window" in caplog.text
    assert provider.diff(made.id, made.outs, wanted).changes
    lab.configure(wal_level="logical")
    lab.restart()
    live = provider.read(made.id, made.outs)
    assert live.outs is not None
    assert live.outs["effective"] == {"rds.logical_replication": "logical"}
    assert live.outs["waiting"] == []
    assert not provider.diff(made.id, live.outs, wanted).changes


def test_a_reboot_that_is_allowed_brings_it_into_force(
    server: Server, lab: LabServer, placed: PlacedClusters, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed.rds.modify_db_cluster_parameter_group(
        DBClusterParameterGroupName=GROUP,
        Parameters=[
            {
                "ParameterName": "rds.logical_replication",
                "ParameterValue": "1",
                "ApplyMethod": "pending-reboot",
            }
        ],
    )
    lab.configure(wal_level="logical")
    rebooted = []

    def reboot(self: RDSBackend, db_instance_identifier: str) -> object:
        # A plain moto's instances have no server to restart.
        lab.restart()
        rebooted.append(db_instance_identifier)
        return self.describe_db_instances(db_instance_identifier)[0]

    monkeypatch.setattr(RDSBackend, "reboot_db_instance", reboot)
    made = provider.create(logical(server, "now"))
    assert made.outs is not None
    assert made.outs["effective"] == {"rds.logical_replication": "logical"}
    assert made.outs["waiting"] == []
    assert rebooted == ["orders-1-1"]
    provider.update(made.id, made.outs, logical(server, "now"))
    assert rebooted == ["orders-1-1"]


@pytest.mark.parametrize("allow", ["never", "window"])
def test_a_clone_is_rebooted_without_leave_only_while_it_is_closed(
    server: Server, lab: LabServer, allow: str
) -> None:
    """While a flag is flipped back the clone is the writer still: the server is asked, no flag."""
    asked = logical(server, allow) | {"standby_databases": ["postgres"]}
    started = lab.pid()
    if allow == "never":
        with pytest.raises(ProviderError, match="allow_reboot to now"):
            provider.create(asked)
    else:
        made = provider.create(asked)
        assert made.outs is not None
        assert made.outs["waiting"] == ["rds.logical_replication"]
    assert lab.pid() == started
    with lab.as_superuser() as conn:
        conn.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    # It would be rebooted now, if its group had the value.
    with pytest.raises(ProviderError, match=f"parameter group {GROUP} .*is not set, expected 1"):
        provider.create(asked)


def test_no_reboot_for_what_the_group_does_not_hold(server: Server, lab: LabServer) -> None:
    started = lab.pid()
    with pytest.raises(ProviderError, match=f"parameter group {GROUP} .*is not set, expected 1"):
        provider.create(logical(server, "now"))
    assert lab.pid() == started


def test_another_word_for_the_reboot_is_refused_by_check(server: Server) -> None:
    checked = provider.check({}, props(server, "always"))
    assert [f.reason for f in checked.failures] == ["got 'always', allowed are never, window, now"]


def test_a_cluster_that_is_gone_reads_as_gone(server: Server, placed: PlacedClusters) -> None:
    made = provider.create(props(server, "never"))
    assert made.outs is not None
    placed.rds.delete_db_instance(DBInstanceIdentifier="orders-1-1", SkipFinalSnapshot=True)
    placed.rds.delete_db_cluster(DBClusterIdentifier="orders-1", SkipFinalSnapshot=True)
    assert provider.read(made.id, made.outs).id is None
