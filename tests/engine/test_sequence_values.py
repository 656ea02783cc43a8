"""`postgres:SequenceValues` through the real `pulumi`: create, change, drift, and delete."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.fixtures.databases import Database
from tests.fixtures.engine import MakeProject, Project
from tests.fixtures.rds import REGION, PlacedClusters

ROOT = Path(__file__).resolve().parents[2]

_PROGRAM = """\
import json
import sys
sys.path.insert(0, {root!r})
from dynamic_providers.sequence_values import SequenceValues
with open("wish.json") as file:
    wish = json.load(file)
if wish:
    SequenceValues("values", **wish)
"""


@pytest.fixture
def sides(make_database: Callable[..., Database]) -> tuple[Database, Database]:
    """Return a writer's and a closed standby's database, with the sequence `s`."""
    writer = make_database(16)
    standby = make_database(18, writer.name)
    for side in (writer, standby):
        with side.connect() as conn:
            conn.execute("CREATE SEQUENCE s")
    with standby.connect() as conn:
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
                sql.Identifier(standby.name)
            )
        )
    return writer, standby


@pytest.fixture
def project(make_project: MakeProject, placed: PlacedClusters, moto_url: str) -> Project:  # noqa: ARG001
    """Return a program that reads its wish from a file."""
    made = make_project("values")
    made.environment.update(
        AWS_ENDPOINT_URL=moto_url,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_REGION=REGION,
    )
    made.write("__main__.py", _PROGRAM.format(root=str(ROOT)))
    return made


def _last(side: Database) -> Any:
    with side.connect() as conn:
        row = conn.execute("SELECT last_value FROM s").fetchone()
    return row and row[0]


def _set(side: Database, value: int) -> None:
    with side.connect() as conn:
        conn.execute("SELECT setval('s', %s)", (value,))


@pytest.mark.slow
def test_the_life_of_sequence_values(
    project: Project, sides: tuple[Database, Database], placed: PlacedClusters
) -> None:
    writer, standby = sides
    wish = {
        "writer": writer.place(placed, "orders-1").to_props(),
        "standby": standby.place(placed, "orders-2").to_props(),
        "databases": [writer.name],
        "tolerance": 100,
    }

    def up(*flags: str, **changes: Any) -> str:
        project.write("wish.json", json.dumps(wish | changes))
        return project.up(*flags)

    _set(writer, 500)
    assert "1 created" in up() or _last(standby) == 500  # create
    assert _last(standby) == 500
    assert "unchanged" in up("--refresh")  # no change, no diff
    assert "1 updated" in up(tolerance=50)  # in place
    _set(writer, 900)
    text = up("--refresh", tolerance=50)  # drift, shown and repaired
    assert "1 updated" in text
    assert _last(standby) == 900
    project.write("wish.json", "null")
    project.up()  # delete
    assert _last(standby) == 900
    assert "SequenceValues" not in project.run("stack", "export")
