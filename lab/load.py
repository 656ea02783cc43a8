"""Load for a lab that stays: its databases seeded, and clients on the writer until told to stop."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import boto3
import psycopg

from lab import dns, leftovers
from lab import seed as seeds
from lab.place import Place
from lab.workload import checker, schema
from lab.workload.address import resolve
from lab.workload.checker import Side
from lab.workload.login import Login
from lab.workload.schema import Logins
from lab.workload.workload import Workload

Say = Callable[[str], None]

_EVERY_SECONDS = 2.0


class NoWriter(Exception):
    """There is nobody to write to yet; the message says what to do."""


def run(place: Place, say: Say) -> bool:
    """Seed the lab's databases if they are empty, then write until Ctrl-C or the lab's end.

    Returns whether the writer then held exactly what the clients were told. Raises `NoWriter`
    before the source has been brought up.
    """
    dns.use(place.dns)
    vault = _vault(place)
    master, replicator = (_login(vault, user) for user in (seeds.MASTER, seeds.REPLICATOR))
    logins = Logins(replicator=replicator)
    try:
        resolve(seeds.WRITER, place.port)
    except OSError:
        raise NoWriter(
            f"lab {place.name}: {seeds.WRITER} leads nowhere yet; run `pulumi up -s blue` first"
        ) from None
    if not _seeded(place, master, logins):
        say("seeding the databases app and bench: a million rows, some 20 s")
        schema.seed(seeds.WRITER, place.port, master, logins)
    with Workload(place.folder / "workload", logins) as workload:
        workload.start(seeds.WRITER, place.port)
        _watch(place, workload, say)
        workload.stop()
    if not leftovers.running(place):
        say("the lab has ended, so nothing is left to compare with")
        return True
    say("comparing what the clients were told with what the writer holds")
    where = resolve(seeds.WRITER, place.port)
    report = checker.check(place.folder / "workload", Side(where.host, where.port, master), None)
    for problem in report.problems:
        say(problem)
    for switch in report.switches:
        say(f"nobody could write for {switch.outage_ms:.0f} ms")
    say(f"{report.keys.acknowledged:,} acknowledged, {len(report.keys.lost)} lost")
    return bool(report.ok)


def _watch(place: Place, workload: Workload, say: Say) -> None:
    """Tell the counters until somebody ends it."""
    before = workload.wait_until_running()
    say("writing; Ctrl-C ends it and checks what was written")
    try:
        while leftovers.running(place):
            time.sleep(_EVERY_SECONDS)
            now = workload.live()
            say(
                f"{now.committed:,} committed, {now.rate(before):,.0f}/s on"
                f" {', '.join(map(str, now.servers))}; longest gap {now.longest_gap_ms:.0f} ms,"
                f" {sum(now.errors.values())} errors"
            )
            workload.reset_gap()
            before = now
    except KeyboardInterrupt:
        return


def _vault(place: Place) -> Any:
    """Return a client of the lab's Secrets Manager."""
    url = re.search(r"^export AWS_ENDPOINT_URL=(\S+)$", (place.folder / "env").read_text(), re.M)
    assert url is not None, "the lab wrote it"
    return boto3.client(
        "secretsmanager",
        region_name=seeds.REGION,
        endpoint_url=url[1],
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
    )


def _login(vault: Any, user: str) -> Login:
    text = vault.get_secret_value(SecretId=f"bluegreen/{user}")["SecretString"]
    return Login(user, json.loads(text)["password"])


def _seeded(place: Place, master: Login, logins: Logins) -> bool:
    with psycopg.connect(
        host=seeds.WRITER,
        port=place.port,
        dbname="postgres",
        user=master.user,
        password=master.password,
        sslmode="disable",
    ) as conn:
        found = conn.execute("SELECT FROM pg_roles WHERE rolname = %s", (logins.app.user,))
        return found.fetchone() is not None
