"""Users' errors are one line under the pinned SDK and under a newer one, which adds tracebacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dynamic_providers.publication import PublicationProvider
from tests.fixtures.provider_host import HostError, running

NEWER = "3.272.0"
_ARN = "arn:aws:secretsmanager:eu-west-1:1:secret:missing"
_PROPS: dict[str, Any] = {
    "server": {
        "cluster": "orders",
        "region": "eu-west-1",
        "host": "127.0.0.1",
        "port": 1,
        "credentials": {"admin_secret_arn": _ARN, "replication_secret_arn": _ARN},
    },
    "database": "app",
    "name": "bg",
    "scope": {"kind": "all"},
}
_LINE = f"secret {_ARN}: ResourceNotFoundException; check the ARN and secretsmanager:GetSecretValue"


def _error(moto_url: str, log: Path, **environment: str) -> str:
    with running(moto_url, log, **environment) as host, pytest.raises(HostError) as raised:
        host.of(PublicationProvider()).create(_PROPS)
    return str(raised.value)


def test_an_error_is_one_line(moto_url: str, tmp_path: Path) -> None:
    assert _error(moto_url, tmp_path / "stderr") == _LINE


@pytest.mark.slow
def test_an_error_is_one_line_under_a_newer_sdk(moto_url: str, tmp_path: Path) -> None:
    newer = tmp_path / "sdk"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--target", str(newer), f"pulumi=={NEWER}"], check=True)
    assert _error(moto_url, tmp_path / "stderr", PYTHONPATH=str(newer)) == _LINE
