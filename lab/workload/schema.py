"""What the workload's databases hold: `app`, a shop of our own, and `bench`, pgbench's tables.

Roles and databases are made by the master user, as on Aurora; the rows by set-based statements.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from lab.postgres import replicator
from lab.workload import pgbench
from lab.workload.address import resolve
from lab.workload.login import APP_DATABASE, BENCH_DATABASE, Login
from lab.workload.scram import keys

_SQL = Path(__file__).with_name("sql")

_SESSION = " ".join(
    f"-c {name}={value}"
    for name, value in (
        ("default_transaction_read_only", "off"),
        ("synchronous_commit", "off"),  # seeded anew when the machine dies meanwhile
        ("maintenance_work_mem", "128MB"),
        ("max_parallel_maintenance_workers", "0"),  # two cores, several servers
        ("TimeZone", "UTC"),
    )
)


@dataclass(frozen=True, slots=True)
class Logins:
    """The roles that `seed` makes; the passwords are the lab's own and guard nothing."""

    app: Login = field(default=Login("app_user", "the application's password"))
    bench: Login = field(default=Login("pgbench_user", "pgbench's password"))
    replicator: Login = field(default=Login("replicator", "replication's password"))


def seed(
    host: str, port: int, master: Login, logins: Logins | None = None, *, bench_scale: int = 10
) -> None:
    """Make roles, databases and rows on an empty server, where `master` is the master user.

    Raises `psycopg.errors.DuplicateObject` when the roles are there already.
    """
    logins = logins or Logins()
    with _connect(host, port, "postgres", master) as conn:
        _create_roles(conn, logins)
        _create_database(conn, APP_DATABASE, master.user)
        _create_database(conn, BENCH_DATABASE, logins.bench.user)
    with _connect(host, port, APP_DATABASE, master) as conn, conn.transaction():
        for name in ("tables", "rows", "constraints", "grants"):
            conn.execute((_SQL / f"{name}.sql").read_bytes())
    with _connect(host, port, APP_DATABASE, master) as conn:
        conn.execute("VACUUM ANALYZE")
    # pgbench resolves in C, which the lab's DNS can't reach.
    where = resolve(host, port)
    pgbench.initialize(where.host, where.port, logins.bench, bench_scale)


def _connect(
    host: str, port: int, database: str, login: Login
) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host=host,
        port=port,
        dbname=database,
        user=login.user,
        password=login.password,
        autocommit=True,
        application_name="workload seed",
        options=_SESSION,
    )


def _create_roles(conn: psycopg.Connection[Any], logins: Logins) -> None:
    for login in (logins.app, logins.bench, logins.replicator):
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(login.user), sql.Literal(keys(login).verifier())
            )
        )
    # To make a database, or tables, that are theirs, the master user has to be one of them.
    for login in (logins.app, logins.bench):
        conn.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(login.user)))
    replicator.allow(conn, logins.replicator.user)
    conn.execute(
        sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(logins.replicator.user))
    )


def _create_database(conn: psycopg.Connection[Any], name: str, owner: str) -> None:
    # A cluster is made with its first database.
    if conn.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        conn.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(owner)
            )
        )
