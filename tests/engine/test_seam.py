"""`aurora:CloneOrigin` through the real `pulumi`: create, change, no change, and delete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import moto.rds.models as rds_models
import pytest

from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE
from tests.fixtures.engine import MakeProject, Project
from tests.fixtures.fresh_clone import CLONE, DATABASE, DEPLOYMENT, SLOT, Seam
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


@pytest.mark.slow
def test_the_life_of_a_clones_origin(project: Project, seam: Seam) -> None:
    wish = _wish(seam)

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


@pytest.mark.slow
def test_another_clone_of_the_same_name_replaces_it(project: Project, seam: Seam) -> None:
    project.write("wish.json", json.dumps(wish := _wish(seam)))
    project.up()
    with_id = wish | {"clone_id": _another_in_aws()}
    project.write("wish.json", json.dumps(with_id))
    assert "1 replaced" in project.up()
    with seam.lab.connect(TOOL_DATABASE) as conn:
        stored = conn.execute("SELECT resource_id FROM bluegreen.clone_origin").fetchall()
    assert stored == [("cluster-NEW",)]


def _another_in_aws() -> str:
    """Let AWS say that the clone is another cluster than before."""
    for backend in rds_models.rds_backends.values():
        if CLONE in backend[REGION].clusters:
            vars(backend[REGION].clusters[CLONE])["db_cluster_resource_id"] = "cluster-NEW"
    return "cluster-NEW"


def _wish(seam: Seam) -> dict[str, Any]:
    return {
        "server": seam.clone_server.to_props(),
        "source": seam.source_server.to_props(),
        "databases": [DATABASE],
        "deployment": DEPLOYMENT,
        "slots": [{"database": DATABASE, "name": SLOT}],
    }
