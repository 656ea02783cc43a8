"""The life of a deployment through the real `pulumi`, small: the demo shows it large."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from lab import command
from lab import seed as seeds
from lab.postgres import tls
from tests.fixtures import old_states
from tests.fixtures.lab import RETIRABLE, SOURCE, Lab

_NUMBERS = itertools.count()
CHANGED = re.compile(r"^\s+[+~-]+ \d+ (created|updated|deleted|replaced)", re.MULTILINE)


@pytest.fixture(scope="module")
def deployment(lab: Lab) -> Iterator[str]:
    """Yield a deployment that is stood up and follows its source; no other test finds it there."""
    stack = lab.new_stack(*RETIRABLE)
    lab.up(stack)
    yield stack
    lab.destroy(stack)


def _insert(lab: Lab, stack: str) -> int:
    with lab.connect(stack) as conn:
        row = conn.execute("INSERT INTO item DEFAULT VALUES RETURNING id").fetchone()
    assert row is not None
    return int(str(row[0]))


def _back_up(lab: Lab, *stacks: str) -> None:
    """Let somebody take a snapshot of each environment, which AWS shows in its status."""
    rds = lab.aws("rds")
    for stack in stacks:
        name = lab.world.outputs(stack)["cluster_identifier"]
        snapshot = f"{name}-{next(_NUMBERS)}"
        rds.create_db_cluster_snapshot(
            DBClusterIdentifier=name, DBClusterSnapshotIdentifier=snapshot
        )


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
        _back_up(lab, SOURCE, deployment)  # which is no reason to refuse a switch
        assert "names: Route 53 is in sync " in lab.up(deployment)
        for stack in (deployment, SOURCE):
            said = lab.up(stack, "--refresh")
            assert not CHANGED.search(said)
            assert "names: " not in said
        written.add(_insert(lab, writer))
    assert written <= _items(lab, deployment)
    lab.set(deployment, "bluegreen:cutover=false")
    lab.up(deployment)


def test_replication_is_encrypted_and_the_program_checks_who_answers(
    lab: Lab, deployment: str
) -> None:
    """The operator's file of certificates is nothing that a server could read."""
    if "ca_file" not in lab.world.tls:
        pytest.skip(tls.described())
    for stack in (SOURCE, deployment):
        assert lab.world.outputs(stack)["credentials"].items() >= lab.world.tls.items()
    with lab.connect() as conn:
        query = (
            "SELECT bool_and(ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)"
        )
        assert conn.execute(query).fetchone() == (True, 1)


@pytest.mark.slow
def test_preflight_is_the_report_of_the_preview(lab: Lab, deployment: str) -> None:
    """It asks what the deployment declares, the differences that may stay included."""
    with lab.connect() as conn:
        conn.execute("CREATE VIEW recent AS SELECT id FROM item")
    try:
        code, said = _command(lab, "preflight", "-s", deployment)
        assert code == 1, said
        assert "view public.recent" in said
        assert _report(said) == _report(_preview_of_a_flip(lab, deployment))
        lab.set(deployment, "bluegreen:switch.accept_differences[0]=app: view public.recent")
        lab.up(deployment)
        code, said = _command(lab, "preflight", "-s", deployment)
        assert code == 0, said
        assert _report(said) == _report(_preview_of_a_flip(lab, deployment))
    finally:
        path = "bluegreen:switch.accept_differences"
        lab.world.pulumi("config", "rm", "--path", path, "-s", deployment)
        with lab.connect() as conn:
            conn.execute("DROP VIEW recent")
        lab.up(deployment)  # what failed has brought the deployment half-way


def _preview_of_a_flip(lab: Lab, stack: str) -> str:
    lab.set(stack, "bluegreen:cutover=true")
    try:
        return lab.world.pulumi("preview", "-s", stack, "--non-interactive", "--color=never")
    finally:
        lab.set(stack, "bluegreen:cutover=false")


def _report(said: str) -> list[str]:
    """Return the lines of a report, without what moves by itself."""
    found = [line.strip() for line in said.splitlines()]
    lines = [line for line in found if re.match("readiness: |(ok|warn|block) ", line)]
    assert len(lines) > 10, said
    return sorted(re.sub(r"\d[\d,]* (bytes|MB|GB)", "some bytes", line) for line in lines)


@pytest.mark.slow
def test_the_command_says_how_an_environment_is(lab: Lab, deployment: str) -> None:
    for stack, writer in ((SOURCE, True), (deployment, False)):
        code, said = _command(lab, "status", "-s", stack, "--json")
        assert code == 0, said
        answer = json.loads(said)
        assert (answer["stack"], answer["writer"], answer["switch"]) == (stack, writer, None)
    code, said = _command(lab, "recover", "-s", deployment)
    assert code == 0, said
    for asked in ("preflight", "recover"):
        code, said = _command(lab, asked, "-s", SOURCE)
        assert (code, said.strip()) == (
            2,
            "stack 'blue': declares no switch; expected the stack of a deployment that is"
            " replicated from a source; after an update of this tool run pulumi up on it first",
        )


@pytest.mark.slow
def test_the_command_works_after_an_update_that_failed(lab: Lab, deployment: str) -> None:
    """Its outputs say what it wanted already: who is the writer, the command asks the servers."""
    with lab.connect() as conn:
        conn.execute("CREATE VIEW recent AS SELECT id FROM item")
    lab.set(deployment, "bluegreen:cutover=true")
    try:
        assert "view public.recent" in lab.refused(deployment)
        assert lab.world.outputs(deployment)["switch"]["writer"] == "target"
        code, said = _command(lab, "preflight", "-s", deployment)
        assert code == 1, said
        assert "view public.recent" in said
        code, said = _command(lab, "recover", "-s", deployment)
        assert code == 0, said
    finally:
        lab.set(deployment, "bluegreen:cutover=false")
        with lab.connect() as conn:
            conn.execute("DROP VIEW recent")


def _command(lab: Lab, *arguments: str) -> tuple[int, str]:
    """Run `bluegreen` as somebody who has entered the lab does."""
    return command.run(
        ["bluegreen", *arguments], cwd=lab.world.place.project, environment=lab.world.environment
    )


def test_what_is_in_an_old_state_has_the_same_urn(lab: Lab, deployment: str) -> None:
    """Another URN is another resource: a cluster would be recreated, and the old one destroyed."""
    exported = json.loads(lab.world.pulumi("stack", "export", "-s", deployment))
    # That one had a second Region, two instances and two databases.
    beyond = re.compile(
        "eu-central-1|reader-1|bench|GlobalDatabase|pulumi:providers:|pulumi:Stack::"
    )
    old = _kinds_and_names(old_states.resources("forward"))
    wanted = {one for one in old if not beyond.search(one)}
    assert len(wanted) > 20
    assert wanted <= _kinds_and_names(exported["deployment"]["resources"])


def _kinds_and_names(resources: list[dict[str, Any]]) -> set[str]:
    """Return resources by the parts of their URNs that no stack's name is in."""
    return {one["urn"].split("::", 2)[2] for one in resources}


@pytest.mark.slow
def test_a_rotated_master_password_is_brought_to_both_sides(lab: Lab, deployment: str) -> None:
    """The clone has the password of before: the first update that logs in there comes after it."""
    arn = lab.world.outputs(SOURCE)["credentials"]["admin_secret_arn"]
    secrets, kept = lab.aws("secretsmanager"), lab.world.seed.admin_password
    for password in ("the-next-one-12345", kept):
        text = json.dumps({"username": seeds.MASTER, "password": password})
        secrets.put_secret_value(SecretId=arn, SecretString=text)
        for stack in (SOURCE, deployment):
            lab.up(stack)
            code, said = _command(lab, "status", "-s", stack)
            assert code == 0, said
    assert not CHANGED.search(lab.up(deployment, "--refresh"))


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


@pytest.mark.slow
def test_the_cluster_keeps_its_urn_with_and_without_a_source(lab: Lab, deployment: str) -> None:
    def urns(stack: str) -> set[str]:
        text = lab.world.pulumi("stack", "export", "-s", stack)
        found = re.findall(r'"urn": "urn:pulumi:[^:]+::[^:]+::([^"]+)"', text)
        return {urn for urn in found if "aws:" in urn and "clone-parameters" not in urn}

    assert urns(deployment) == urns(SOURCE)
