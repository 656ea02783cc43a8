"""The passwords that applications have now, tried on the side that they will have to open."""

from __future__ import annotations

import pytest

from bluegreen.finding import Level
from bluegreen.postgres.server import Server
from bluegreen.switch.readiness import logins
from lab.postgres.server import LabServer
from tests.fixtures.postgres import OLD_AND_NEW, MakeServer
from tests.fixtures.rds import PlacedClusters

_PASSWORD = "of the application"


@pytest.fixture(params=OLD_AND_NEW)
def standby(request: pytest.FixtureRequest, make_server: MakeServer) -> LabServer:
    """Return a server with an application's role that may not log in yet."""
    lab: LabServer = make_server(request.param)
    with lab.connect() as conn:
        conn.execute("CREATE DATABASE app")
        conn.execute(f"CREATE ROLE shop NOLOGIN PASSWORD '{_PASSWORD}'")
    return lab


def _level(server: Server, arn: str) -> tuple[Level, str]:
    (found,) = logins.findings(server, "app", [arn])
    return found.level, found.line()


def test_a_password_is_tried_although_its_role_is_closed(
    standby: LabServer, placed: PlacedClusters
) -> None:
    server = placed.place(standby, "orders-2")
    now = placed.secret("shop", "shop", _PASSWORD)
    level, said = _level(server, now)
    assert (level, said.endswith("user and password are right")) == (Level.OK, True)
    with standby.connect() as conn:
        conn.execute("ALTER ROLE shop LOGIN")
    assert _level(server, now)[0] is Level.OK
    with standby.connect() as conn:
        conn.execute("REVOKE CONNECT ON DATABASE app FROM PUBLIC")
    assert _level(server, now)[0] is Level.OK


def test_a_secret_that_was_rotated_since_is_named_and_not_quoted(
    standby: LabServer, placed: PlacedClusters
) -> None:
    server = placed.place(standby, "orders-2")
    for user, password in (("shop", "the next one"), ("a stranger", _PASSWORD)):
        arn = placed.secret(user.replace(" ", "-"), user, password)
        level, said = _level(server, arn)
        assert level is Level.BLOCK
        assert said.startswith(f"login check on orders-2: secret {arn}: user or password is wrong")
        assert password not in said
    unknown = f"{arn}-unknown"
    level, said = _level(server, unknown)
    assert level is Level.BLOCK
    assert unknown in said


def test_what_can_not_be_tried_is_no_proof(standby: LabServer, placed: PlacedClusters) -> None:
    server = placed.place(standby, "orders-2")
    arn = placed.secret("shop", "shop", _PASSWORD)
    standby.stop()
    level, said = _level(server, arn)
    assert level is Level.BLOCK
    assert "can't be tried: " in said
    assert "shop" not in said.replace(arn, "")
    standby.start()
