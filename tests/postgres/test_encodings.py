"""Databases in other encodings than UTF-8: their names are read, and say what fails."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from bluegreen.deployment import source_check
from bluegreen.lsn import Lsn
from bluegreen.postgres.publications import Publication
from bluegreen.replication import database_code
from bluegreen.replication.subscription import failing_transaction
from bluegreen.upgrade import obstacles
from tests.fixtures.postgres import OLD_AND_NEW, MakeServer
from tests.fixtures.rds import PlacedClusters


def write(conn: psycopg.Connection[Any], name: str) -> None:
    """Make a table of that name, a slot before it, and a row that the slot has."""
    conn.execute(f'CREATE TABLE "{name}" (id) AS SELECT 0'.encode("latin1"))
    conn.execute("CREATE PUBLICATION pub FOR ALL TABLES")
    conn.execute("SELECT pg_create_logical_replication_slot(current_database(), 'pgoutput')")
    with conn.transaction():
        conn.execute(f'TRUNCATE "{name}"'.encode("latin1"))
        with conn.cursor().copy(f'COPY "{name}" FROM STDIN'.encode("latin1")) as copy:
            copy.write_row((1,))


@pytest.mark.parametrize("major", OLD_AND_NEW)
def test_names_in_another_encoding_are_read(
    make_server: MakeServer, placed: PlacedClusters, major: int
) -> None:
    lab = make_server(major)
    with lab.connect() as conn:
        for encoding in ("LATIN1", "SQL_ASCII"):
            conn.execute(
                f"CREATE DATABASE {encoding} TEMPLATE template0 ENCODING {encoding}"
                " LC_COLLATE 'C' LC_CTYPE 'C'".encode()
            )
    server = placed.place(lab, "orders-1")
    for database, written, read in (
        ("latin1", "größe", "public.größe"),
        ("sql_ascii", "größe", "public.gr\\xf6\\xdfe"),
    ):
        with lab.connect(database, client_encoding="latin1") as conn:
            write(conn, written)
        with server.connect(database) as conn:
            failing = failing_transaction.find(conn, database, ["pub"], Lsn(0))
        assert failing is not None
        assert failing.tables == (read,)
    with server.connect("latin1") as conn:
        database_code.require_replicable(conn, Publication("p", all_tables=True), "orders-1")
    found = source_check.inspect(server, ["latin1", "sql_ascii"])
    source_check.require_replicable(server, found, ["latin1", "sql_ascii"], "green")
    with lab.connect("latin1") as conn:
        conn.execute('ALTER TABLE "größe" ADD c regproc'.encode("latin1"))
    found_there = obstacles.inspect(server, ["latin1"], to_major=18)
    assert found_there.unstorable_columns == ('public."größe".c (regproc) in latin1',)
