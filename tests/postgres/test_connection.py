"""Connection strings with everything in them that could trip one up, at both ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from psycopg import sql

from bluegreen.replication.subscription.connection import execute_secret
from dynamic_providers.caught_up import CaughtUpProvider
from dynamic_providers.subscription import SubscriptionProvider
from lab.postgres.server import LabServer
from tests.fixtures.postgres import PAIRS
from tests.fixtures.provider_host import Host, HostError
from tests.fixtures.subscribed import Subscribed

_NAMES = {
    "hyphen": "order-book",
    "capitals": "OrderBook",
    "space": "order book",
    "quotes": "o'r\"der",
    "backslash": "order\\book",
    "equals": "dbname=postgres",
    "uri": "postgresql://x@y/z?a=b",
    "percent": "order%20book%s",
    "braces": "{order}",
    "bytes": "ö" * 31 + "x",
}
_PASSWORDS = {
    "all": "@ ! ' # \\ % \" / : ? & = $ ~ {} %s",
    "quote-and-backslash": "\\' \\\\' '",
    "end": "ends with backslash\\",
    "spaces": "  two  ",
    "like-a-string": "x' password='y",
}


def _role(server: LabServer, name: str, password: str) -> None:
    with server.as_superuser() as conn:
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(
                sql.Identifier(name), sql.Literal(password)
            )
        )


@pytest.mark.parametrize("majors", PAIRS)
@pytest.mark.parametrize(
    ("name", "password"),
    [
        pytest.param(name, list(_PASSWORDS.values())[number % len(_PASSWORDS)], id=kind)
        for number, (kind, name) in enumerate(_NAMES.items())
    ],
)
def test_hard_users_databases_and_passwords(
    provider_host: Host,
    subscribe_pair: Callable[..., Subscribed],
    majors: tuple[int, int],
    name: str,
    password: str,
) -> None:
    """Database, administrator and replication role all have the name, on both sides."""
    this = subscribe_pair(*majors, database=name)
    labs = (this.source_lab, this.target_lab)
    for lab in labs:
        _role(lab, name, password)
    try:
        this.source, this.target = (
            replace(
                server,
                credentials=replace(
                    server.credentials,
                    admin_secret_arn=this.placed.secret(f"{server.cluster}-x", name, password),
                    replication_secret_arn=this.placed.secret(
                        f"{server.cluster}-y", name, password
                    ),
                ),
            )
            for server in (this.source, this.target)
        )
        host = provider_host.of(SubscriptionProvider())
        made = host.create(this.props)
        this.write(3)
        this.wait_until_equal()
        live = host.read(made)
        assert live is not None
        assert not host.diff(live, this.props).changes
        assert not _shown(this, password)
        assert password not in str(live)
        host.delete(made)
    finally:
        for lab in labs:
            with lab.as_superuser() as conn:
                conn.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def _shown(this: Subscribed, password: str) -> list[Any]:
    """Return sessions that still show the password, as a statement or within a string."""
    found = []
    for run in (this.on_source, this.on_target):
        texts = run("SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        found += [text for (text,) in texts if text and "CONNECTION" in text]
        found += [text for (text,) in texts if text and password in text]
    return found


def _ordinary_role_is_told(this: Subscribed, caplog: pytest.LogCaptureFixture) -> None:
    """Check that a role which may not silence the log is told that it takes the password."""
    with this.target_lab.connect(this.database) as conn:
        conn.execute("CREATE ROLE ordinary; GRANT ordinary TO CURRENT_USER")
        conn.execute("SET ROLE ordinary")
        execute_secret(conn, sql.SQL("SELECT {}").format(sql.Literal(1)), "bg")
        conn.execute("RESET ROLE")
        conn.execute("DROP ROLE ordinary")
    (said,) = [one.getMessage() for one in caplog.records if "in clear" in one.getMessage()]
    for loud in ("log_statement = all", "log_min_duration_statement = 0"):
        assert loud in said


def test_no_password_in_the_servers_log(
    provider_host: Host,
    subscribe_pair: Callable[..., Subscribed],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Even of a server that logs every statement and its duration; nor when making it fails."""
    this = subscribe_pair(16, 18)
    secret = "s3cr3t'in \\ the#log"
    this.set_role_password(secret)
    this.set_secret(secret)
    this.on_target("ALTER SYSTEM SET log_statement = 'all'", superuser=True)
    this.on_target("ALTER SYSTEM SET log_min_duration_statement = 0", superuser=True)
    this.on_target("ALTER SYSTEM SET log_transaction_sample_rate = 1", superuser=True)
    this.on_target("SELECT pg_reload_conf()", superuser=True)
    try:
        _ordinary_role_is_told(this, caplog)
        host = provider_host.of(SubscriptionProvider())
        wish = this.props | {"enabled": False}  # so that its slot stays where it is
        made = host.create(wish)
        host.update(made, wish | {"streaming": "off"})
        this.alter("CONNECTION 'host=127.0.0.1 port=1 dbname=x password=x'")
        host.update(made, wish)
        this.on_target("DROP TABLE orders")
        host.delete(made)
        with pytest.raises(HostError, match="does not exist; create that table"):
            host.create(wish)
    finally:
        this.on_target("ALTER SYSTEM RESET ALL", superuser=True)
        this.target_lab.configure()
        this.on_target("SELECT pg_reload_conf()", superuser=True)
    log = this.target_lab.log.read_text()
    assert "DROP TABLE orders" in log, "the log shows statements"
    if not this.target_lab.aurora:  # there nobody may silence the log, and that is said, as above
        assert "s3cr3t" not in log
    assert "s3cr3t" not in provider_host.log.read_text()


def test_hard_names_in_a_gate(
    provider_host: Host, subscribe_pair: Callable[..., Subscribed]
) -> None:
    this = subscribe_pair(16, 18, database="gate \"way's")
    made = provider_host.of(SubscriptionProvider()).create(this.props)
    props = {
        "publisher": this.source.to_props(),
        "subscriber": this.target.to_props(),
        "databases": [this.database],
        "deployment": this.deployment,
        "direction": "forward",
        "lag_seconds": 10,
        "stable_seconds": 0,
        "timeout_seconds": 30,
    }
    assert provider_host.of(CaughtUpProvider()).create(props).outs["lag_ms"] > 0
    provider_host.of(SubscriptionProvider()).delete(made)
