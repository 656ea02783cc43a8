"""PostgreSQL's own pgbench beside our clients: a second database, a C client, sums that add up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab.postgres.binaries import binaries
from lab.workload.address import Address
from lab.workload.endpoint import Endpoint
from lab.workload.lifeline import Lifeline
from lab.workload.login import BENCH_DATABASE, Login

_MAJOR = 18  # its pgbench speaks to every supported server
_CLIENTS = 2
_POLL_SECONDS = 0.2
_STOP_SECONDS = 5.0


def initialize(host: str, port: int, login: Login, scale: int) -> None:
    """Make pgbench's four tables with 100,000 accounts per unit of `scale`."""
    # `G` makes the rows in the server, where `g` would send them all.
    command = [binaries(_MAJOR).tool("pgbench"), "-i", "-q", "-I", "dtGvp", "-s", str(scale)]
    done = subprocess.run(
        command,
        env=_environment(Address(host, port), login),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"pgbench -i exited with {done.returncode}: {done.stderr.strip()}")


def supervise(endpoint: Endpoint, login: Login, rate: int, log: Path, lifeline: Lifeline) -> None:
    """Keep pgbench running until the lifeline ends; start it anew whenever a switch ended it."""
    with log.open("ab") as output:
        while (conn := endpoint.connect(lifeline)) is not None:
            where = Address.of(conn)
            conn.close()
            process = _start(where, login, rate, output.fileno())
            while process.poll() is None and not lifeline.ended():
                lifeline.wait(_POLL_SECONDS)
            _end(process)


def _start(where: Address, login: Login, rate: int, output: int) -> subprocess.Popen[bytes]:
    command = [binaries(_MAJOR).tool("pgbench"), "-n", "-c", str(_CLIENTS), "-j", "1"]
    command += ["-M", "prepared", f"--rate={rate}", "-T", "86400"]
    return subprocess.Popen(
        command,
        env=_environment(where, login),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _environment(where: Address, login: Login) -> dict[str, str]:
    # libpq in C resolves by the C library, which the lab's DNS can't reach: an address it is.
    return binaries(_MAJOR).environment | {
        "HOME": os.devnull,
        "PGHOST": where.host,
        "PGHOSTADDR": where.host,
        "PGPORT": str(where.port),
        "PGDATABASE": BENCH_DATABASE,
        "PGUSER": login.user,
        "PGPASSWORD": login.password,
        "PGSSLMODE": "disable",
        "PGAPPNAME": "pgbench",
    }
