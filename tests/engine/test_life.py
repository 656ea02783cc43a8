"""The life of a deployment through the real `pulumi`, small: the demo shows it large."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.fixtures.lab import SOURCE, Lab

CHANGED = re.compile(r"^\s+[+~-]+ \d+ (created|updated|deleted|replaced)", re.MULTILINE)


@pytest.fixture(scope="module")
def deployment(lab: Lab) -> Iterator[str]:
    """Yield a deployment that is stood up and follows its source; no other test finds it there."""
    stack = lab.new_stack(
        "bluegreen:environment.deletion_protection=false",
        "bluegreen:environment.final_snapshot=false",
        "bluegreen:environment.retire=true",
    )
    lab.up(stack)
    yield stack
    lab.world.pulumi("destroy", "-s", stack, "--yes", "--skip-preview", "--color=never")


def _insert(lab: Lab, stack: str) -> int:
    with lab.connect(stack) as conn:
        row = conn.execute("INSERT INTO item DEFAULT VALUES RETURNING id").fetchone()
    assert row is not None
    return int(str(row[0]))


def _items(lab: Lab, stack: str) -> set[int]:
    with lab.connect(stack) as conn:
        return {int(str(n)) for (n,) in conn.execute("SELECT id FROM item")}


def test_a_deployment_goes_to_and_fro_and_keeps_every_row(lab: Lab, deployment: str) -> None:
    """Each switch goes by the flag; in between nothing changes, whoever looks."""
    written = {_insert(lab, SOURCE)}
    for cutover, writer in (("true", deployment), ("false", SOURCE), ("true", deployment)):
        lab.set(deployment, f"bluegreen:cutover={cutover}")
        # The names are to lead to a side that is still closed: a preview says no word against it.
        lab.world.pulumi("preview", "-s", deployment, "--non-interactive")
        lab.up(deployment)
        for stack in (deployment, SOURCE):
            assert not CHANGED.search(lab.up(stack, "--refresh"))
        written.add(_insert(lab, writer))
    assert written <= _items(lab, deployment)
    lab.set(deployment, "bluegreen:cutover=false")
    lab.up(deployment)


def test_two_flags_at_once_are_refused(lab: Lab, deployment: str) -> None:
    lab.set(deployment, "bluegreen:cutover=true", "bluegreen:rollback=false")
    try:
        assert "cutover and rollback" in lab.refused(deployment)
    finally:
        lab.set(deployment, "bluegreen:cutover=false", "bluegreen:rollback=true")


def test_the_source_stays_until_the_way_back_is_given_up(lab: Lab, deployment: str) -> None:
    lab.world.pulumi("config", "rm", "bluegreen:source", "-s", deployment)
    try:
        assert "can't be removed in state forward" in lab.refused(deployment)
    finally:
        lab.set(deployment, "bluegreen:source=blue")


def test_no_password_is_in_the_state(lab: Lab, deployment: str) -> None:
    exported = lab.world.pulumi("stack", "export", "-s", deployment)
    seed = lab.world.seed
    assert seed.admin_password not in exported
    assert seed.replication_password not in exported


def test_the_cluster_keeps_its_urn_with_and_without_a_source(lab: Lab, deployment: str) -> None:
    def urns(stack: str) -> set[str]:
        text = lab.world.pulumi("stack", "export", "-s", stack)
        found = re.findall(r'"urn": "urn:pulumi:[^:]+::[^:]+::([^"]+)"', text)
        return {urn for urn in found if "aws:" in urn and "clone-parameters" not in urn}

    assert urns(deployment) == urns(SOURCE)
