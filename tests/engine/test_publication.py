"""`postgres:Publication` through `pulumi`: what users see in previews, updates, refreshes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.databases import Database
from tests.fixtures.engine import MakeProject, Project
from tests.fixtures.rds import PlacedClusters, aws_environment

PROGRAM = """\
    import json
    from dynamic_providers.publication import Publication

    with open("wish.json") as file:
        Publication("publication", **json.load(file))
"""
UP = ("up", "--yes", "--skip-preview", "--non-interactive")
ORDERS = {"schema": "public", "name": "orders"}
CUSTOMERS = {"schema": "public", "name": "customers", "where": "id > 0"}


@pytest.fixture(params=[pytest.param(16, marks=pytest.mark.long), 18])
def database(request: pytest.FixtureRequest, make_database: Callable[..., Database]) -> Database:
    """Return a database with two tables."""
    made = make_database(request.param)
    with made.connect() as conn:
        conn.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        conn.execute("CREATE TABLE customers (id int PRIMARY KEY, name text)")
    return made


@pytest.fixture
def project(make_project: MakeProject, moto_url: str) -> Project:
    """Return a program that declares one publication."""
    made = make_project("published")
    made.environment.update(aws_environment(moto_url))
    made.write("__main__.py", PROGRAM)
    return made


def _wish(project: Project, props: dict[str, Any]) -> None:
    (project.folder / "wish.json").write_text(json.dumps(props))


def _published(project: Project) -> list[str]:
    found = project.resource("Publication")
    assert found is not None
    published: list[str] = found["published"]
    return published


@pytest.mark.slow
def test_its_life(project: Project, database: Database, placed: PlacedClusters) -> None:
    """Create, no change, change in place, drift and its repair, and delete."""
    props: dict[str, Any] = {
        "server": database.place(placed).to_props(),
        "database": database.name,
        "name": "bg_green_forward",
        "scope": {"kind": "tables", "tables": [CUSTOMERS]},
    }
    _wish(project, props)
    project.up()
    assert '"public"."customers" WHERE ((id > 0))' in _published(project)
    project.run("preview", "--expect-no-changes")
    project.run("preview", "--refresh", "--expect-no-changes")

    _wish(project, props | {"scope": {"kind": "tables", "tables": [CUSTOMERS, ORDERS]}})
    preview = project.run("preview")
    assert "1 to update" in preview
    assert "replace" not in preview
    project.up()
    published = _published(project)
    assert '"public"."orders"' in published

    with database.connect() as conn:
        conn.execute("ALTER PUBLICATION bg_green_forward DROP TABLE orders")
    assert "1 updated" in project.run("refresh", "--yes", "--skip-preview")
    assert '"public"."orders"' not in _published(project)
    assert "1 to update" in project.run("preview")
    project.up()
    assert _published(project) == published

    _wish(project, props | {"scope": {"kind": "all"}})
    code, refused = project.try_run("preview")
    assert code != 0
    assert "can't change between all tables and a choice of them" in refused

    project.run("destroy", "--yes", "--skip-preview")
    with database.connect() as conn:
        assert conn.execute("SELECT FROM pg_publication").fetchone() is None


def test_a_table_without_identity_is_refused_in_one_line(
    project: Project, database: Database, placed: PlacedClusters
) -> None:
    with database.connect() as conn:
        conn.execute("CREATE TABLE keyless (n int)")
    _wish(
        project,
        {
            "server": database.place(placed).to_props(),
            "database": database.name,
            "name": "bg_green_forward",
            "scope": {"kind": "all"},
        },
    )
    code, text = project.try_run(*UP)
    assert code != 0
    assert "UPDATE and DELETE would fail on public.keyless (has no replica identity)" in text
    assert "Traceback" not in text
