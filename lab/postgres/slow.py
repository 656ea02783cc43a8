"""A slow network before the primaries: one proxy each, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

PRIMARIES = (11, 12)
"""The last numbers of the two primaries' addresses."""

_PROXY = 100  # added to the last number of an address


def proxy_of(host: str) -> str:
    """Return the address of the proxy before the server at `host`."""
    block, _, number = host.rpartition(".")
    return f"{block}.{int(number) + _PROXY}"


def start_proxies(block: str, port: int, delay_ms: float) -> subprocess.Popen[str] | None:
    """Start them, with `delay_ms` in each direction; None without a delay.

    They end with this process, or when their input closes.
    """
    if not delay_ms:
        return None
    servers = [f"{block}.{number}" for number in PRIMARIES]
    pairs = [f"{proxy_of(host)}:{port}={host}:{port}" for host in servers]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab.proxy", "--delay-ms", str(delay_ms), *pairs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise OSError(f"the proxies of {block}.x did not start")
    return process
