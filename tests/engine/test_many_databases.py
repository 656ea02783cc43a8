"""Five databases of one cluster through the whole engine, cutover included, whatever their names.

A lab of its own: the databases belong to the cluster, which other tests share. All of it is one
life, since each step needs the one before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from lab import seed as seeds
from lab.postgres import replicator
from lab.world import World
from tests.fixtures.lab import SOURCE, Lab

DATABASES = ["app", "with space", 'quo"ted', "Ümlaut'ed", "d" * 63]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Return a lab without anything in it."""
    made = World.up(f"many-{os.getpid()}", lambda _: None)
    yield made
    made.down()


def _connect(world: World, stack: str, database: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(
        host=world.resolve(world.outputs(stack)["endpoint"]),
        port=world.place.port,
        dbname=database,
        user=seeds.MASTER,
        password=world.seed.admin_password,
        autocommit=True,
    )


@pytest.fixture(scope="module")
def source(world: World) -> Lab:
    """Return the lab with a source that has five databases, each with rows and a sequence."""
    lab = Lab(world)
    for stack in ("blue", "green"):
        lab.set(stack, "bluegreen:environment.instances=1")
        for path in ("environment.secondary_regions", "environment.databases"):
            world.pulumi("config", "rm", "--path", f"bluegreen:{path}", "-s", stack)
        lab.set(
            stack,
            *(f"bluegreen:environment.databases[{i}]={name}" for i, name in enumerate(DATABASES)),
        )
    lab.up(SOURCE)
    with _connect(world, SOURCE, DATABASES[0]) as conn:
        replicator.make(conn, seeds.REPLICATOR, world.seed.replication_password)
        for name in DATABASES[1:]:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    for name in DATABASES:
        with _connect(world, SOURCE, name) as conn:
            conn.execute("""
                CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text);
                CREATE SEQUENCE "Odd ""seq"" %";
                SELECT setval('"Odd ""seq"" %"', 41)
            """)
            conn.execute("INSERT INTO item (note) VALUES (current_database())")
    return lab


def _notes(world: World, stack: str, database: str) -> list[object]:
    with _connect(world, stack, database) as conn:
        return [note for (note,) in conn.execute("SELECT note FROM item ORDER BY id")]


def test_each_database_has_its_resources_and_all_of_them_switch(source: Lab) -> None:
    world = source.world
    stack = source.new_stack()
    source.up(stack)
    for name in DATABASES:  # after the clone, so they come by replication
        with _connect(world, SOURCE, name) as conn:
            conn.execute("INSERT INTO item (note) VALUES ('on the source')")
    source.set(stack, "bluegreen:cutover=true")
    source.up(stack)
    for name in DATABASES:
        assert _notes(world, stack, name) == [name, "on the source"]
        with _connect(world, stack, name) as conn:
            row = conn.execute("INSERT INTO item (note) VALUES ('after') RETURNING id").fetchone()
            assert row == (3,)
            assert conn.execute('SELECT nextval(\'"Odd ""seq"" %"\')').fetchone() == (42,)
        with (
            _connect(world, SOURCE, name) as conn,
            pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
        ):
            conn.execute("INSERT INTO item (note) VALUES ('refused')")
    source.set(stack, "bluegreen:cutover=false")
    source.up(stack)
    for name in DATABASES:
        assert _notes(world, SOURCE, name) == [name, "on the source", "after"]
