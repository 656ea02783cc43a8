"""TLS between the clusters: the subscriber's server trusts by its own files, not the operator's.

By PostgreSQL 17, which is fetched: the wheel's servers are built without TLS.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bluegreen.postgres.server import Server
from dynamic_providers.subscription import SubscriptionProvider
from lab.postgres.certificates import Authority
from lab.postgres.owner import owner
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer
from tests.fixtures.provider_host import Host, HostError, ProviderHost
from tests.fixtures.rds import PlacedClusters
from tests.fixtures.subscribed import Subscribed, prepare

pytestmark = pytest.mark.slow

_MAJOR = 17
_UNIQUE = "w!o#r"  # a part of the password that no quoting changes


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(SubscriptionProvider())


@pytest.fixture
def authority() -> Authority:
    """Return who signs the servers' certificates."""
    return Authority.made("database authority")


@pytest.fixture
def secured(
    make_server: MakeServer,
    placed: PlacedClusters,
    authority: Authority,
    postgres_root: Path,
    tmp_path: Path,
) -> Subscribed:
    """Return two clusters that speak TLS; the operator's CA file is nothing that they can read."""
    tmp_path.chmod(0o700)
    operators = authority.write(tmp_path / "operators.pem")
    servers = authority.write(postgres_root / "servers.pem")
    owner().take(servers)

    def speaking_tls(name: str) -> LabServer:
        lab = make_server(_MAJOR, name)
        certified = authority.certify(postgres_root, lab.host, [lab.host])
        lab.configure(**certified, ssl_ca_file=str(servers))
        lab.restart()
        return lab

    def place(lab: LabServer) -> Server:
        credentials = replace(placed.credentials(lab), tls="verify-full", ca_file=str(operators))
        return placed.place_with(lab, lab.name, credentials)

    source, target = speaking_tls("publisher"), speaking_tls("subscriber")
    this = Subscribed(place(source), place(target), source, target, placed, "app", "d")
    prepare(this)
    return this


def _with(this: Subscribed, **credentials: str) -> dict[str, object]:
    changed = replace(this.source.credentials, **credentials)
    return this.props | {"publisher": replace(this.source, credentials=changed).to_props()}


def _mode(this: Subscribed) -> tuple[str | None, str | None]:
    ((text,),) = this.on_target("SELECT subconninfo FROM pg_subscription", superuser=True)
    words = dict(word.partition("=")[::2] for word in text.split() if "=" in word)
    return words.get("sslmode"), words.get("sslrootcert")


def _trust_another(this: Subscribed, path: Path) -> None:
    Authority.made("another authority").write(path)
    owner().take(path)
    this.target_lab.configure(ssl_ca_file=str(path))
    this.target_lab.restart()


def test_a_subscription_trusts_what_its_own_server_trusts(
    host: ProviderHost, secured: Subscribed, postgres_root: Path
) -> None:
    host.create(secured.props)
    assert _mode(secured) == ("verify-full", str(postgres_root / "servers.pem"))
    secured.write(3)
    secured.wait_until_equal()
    seen = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)"
    assert secured.on_source(seen) == [(True,)]
    assert _UNIQUE not in secured.target_lab.log.read_text()


def test_what_it_does_not_trust_is_refused_before_a_password_is_sent(
    host: ProviderHost, secured: Subscribed, postgres_root: Path
) -> None:
    another = postgres_root / "another.pem"
    _trust_another(secured, another)
    with pytest.raises(HostError, match=r"certificate verify failed; set credentials\.subscr"):
        host.create(secured.props)
    assert secured.on_target("SELECT FROM pg_subscription") == []
    log = secured.target_lab.log.read_text()
    assert "CREATE SUBSCRIPTION" in log, "the server writes down what fails"
    assert _UNIQUE not in log
    host.create(_with(secured, subscription_tls="require"))
    assert _mode(secured) == ("require", None)
    secured.write(3)
    secured.wait_until_equal()


def test_its_file_may_be_named(
    host: ProviderHost, secured: Subscribed, postgres_root: Path
) -> None:
    _trust_another(secured, postgres_root / "another.pem")
    right = str(postgres_root / "servers.pem")
    host.create(_with(secured, subscription_ca_file=right))
    assert _mode(secured) == ("verify-full", right)
    secured.write(3)
    secured.wait_until_equal()
