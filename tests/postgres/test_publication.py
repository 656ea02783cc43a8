"""`postgres:Publication` on real servers, through the real provider host."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.server import Server
from dynamic_providers.publication import PublicationProvider
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer
from tests.fixtures.provider_host import Host, ProviderHost
from tests.fixtures.rds import PlacedClusters


@pytest.fixture(params=[16, 18])
def writer(request: pytest.FixtureRequest, make_server: MakeServer) -> LabServer:
    """Return a server with one database and one table."""
    server = make_server(request.param, "writer")
    with server.connect() as conn:
        conn.execute("CREATE DATABASE app")
    with server.connect("app") as conn:
        conn.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return server


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(PublicationProvider())


@pytest.fixture
def props(writer: LabServer, placed: PlacedClusters) -> dict[str, Any]:
    """Return the wish for all tables."""
    server: Server = placed.place(writer, "orders-1")
    return {
        "server": server.to_props(),
        "database": "app",
        "name": "bg_green_forward",
        "scope": {"kind": "all"},
        "replica_identity": {},
    }


def test_no_change_gives_no_diff(host: ProviderHost, props: dict[str, Any]) -> None:
    made = host.create(props)
    live = host.read(made)
    assert live is not None
    assert not host.diff(live, props).changes
