"""A lab with a deployment to switch to and fro: as many databases and sequences as asked for."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from bluegreen.aws import clients
from bluegreen.postgres.server import Credentials, Server
from lab import dns
from lab import seed as seeds
from lab.place import Place
from lab.workload import schema
from lab.workload.address import Address, resolve
from lab.workload.checker import Side
from lab.workload.login import APP_DATABASE, Login
from lab.world import World

SOURCE, TARGET = "blue", "green"
_FLAGS = ("--yes", "--skip-preview", "--non-interactive", "--color=never")
_PHASES = re.compile(
    r"closed to writers for [\d.]+ ms: (?P<phases>[a-z]+ [\d.]+(?:, [a-z]+ [\d.]+)*)"
)
_AT_ONCE = 1000  # sequences a transaction: each holds a lock to its end

Report = Callable[[str], None]


@dataclass(slots=True)
class SwitchLab:
    """A running lab whose target follows its source."""

    world: World
    databases: tuple[str, ...]
    outputs: dict[str, dict[str, Any]]

    @property
    def place(self) -> Place:
        """Return where the lab is."""
        return self.world.place

    def address(self, stack: str) -> Address:
        """Return the server behind a stack's writer endpoint."""
        out = self.outputs[stack]
        return resolve(out["endpoint"], int(out["port"]))

    def side(self, stack: str) -> Side:
        """Return a stack's server as the checker opens it."""
        where = self.address(stack)
        return Side(where.host, where.port, Login(seeds.MASTER, self.world.seed.admin_password))

    def server(self, stack: str) -> Server:
        """Return a stack's server as the library knows it."""
        out, seed = self.outputs[stack], self.world.seed
        references = Credentials(
            seed.admin_secret_arn, seed.replication_secret_arn, **self.world.tls
        )
        return Server(
            out["cluster_identifier"], seeds.REGION, out["endpoint"], int(out["port"]), references
        )

    def version(self, stack: str) -> str:
        """Return a stack's server version."""
        with self.server(stack).connect("postgres") as conn:
            row = conn.execute("SHOW server_version").fetchone()
        return str(row[0]) if row else "unknown"

    def switch(self, cutover: bool) -> dict[str, float]:
        """Flip the writer by `pulumi up`; return the phases in milliseconds, as it told them."""
        self.world.pulumi("config", "set", "cutover", str(cutover).lower(), "-s", TARGET)
        text = self.world.pulumi("up", "-s", TARGET, *_FLAGS)
        told = _PHASES.search(text)
        if told is None:
            return {}
        pairs = (phase.rsplit(" ", 1) for phase in told["phases"].split(", "))
        return {name: float(ms) for name, ms in pairs}

    def grow_sequences(self, count: int) -> None:
        """Make `count` sequences of our own in all databases together, alike on both sides."""
        share = -(-count // len(self.databases))
        for stack in self.outputs:
            for name in self.databases:
                with self.server(stack).connect(name) as conn:
                    make_sequences(conn, share)


def make_sequences(conn: psycopg.Connection[Any], count: int) -> None:
    """Make what is missing of `count` sequences in the schema `bench`."""
    conn.execute("CREATE SCHEMA IF NOT EXISTS bench")
    for first in range(0, count, _AT_ONCE):
        last = min(count, first + _AT_ONCE)
        names = [sql.Identifier("bench", f"n_{n}") for n in range(first, last)]
        create = sql.SQL("CREATE SEQUENCE IF NOT EXISTS {}")
        conn.execute(sql.SQL("; ").join(create.format(name) for name in names))


@contextmanager
def switch_lab(
    name: str,
    report: Report,
    *,
    databases: int,
    sequences: int,
    delay_ms: float = 0.0,
    dns_delay: float = 0.0,
) -> Iterator[SwitchLab]:
    """Yield a lab whose deployment is stood up; it ends with the block."""
    started = time.monotonic()
    world = World.up(name, report, delay_ms=delay_ms, dns_delay=dns_delay)
    before = dict(os.environ)
    try:
        os.environ.update({k: v for k, v in world.environment.items() if k.startswith("AWS_")})
        clients.client.cache_clear()  # an earlier lab's clients lead to where nobody is any more
        dns.use(world.place.dns)
        names = (APP_DATABASE, *(f"more_{n}" for n in range(1, databases)))
        made = SwitchLab(world, names, {})
        _configure(world, names)
        world.pulumi("up", "-s", SOURCE, *_FLAGS)
        made.outputs[SOURCE] = world.outputs(SOURCE)
        out = made.outputs[SOURCE]
        master = Login(seeds.MASTER, world.seed.admin_password)
        report(f"source up after {time.monotonic() - started:.0f} s; seeding")
        logins = schema.Logins(replicator=Login(seeds.REPLICATOR, world.seed.replication_password))
        schema.seed(out["endpoint"], int(out["port"]), master, logins, bench_scale=1)
        with made.server(SOURCE).connect("postgres") as conn:
            for more in names[1:]:
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(more)))
        for more in names[1:]:
            with made.server(SOURCE).connect(more) as conn:
                conn.execute("CREATE TABLE public.item (id int PRIMARY KEY)")
        made.grow_sequences(sequences)
        world.pulumi("config", "set", "source", SOURCE, "-s", TARGET)
        world.pulumi("up", "-s", TARGET, *_FLAGS)
        made.outputs[TARGET] = world.outputs(TARGET)
        report(f"deployment stood up after {time.monotonic() - started:.0f} s")
        yield made
    finally:
        world.down()
        for key in set(os.environ) - set(before):
            del os.environ[key]
        os.environ.update(before)


def _configure(world: World, databases: tuple[str, ...]) -> None:
    for stack in (SOURCE, TARGET):
        paths = ("environment.secondary_regions", "environment.databases")
        for path in (*paths, *(("replication",) if stack == TARGET else ())):
            world.pulumi("config", "rm", "--path", f"bluegreen:{path}", "-s", stack)
        settings = ["bluegreen:environment.instances=1"]
        settings += [
            f"bluegreen:environment.databases[{n}]={name}" for n, name in enumerate(databases)
        ]
        flags = [part for setting in settings for part in ("--plaintext", setting)]
        world.pulumi("config", "set-all", "--path", "-s", stack, *flags)
