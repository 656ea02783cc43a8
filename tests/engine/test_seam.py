"""`aurora:CloneOrigin` through the real `pulumi`: create, change, no change, and delete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE
from tests.fixtures.engine import MakeProject, Project
from tests.fixtures.fresh_clone import DATABASE, DEPLOYMENT, SLOT, Seam
from tests.fixtures.rds import REGION

ROOT = Path(__file__).resolve().parents[2]

_PROGRAM = """\
import json
import sys
import pulumi
sys.path.insert(0, {root!r})
from dynamic_providers.clone_origin import CloneOrigin
with open("wish.json") as file:
    wish = json.load(file)
if wish:
    pulumi.export("lsn", CloneOrigin("origin", **wish).lsn)
"""


@pytest.fixture
def project(make_project: MakeProject, moto_url: str) -> Project:
    """Return a program that reads its wish from a file."""
    made = make_project("origin")
    made.environment.update(
        AWS_ENDPOINT_URL=moto_url,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_REGION=REGION,
    )
    made.write("__main__.py", _PROGRAM.format(root=str(ROOT)))
    return made


def test_the_life_of_a_clones_origin(project: Project, seam: Seam) -> None:
    wish: dict[str, Any] = {
        "server": seam.clone_server.to_props(),
        "source": seam.source_server.to_props(),
        "databases": [DATABASE],
        "deployment": DEPLOYMENT,
        "slots": [{"database": DATABASE, "name": SLOT}],
    }

    def up(*flags: str, **changes: Any) -> str:
        project.write("wish.json", json.dumps(wish | changes))
        return project.up(*flags)

    def lsn() -> Lsn:
        return Lsn.parse(project.run("stack", "output", "lsn").strip())

    up()  # create
    assert lsn() == seam.lsn
    seam.tell(Lsn(seam.lsn + 1))
    assert "updated" not in up("--refresh")  # no change, no diff
    assert "1 updated" in up(databases=[DATABASE, "postgres"])  # in place
    assert lsn() == seam.lsn
    project.write("wish.json", "null")
    project.up()  # delete
    assert TOOL_DATABASE not in seam.lab.databases()


def test_another_clone_of_the_same_name_replaces_it(project: Project, seam: Seam) -> None:
    """In AWS it is the same one here, so the new one is refused: it was asked for."""
    wish = {
        "server": seam.clone_server.to_props(),
        "source": seam.source_server.to_props(),
        "databases": [DATABASE],
        "deployment": DEPLOYMENT,
        "slots": [{"database": DATABASE, "name": SLOT}],
    }
    project.write("wish.json", json.dumps(wish))
    project.up()
    project.write("wish.json", json.dumps(wish | {"clone_id": "cluster-NEW"}))
    code, text = project.try_run("up", "--yes", "--skip-preview", "--non-interactive")
    assert code != 0
    assert "expected cluster-NEW; it was made anew meanwhile: refresh and try again" in text
    assert "Traceback" not in text
