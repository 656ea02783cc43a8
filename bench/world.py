"""Two real servers with databases of many tables and many sequences, and credentials for them.

The target is a physical copy of the source, as a clone is, so everything is made only once.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from moto.server import ThreadedMotoServer
from psycopg import sql

from bluegreen.aws import clients
from bluegreen.postgres.server import Credentials, Server
from bluegreen.replication import heartbeat
from lab.postgres import clone as copies
from lab.postgres import replicator
from lab.postgres.owner import owner
from lab.postgres.server import LabServer, with_master

REGION = "eu-west-1"
_ADMIN, _REPLICATOR = "clusteradmin", "replicator"
_PORT = 5433
_IN_ONE_TRANSACTION = 2000  # relations: each holds a lock to its end

_PARAMETERS = {
    "wal_level": "logical",
    "autovacuum": "off",  # it would begin in the middle of a round
}


@dataclass(slots=True)
class World:
    """The two servers, as the product and as the lab see them."""

    source: Server
    target: Server
    source_lab: LabServer
    target_lab: LabServer

    def tables_database(self, count: int) -> str:
        """Return the database of so many tables."""
        return f"tables_{count}"

    def sequences_database(self, count: int) -> str:
        """Return the database of so many sequences."""
        return f"sequences_{count}"

    def version(self) -> str:
        """Return the servers' full version."""
        with self.source_lab.connect() as conn:
            row = conn.execute("SHOW server_version").fetchone()
        return str(row[0]) if row else "unknown"

    def make_tool_tables(self, conn: psycopg.Connection[Any]) -> None:
        """Make the heartbeat's table, as `Publication` has made them on the publisher."""
        heartbeat.ensure(conn)

    def move_sequences(self, database: str, *, every: int, to: int) -> None:
        """Set one in `every` of the writer's sequences to the value `to`."""
        with self.source_lab.connect(database) as conn:
            oids = [
                oid
                for (oid,) in conn.execute(
                    "SELECT oid::int8 FROM pg_class WHERE relkind = 'S' ORDER BY oid"
                ).fetchall()
            ][::every]
            for first in range(0, len(oids), _IN_ONE_TRANSACTION):
                conn.execute(
                    "SELECT count(setval(o::oid::regclass, %s)) FROM unnest(%s::int8[]) o",
                    (to, oids[first : first + _IN_ONE_TRANSACTION]),
                )


@contextmanager
def world(major: int, tables: Sequence[int], sequences: Sequence[int]) -> Iterator[World]:
    """Yield the servers with a database for each count; nothing is left of them afterwards."""
    # A folder that the servers' user can reach.
    root = Path(tempfile.mkdtemp(prefix="bluegreen-bench-", dir="/var/tmp"))
    root.chmod(0o755)
    owner().take(root)
    block = f"127.{64 + os.getpid() // 250 % 128}.{os.getpid() % 250}"
    source = LabServer(
        "source", major, root, f"{block}.11", _PORT, parameters=_PARAMETERS | {"fsync": "off"}
    )
    target = dataclasses.replace(source, name="target", host=f"{block}.12", parameters={})
    try:
        source.initdb()
        source.start()
        password = secrets.token_urlsafe(12)
        with_master(source, _ADMIN, password)
        with source.connect() as conn:
            replicator.make(conn, _REPLICATOR, password)
            conn.execute(
                sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(_REPLICATOR))
            )
        for count in tables:
            _make(source, f"tables_{count}", "CREATE TABLE {} (id int PRIMARY KEY)", count)
        for count in sequences:
            _make(source, f"sequences_{count}", "CREATE SEQUENCE {}", count)
        source.configure(fsync="on")  # off for making the many relations only
        source.restart()
        copies.clone(source, target, dict(_PARAMETERS))
        with _aws(password) as credentials:
            yield World(_placed(source, credentials), _placed(target, credentials), source, target)
    finally:
        source.remove()
        target.remove()
        shutil.rmtree(root, ignore_errors=True)


def _make(server: LabServer, database: str, statement: str, count: int) -> None:
    with server.connect() as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    with server.connect(database) as conn:
        for first in range(0, count, _IN_ONE_TRANSACTION):
            names = [f"n_{n}" for n in range(first, min(count, first + _IN_ONE_TRANSACTION))]
            parts = [sql.SQL(statement).format(sql.Identifier(name)) for name in names]
            conn.execute(sql.SQL("; ").join(parts))


@contextmanager
def _aws(password: str) -> Iterator[Credentials]:
    """Run a plain moto that knows the secrets and the clusters, for this process only."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    wanted = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    clients.client.cache_clear()
    try:
        secret = clients.client("secretsmanager", REGION).create_secret
        texts: Mapping[str, str] = {
            user: json.dumps({"username": user, "password": password})
            for user in (_ADMIN, _REPLICATOR)
        }
        arns = {user: secret(Name=user, SecretString=text)["ARN"] for user, text in texts.items()}
        yield Credentials(arns[_ADMIN], arns[_REPLICATOR], tls="disable")
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        clients.client.cache_clear()


def _placed(server: LabServer, credentials: Credentials) -> Server:
    clients.client("rds", REGION).create_db_cluster(
        DBClusterIdentifier=server.name,
        Engine="aurora-postgresql",
        MasterUsername=_ADMIN,
        MasterUserPassword="not used by the server",
    )
    return Server(server.name, REGION, server.host, server.port, credentials)
