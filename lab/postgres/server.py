"""One real PostgreSQL server on a loopback address of its own."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg

from lab.postgres.binaries import Binaries, binaries
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

# `local` is for pg_upgrade, which talks to both servers by a socket.
_HBA = f"""\
local all        {SUPERUSER} trust
host all         {SUPERUSER} 127.0.0.0/8 trust
host replication {SUPERUSER} 127.0.0.0/8 trust
host all         all         127.0.0.0/8 scram-sha-256
host replication all         127.0.0.0/8 scram-sha-256
"""


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
        return binaries(self.major)

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
        self, database: str = "postgres", *, user: str = SUPERUSER, **options: Any
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommit connection of the lab's superuser, or of `user`."""
        settings: dict[str, Any] = {"application_name": "lab", "connect_timeout": 10} | options
        if user == SUPERUSER:
            settings.setdefault("options", "-c default_transaction_read_only=off")
        return psycopg.connect(
            host=self.host,
            hostaddr=self.host,
            port=self.port,
            dbname=database,
            user=user,
            autocommit=True,
            **settings,
        )

    def databases(self) -> list[str]:
        """Return the databases that take connections."""
        with self.connect() as conn:
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

    The one place where the lab gives more than Aurora: the master user is a superuser here, since
    community PostgreSQL lets nobody else publish all tables (Aurora lets `rds_superuser`).
    """
    with server.connect() as conn:
        statement = psycopg.sql.SQL(
            "CREATE ROLE rds_superuser; CREATE ROLE rds_replication REPLICATION;"
            "CREATE ROLE {} LOGIN SUPERUSER PASSWORD {} IN ROLE rds_superuser"
        ).format(psycopg.sql.Identifier(user), psycopg.sql.Literal(password))
        conn.execute(statement)


def server_parameters(group: Mapping[str, str]) -> dict[str, str]:
    """Return a parameter group's values as this server's own settings.

    `rds.logical_replication` is Aurora's name for `wal_level`; other `rds.` and `aurora.` names
    mean nothing to community PostgreSQL.
    """
    ours = {k: v for k, v in group.items() if not k.startswith(("rds.", "aurora."))}
    logical = group.get("rds.logical_replication") in ("1", "on", "true")
    return ours | {"wal_level": "logical" if logical else "replica"}
