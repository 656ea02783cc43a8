"""Bad input through the real `pulumi up`: one line each, and nothing is touched."""

from __future__ import annotations

import json

import pytest

from lab import seed as seeds
from tests.fixtures.lab import RETIRABLE, SOURCE, Lab


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        pytest.param(
            "bluegreen:environment.instancez=3",
            "bluegreen:environment.instancez: is no setting; known here: allow_reboot,",
            id="wrong-key",
        ),
        pytest.param(
            "bluegreen:environment.instances=many",
            "bluegreen:environment.instances: got 'many', but input should be a valid integer",
            id="wrong-type",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "bluegreen:switch.fence=wooden",
            "bluegreen:switch.fence: got 'wooden', but input should be 'read-only' or 'no-login'",
            id="wrong-value",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "bluegreen:environment.parameters.log_statements=ddl",
            "bluegreen:environment.parameters.log_statements: is no cluster parameter of this"
            " version; did you mean log_statement",
            id="unknown-parameter",
        ),
        pytest.param(
            "bluegreen:environment.parameters.max_wal_senders=3",
            "bluegreen:environment.parameters.max_wal_senders: got '3', allowed are 5-262143",
            id="parameter-out-of-range",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "bluegreen:rollback=false",
            "rollback: false before the cutover; set rollback to true",
            id="wrong-combination",
        ),
    ],
)
def test_a_wrong_setting_is_named(lab: Lab, setting: str, said: str) -> None:
    assert said in lab.refused(lab.new_stack(setting))


def test_a_file_of_certificates_that_is_not_there(lab: Lab) -> None:
    missing = "/etc/ssl/certs/rds-nothing.pem"
    stack = lab.new_stack(
        "bluegreen:credentials.tls=verify-ca", f"bluegreen:credentials.ca_file={missing}"
    )
    assert (
        f"bluegreen:credentials.ca_file: got '{missing}', but there is no such file; download"
        " https://truststore.pki.rds.amazonaws.com/"
    ) in lab.refused(stack)


def test_an_unknown_source_stack(lab: Lab) -> None:
    stack = lab.new_stack("bluegreen:source=nowhere")
    assert 'unknown stack "organization/bluegreen/nowhere"' in lab.refused(stack)


@pytest.mark.slow
def test_a_source_stack_that_was_destroyed_or_never_brought_up(lab: Lab) -> None:
    empty = lab.new_stack()
    stack = lab.new_stack(f"bluegreen:source={empty}")
    said = lab.refused(stack)
    assert f"bluegreen:source: stack '{empty}' has no environment" in said
    assert f"run pulumi up -s {empty}" in said


@pytest.mark.slow
def test_a_streaming_that_the_source_lacks_is_refused_at_preview(lab: Lab) -> None:
    """The source becomes a subscriber by the cutover only, which is too late to learn of it."""
    source = _stack_of_version(lab, "15.13")
    stack = lab.new_stack(f"bluegreen:source={source}", "bluegreen:replication.streaming=parallel")
    said = lab.refused(stack, at="preview")
    assert said == (
        f"bluegreen:replication.streaming: got 'parallel', but source {source!r} runs 15.13; "
        "allowed from 16 on: leave it out for the best that each side has, or set on or off"
    )


def _stack_of_version(lab: Lab, version: str) -> str:
    """Return a stack that has the source's outputs, but another version."""
    name = lab.new_stack()
    outputs = lab.world.outputs(SOURCE) | {"engine_version": version}
    root = {
        "urn": f"urn:pulumi:{name}::bluegreen::pulumi:pulumi:Stack::bluegreen-{name}",
        "type": "pulumi:pulumi:Stack",
        "custom": False,
        "outputs": outputs,
    }
    state = lab.world.place.folder / f"{name}.json"
    state.write_text(json.dumps({"version": 3, "deployment": {"resources": [root]}}))
    lab.world.pulumi("stack", "import", "-s", name, "--file", str(state))
    return name


def test_a_version_that_no_clone_can_be_brought_to(lab: Lab) -> None:
    said = lab.refused(lab.new_stack("bluegreen:environment.engine_version=18.9"))
    assert "no upgrade from 16.14 to 18.9; allowed to 18: 18.4" in said


def test_cutover_at_the_first_up(lab: Lab) -> None:
    said = lab.refused(lab.new_stack("bluegreen:cutover=true"))
    assert "cutover: true at the first up; set cutover to false" in said


@pytest.mark.slow
def test_a_database_that_does_not_exist(lab: Lab) -> None:
    said = lab.refused(lab.new_stack("bluegreen:environment.databases[0]=nothere"))
    assert "nothere" in said


@pytest.mark.slow
def test_a_wrong_password(lab: Lab) -> None:
    vault = lab.aws("secretsmanager")
    right = vault.get_secret_value(SecretId=lab.world.seed.admin_secret_arn)["SecretString"]
    wrong = json.dumps({"username": seeds.MASTER, "password": "hunter2"})
    vault.put_secret_value(SecretId=lab.world.seed.admin_secret_arn, SecretString=wrong)
    try:
        said = lab.refused(lab.new_stack())
    finally:
        vault.put_secret_value(SecretId=lab.world.seed.admin_secret_arn, SecretString=right)
    assert "wrong user or password; fix the secret" in said
    assert "hunter2" not in said


def test_a_table_without_replica_identity(lab: Lab) -> None:
    with lab.connect() as conn:
        conn.execute("CREATE TABLE keyless (n int)")
    try:
        said = lab.refused(lab.new_stack())
    finally:
        with lab.connect() as conn:
            conn.execute("DROP TABLE keyless")
    assert "keyless" in said
    assert "replica identity" in said.lower()


@pytest.mark.slow
def test_a_cluster_identifier_that_is_taken(lab: Lab) -> None:
    taken = lab.world.outputs(SOURCE)["cluster_identifier"]
    said = lab.refused(lab.new_stack(f"bluegreen:environment.cluster_identifier={taken}"))
    assert taken in said


@pytest.mark.slow
def test_a_source_without_logical_replication(lab: Lab) -> None:
    source = lab.new_stack(
        'bluegreen:environment.parameters["rds.logical_replication"]=0', *RETIRABLE
    )
    # Nor the names, which lead to the other environment.
    for key in ("bluegreen:source", "bluegreen:dns"):
        lab.world.pulumi("config", "rm", key, "-s", source)
    lab.up(source)
    try:
        said = lab.refused(lab.new_stack(f"bluegreen:source={source}"))
    finally:
        lab.destroy(source)
    assert "rds.logical_replication" in said
