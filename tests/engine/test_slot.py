"""`postgres:ReplicationSlot` through `pulumi`: what its users see in previews and updates."""

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
    from dynamic_providers.replication_slot import ReplicationSlot

    with open("wish.json") as file:
        ReplicationSlot("slot", **json.load(file))
"""
SLOTS = "SELECT FROM pg_replication_slots WHERE database = %s"


@pytest.fixture(params=[pytest.param(16, marks=pytest.mark.long), 18])
def database(request: pytest.FixtureRequest, make_database: Callable[..., Database]) -> Database:
    """Return an empty database."""
    return make_database(request.param)


@pytest.fixture
def project(make_project: MakeProject, moto_url: str) -> Project:
    """Return a program that declares one slot."""
    made = make_project("slotted")
    made.environment.update(aws_environment(moto_url))
    made.write("__main__.py", PROGRAM)
    return made


def _wish(project: Project, props: dict[str, Any]) -> None:
    (project.folder / "wish.json").write_text(json.dumps(props))


def _outputs(project: Project) -> dict[str, Any]:
    found = project.resource("ReplicationSlot")
    assert found is not None
    return found


@pytest.mark.slow
def test_its_life(project: Project, database: Database, placed: PlacedClusters) -> None:
    """Create, no change though its figures move, change in place, loss refused, and delete."""
    props: dict[str, Any] = {
        "server": database.place(placed).to_props(),
        "database": database.name,
        "name": f"bg_green_forward_{database.name}",
        "publication": "bg_green_forward",
        "wait_seconds": 10,
    }
    _wish(project, props)
    project.up()
    made = _outputs(project)
    assert "/" in made["consistent_point"]
    assert made["status"] == "reserved"

    with database.connect() as conn:
        conn.execute("CREATE TABLE more AS SELECT generate_series(1, 1000)")
    project.run("preview", "--expect-no-changes")
    project.run("preview", "--refresh", "--expect-no-changes")
    project.run("refresh", "--yes", "--skip-preview")
    assert int(_outputs(project)["retained_bytes"]) > int(made["retained_bytes"])

    _wish(project, props | {"wait_seconds": 20})
    preview = project.run("preview")
    assert "1 to update" in preview
    assert "replace" not in preview
    project.up()
    assert _outputs(project)["consistent_point"] == made["consistent_point"]

    _wish(project, props | {"name": "other"})
    code, refused = project.try_run("preview")
    assert code != 0
    assert "can't become 'other' in place" in refused
    _wish(project, props)

    with database.connect() as conn:
        conn.execute("SELECT pg_drop_replication_slot(%s)", (props["name"],))
    project.run("refresh", "--yes", "--skip-preview")
    assert _outputs(project)["status"] == "missing"
    code, refused = project.try_run("up", "--yes", "--skip-preview", "--non-interactive")
    assert code != 0
    assert "missing, expected reserved or extended" in refused
    assert "clone again" in refused
    assert "Traceback" not in refused
    with database.connect() as conn:
        assert conn.execute(SLOTS, (database.name,)).fetchall() == []

    # What is missing is forgotten, and what is there is dropped.
    project.run("destroy", "--yes", "--skip-preview")
    project.up()
    assert _outputs(project)["status"] == "reserved"
    project.run("destroy", "--yes", "--skip-preview")
    assert project.resource("ReplicationSlot") is None
    with database.connect() as conn:
        assert conn.execute(SLOTS, (database.name,)).fetchall() == []
