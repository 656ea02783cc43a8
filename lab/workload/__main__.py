"""The workload by hand: `python -m lab.workload seed|run|check`.

Passwords come from the environment: `LAB_MASTER_PASSWORD` for `seed` and `check`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from lab.workload import checker, schema
from lab.workload.checker import Side
from lab.workload.login import Login
from lab.workload.workload import Workload

app = typer.Typer(add_completion=False, no_args_is_help=True)

Host = Annotated[str, typer.Option(help="Name or address of the writer.")]
Port = Annotated[int, typer.Option(help="Port of all servers.")]
User = Annotated[str, typer.Option(help="The master user.")]
Folder = Annotated[Path, typer.Option(help="Where clients keep their records.")]


@app.command()
def seed(host: Host, port: Port = 5432, user: User = "clusteradmin") -> None:
    """Make the roles, the databases app and bench, and a million rows."""
    started = time.monotonic()
    schema.seed(host, port, _master(user))
    print(f"seeded in {time.monotonic() - started:.1f} s")


@app.command()
def run(
    host: Host,
    folder: Folder,
    port: Port = 5432,
    seconds: Annotated[float, typer.Option(help="How long.")] = 60,
    clients: Annotated[int, typer.Option(help="Client processes.")] = 8,
    rate: Annotated[float, typer.Option(help="Transactions per second of all clients.")] = 1000,
    probe: Annotated[list[str] | None, typer.Option(help="HOST to watch for writability.")] = None,
) -> None:
    """Write by the name until the time is over, with a line of counters every second."""
    with Workload(folder) as workload:
        workload.start(host, port, clients=clients, rate=rate)
        for name in probe or []:
            workload.probe(name, port)
        before = workload.wait_until_running()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            now = workload.live()
            print(
                f"{now.committed} committed, {now.rate(before):.0f}/s,"
                f" longest gap {now.longest_gap_ms:.0f} ms,"
                f" on {', '.join(map(str, now.servers))}, errors {now.errors}"
            )
            before = now
        last = workload.stop()
    print(f"{last.committed} committed, {last.failed} refused, {last.lost_connections} ambiguous")


@app.command()
def check(
    folder: Folder,
    writer: Annotated[str, typer.Option(help="Address of the final writer.")],
    standby: Annotated[str | None, typer.Option(help="Address of the other side.")] = None,
    port: Port = 5432,
    user: User = "clusteradmin",
    json: Annotated[bool, typer.Option("--json", help="The whole report.")] = False,
) -> None:
    """Prove that nothing was lost or doubled; exit with 1 when something was."""
    login = _master(user)
    other = None if standby is None else Side(standby, port, login)
    report = checker.check(folder, Side(writer, port, login), other)
    print(report.to_json() if json else "\n".join(report.problems) or "nothing lost or doubled")
    raise typer.Exit(0 if report.ok else 1)


def _master(user: str) -> Login:
    return Login(user, os.environ.get("LAB_MASTER_PASSWORD", ""))


if __name__ == "__main__":
    app()
