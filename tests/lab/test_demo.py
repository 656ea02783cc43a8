"""The demo proves what it says, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    "dns_delay", [0, pytest.param(5, marks=pytest.mark.long)], ids=["dns-at-once", "dns-after-5-s"]
)
def test_the_demo_loses_nothing_and_leaves_nothing(dns_delay: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.demo", "--name", "demotest", "--dns-delay", str(dns_delay)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    result = json.loads((ROOT / ".lab" / "demo.json").read_text())
    assert result["acknowledged"] > 10_000
    assert [result[k] for k in ("lost", "duplicated", "both_writable", "sequences_wrong")] == [
        0
    ] * 4
    assert len(result["cutover_outage_ms"]) >= 2
    assert len(result["rollback_outage_ms"]) >= 1
    outages = result["cutover_outage_ms"] + result["rollback_outage_ms"]
    # Clients follow the name: they can't be on the new writer before it leads there.
    assert min(outages) >= 1000 * dns_delay
    assert max(outages) < 1000 * dns_delay + 500
    assert len(result["closed_ms"]) == len(outages)
    assert max(result["closed_ms"]) < 500
    assert result["seconds"] <= 360
    left = [p for p in psutil.process_iter(["cmdline"]) if "demotest" in str(p.info["cmdline"])]
    assert left == []
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ".lab" not in status.stdout
