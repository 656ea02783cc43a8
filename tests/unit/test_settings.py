"""Settings: what is right is read whole, what is wrong is named in one line."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from bluegreen.register.fence_mode import DEFAULT_FENCE, DEFAULT_OLD_SIDE
from bluegreen.switch.declared import How
from bluegreen.switch.plan import SwitchPlan
from settings import Replication, Settings, SettingsError, Switch, identity_problem, load

ROOT = Path(__file__).resolve().parents[2]


def _stack_file(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())["config"]
    return config


def _texts(config: dict[str, Any]) -> dict[str, str]:
    """Return a stack's configuration as Pulumi hands it to the program."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}


@pytest.mark.parametrize("stack", ["blue", "green"])
def test_the_stack_files_are_ready_to_edit(stack: str) -> None:
    settings = load(_texts(_stack_file(stack)))
    assert settings.environment.databases == ["app", "bench"]
    assert settings.cluster_identifier(stack) == f"bluegreen-{stack}"


def test_defaults_protect() -> None:
    settings = load(_texts(_stack_file("blue")))
    assert settings.environment.deletion_protection
    assert settings.environment.final_snapshot
    assert settings.environment.allow_reboot == "never"
    assert not settings.environment.retire
    assert settings.switch.old_side == "closed"
    assert (settings.cutover, settings.rollback, settings.source) == (False, True, None)


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("aws:profile", "production", "AWS_PROFILE"),
        ("aws:assumeRoles", '[{"roleArn": "arn:aws:iam::1:role/a"}]', "a profile with role_arn"),
        ("aws:endpoints", '[{"rds": "http://localhost:1"}]', "AWS_ENDPOINT_URL"),
        ("aws:secretKey", "not to be shown", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_an_identity_that_only_the_plugin_would_have_is_refused(
    key: str, value: str, instead: str
) -> None:
    said = identity_problem({"aws:region": "eu-west-1", key: value})
    assert said is not None
    assert said.startswith(f"{key}: would reach the AWS plugin only")
    assert instead in said
    assert said.endswith(f"pulumi config rm {key}")
    assert value not in said


def test_what_says_the_same_to_everybody_may_be_set() -> None:
    harmless = {"aws:region": "eu-west-1", "aws:allowedAccountIds": '["111111111111"]'}
    assert identity_problem(harmless | {"aws:profile": "", "aws:defaultTags": "{}"}) is None


def test_parameters_may_be_written_as_yaml_reads_them() -> None:
    config = _stack_file("blue")
    config["bluegreen:environment"]["parameters"] = {"a": 5, "b": True, "c": "x", "d": 0.5}
    found = load(_texts(config)).environment.parameters
    assert found == {"a": "5", "b": "on", "c": "x", "d": "0.5"}


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["bluegreen:environment", "instances"], 0, "environment.instances: got 0, but input"),
        (["bluegreen:environment", "engine_version"], "16", "environment.engine_version: got '16'"),
        (["bluegreen:environment", "databases"], [], "environment.databases: got list, but"),
        (["bluegreen:environment", "databases"], ["a", "a"], "a database is named twice"),
        (
            ["bluegreen:environment", "instance_class"],
            "db.t4g.medium",
            "instance_class: got 'db.t4g.medium', but a global database takes no burstable class",
        ),
        (
            ["bluegreen:environment", "iam_authentication"],
            "yes",
            "environment.iam_authentication: got 'yes', but",
        ),
        (["bluegreen:switch", "login_checks"], ["app"], "switch.login_checks[0]: got 'app', but"),
        (["bluegreen:credentials", "tls"], "maybe", "credentials.tls: got 'maybe', but"),
        (
            ["bluegreen:credentials", "ca_file"],
            None,
            "credentials: ca_file: is missing, and tls is verify-full; the certificates of RDS",
        ),
        (["bluegreen:credentials", "admin_secret_arn"], "pw", "credentials.admin_secret_arn: got"),
        (["bluegreen:dns", "ttl"], -1, "dns.ttl: got -1, but"),
        (["bluegreen:dns", "tll"], 5, "dns.tll: is no setting; known here: reader, ttl, writer"),
        (["bluegreen:enviroment"], {}, "enviroment: is no setting; known here: credentials,"),
        (["bluegreen:cutover"], "perhaps", "cutover: got 'perhaps', but"),
        (
            ["bluegreen:replication", "tables"],
            "some",
            "replication.tables: got 'some', expected all",
        ),
        (
            ["bluegreen:replication", "tables"],
            {"app": ["orders"]},
            "replication.tables.app.tables[0].table: got 'orders', but",
        ),
        (
            ["bluegreen:replication", "tables"],
            {"app": {"schemas": []}},
            "replication.tables.app: name schemas or tables, or write all",
        ),
        (
            ["bluegreen:replication", "tables"],
            {"app": ["a.b", "a.b"]},
            "replication.tables.app: tables: a table is named twice",
        ),
        (
            ["bluegreen:replication", "tables"],
            {"app": [{"table": "a.b", "column": ["id"]}]},
            "tables.app.tables[0].column: is no setting; known here: columns, table, where",
        ),
        (
            ["bluegreen:replication", "tables"],
            {"nowhere": ["a.b"]},
            "bluegreen:replication.tables: got database 'nowhere', expected one of",
        ),
        (
            ["bluegreen:replication", "operations"],
            ["insert", "upsert"],
            "replication.operations[1]: got 'upsert', but",
        ),
        (
            ["bluegreen:replication", "operations"],
            ["insert"],
            "replication.operations: must have insert and update",
        ),
        (
            ["bluegreen:replication", "publish_via_partition_root"],
            "yes",
            "replication.publish_via_partition_root: got 'yes', but",
        ),
        (
            ["bluegreen:replication", "replica_identity"],
            {"app": {"a.b": "none"}},
            "replication.replica_identity.app.a.b: got 'none', but",
        ),
        (
            ["bluegreen:replication", "replica_identity"],
            {"app": {"orders": "full"}},
            "replication.replica_identity.app.orders: got 'orders', but",
        ),
    ],
)
def test_what_is_wrong_is_named_in_one_line(path: list[str], value: Any, said: str) -> None:
    config = _stack_file("blue")
    at: Any = config
    for key in path[:-1]:
        at = at.setdefault(key, {})
    at[path[-1]] = value
    with pytest.raises(SettingsError) as raised:
        load(_texts(config))
    line = str(raised.value)
    assert line.startswith("bluegreen:")
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("tables", "found"),
    [
        ("all", {}),
        ({"app": "all"}, {}),
        ({"app": ["a.b"]}, {"app": {"schemas": [], "tables": [{"table": "a.b"}]}}),
        (
            {"app": {"schemas": ["s"], "tables": [{"table": '"a.b".c', "where": "id > 0"}]}},
            {"app": {"schemas": ["s"], "tables": [{"table": '"a.b".c', "where": "id > 0"}]}},
        ),
    ],
)
def test_tables_may_be_all_a_list_or_a_choice(tables: Any, found: dict[str, Any]) -> None:
    config = _stack_file("blue")
    config.setdefault("bluegreen:replication", {})["tables"] = tables
    chosen = load(_texts(config)).replication.tables
    assert {name: one.model_dump(exclude_none=True) for name, one in chosen.items()} == found


def test_logins_by_iam_are_on_where_the_administrator_uses_one() -> None:
    config = _stack_file("blue")
    assert not load(_texts(config)).iam_authentication
    config["bluegreen:credentials"]["admin_iam_user"] = "deployer"
    assert load(_texts(config)).iam_authentication
    config["bluegreen:environment"]["iam_authentication"] = False
    with pytest.raises(SettingsError, match=r"iam_authentication: is false, and credentials.admin"):
        load(_texts(config))


def test_a_burstable_class_is_for_one_region() -> None:
    config = _stack_file("blue")
    config["bluegreen:environment"]["instance_class"] = "db.t4g.medium"
    del config["bluegreen:environment"]["secondary_regions"]
    assert load(_texts(config)).environment.instance_class == "db.t4g.medium"


def test_a_missing_setting_is_named() -> None:
    config = _stack_file("blue")
    del config["bluegreen:credentials"]["admin_secret_arn"]
    with pytest.raises(SettingsError, match=r"^bluegreen:credentials.admin_secret_arn: is missing"):
        load(_texts(config))


def test_a_switch_that_is_not_chosen_otherwise_is_the_librarys() -> None:
    chosen = Switch()
    assert (chosen.fence, chosen.old_side) == (DEFAULT_FENCE, DEFAULT_OLD_SIDE)
    assert DEFAULT_FENCE == "no-login"


def test_a_time_limit_has_one_default() -> None:
    plan = {one.name: one.default for one in fields(SwitchPlan) if one.name.endswith("_seconds")}
    settings = Switch().model_dump() | Replication().model_dump()
    assert {name: settings[name] for name in plan} == plan
    declared = How(lag_seconds=plan["lag_seconds"], drain_seconds=plan["drain_seconds"])
    assert {name: getattr(declared, name) for name in plan} == plan


def test_every_setting_is_described() -> None:
    """Each field is followed by its description in settings.py."""
    lines = (ROOT / "settings.py").read_text().splitlines()
    for model in [Settings, *(f.annotation for f in Settings.model_fields.values())]:
        for name in getattr(model, "model_fields", {}):
            heads = [i for i, line in enumerate(lines) if line.startswith(f"    {name}: ")]
            assert heads, name
            described = [i for i in heads if any('"""' in x for x in lines[i + 1 : i + 3])]
            assert described or model is Settings, name
