"""Another account: what it doesn't know isn't gone, and what it has isn't ours."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bluegreen.aws import account, cluster
from bluegreen.aws.clients import client
from bluegreen.deployment import preconditions, retirement, traffic_guard
from bluegreen.deployment.retirement import Retirement
from bluegreen.deployment.spec import DeploymentSpec
from bluegreen.errors import Refused
from bluegreen.postgres import presence
from bluegreen.postgres.server import Credentials, Server
from dynamic_providers.deployment import DeploymentProvider
from dynamic_providers.deployment_spec import stack_spec
from dynamic_providers.engine_upgrade import EngineUpgradeProvider
from dynamic_providers.host_errors import ProviderError
from dynamic_providers.parameter_apply import ParameterApplyProvider
from dynamic_providers.provider import Provider
from tests.fixtures.rds import ACCOUNT, REGION, SECOND_ACCOUNT, PlacedClusters

ROOT = Path(__file__).resolve().parents[2]
LOGINS = Credentials("a", "r", tls="disable")
SERVER = Server("orders-1", REGION, "127.0.0.1", 9, LOGINS, ACCOUNT)
SPEC = DeploymentSpec(
    spec=stack_spec(
        {
            "stack": "green",
            "cluster_identifier": "orders-2",
            "region": REGION,
            "databases": ["app"],
            "source": SERVER.to_props(),
            "source_stack": "blue",
        }
    ),
    credentials=LOGINS,
    source=SERVER,
    account=ACCOUNT,
)
WRONG = f"AWS was asked in account {SECOND_ACCOUNT}, and this environment is in {ACCOUNT}; log in"


def test_gone_is_what_its_own_account_says_is_gone(second_account: Callable[[], None]) -> None:
    assert cluster.find(REGION, "orders-1", account=ACCOUNT) is None
    second_account()
    assert cluster.find(REGION, "orders-1", account=None) is None
    with pytest.raises(Refused, match=f"cluster orders-1 in {REGION}: {WRONG}"):
        cluster.find(REGION, "orders-1", account=ACCOUNT)


def test_a_cluster_of_that_name_in_another_account_is_another(
    placed: PlacedClusters, second_account: Callable[[], None]
) -> None:
    _make(placed.rds)
    found = cluster.get(REGION, "orders-1", account=ACCOUNT)
    assert found.account == ACCOUNT
    assert Server.of(found, LOGINS).account == ACCOUNT
    second_account()
    with pytest.raises(Refused, match=WRONG):
        cluster.find(REGION, "orders-1", account=ACCOUNT)
    _make(client("rds", REGION))
    with pytest.raises(Refused, match=WRONG):
        cluster.get(REGION, "orders-1", account=ACCOUNT)


def _make(rds: Any) -> None:
    rds.create_db_cluster(
        DBClusterIdentifier="orders-1",
        Engine="aurora-postgresql",
        MasterUsername="clusteradmin",
        MasterUserPassword="not a secret",
    )


BELIEVES: dict[str, Callable[[], object]] = {
    "guard": lambda: retirement.require_retirable(
        Retirement(SERVER, ("app",), "blue", None, deletion_protection=False, retire=False)
    ),
    "presence": lambda: presence.connect_unless_gone(SERVER, "app"),
    "a server of a plan": SERVER.find_cluster,
    "names": traffic_guard.Environment("orders-1", REGION, None, LOGINS, ACCOUNT).is_closed,
    "first up": lambda: preconditions.prepare(SPEC),
    "deployment's end": lambda: preconditions.remove(SPEC),
    "refresh of the deployment": lambda: preconditions.is_registered(SPEC),
    "finishing": lambda: preconditions.forget(SPEC),
}


@pytest.mark.parametrize("what", BELIEVES)
def test_nothing_believes_another_account(what: str, second_account: Callable[[], None]) -> None:
    second_account()
    with pytest.raises(Refused, match=WRONG):
        BELIEVES[what]()


@pytest.mark.parametrize("provider", [EngineUpgradeProvider(), ParameterApplyProvider()])
def test_no_refresh_drops_what_is_in_another_account(
    provider: Provider, second_account: Callable[[], None]
) -> None:
    props = {"server": SERVER.to_props(), "parameters": {}, "databases": ["app"]}
    props |= {"engine_version": "18.4"}
    assert provider.read("orders-1", props).id is None
    second_account()
    with pytest.raises(ProviderError, match=WRONG):
        provider.read("orders-1", props)


def test_an_update_in_another_account_is_refused_at_preview() -> None:
    news = {
        "stack": "blue",
        "cluster_identifier": "orders-1",
        "region": REGION,
        "credentials": LOGINS.to_props(),
        "databases": ["app"],
        "account": ACCOUNT,
    }
    check = DeploymentProvider().check
    assert check({}, news).failures == []
    assert check(news, news).failures == []
    [failure] = check(news, news | {"account": SECOND_ACCOUNT}).failures
    assert failure.property == "account"
    assert failure.reason.startswith(WRONG)


def test_an_arn_names_its_account() -> None:
    assert account.account_of("arn:aws:rds:eu-west-1:111111111111:cluster:a") == "111111111111"
    assert account.account_of("arn:aws:route53:::hostedzone/Z1") is None
    assert account.account_of("") is None


def test_every_look_for_a_cluster_says_in_which_account() -> None:
    """But the probe's, which records nothing."""
    asking = {"find", "get", "wait_until", "wait_until_available"}
    lacking = []
    for folder in ("bluegreen", "bluegreen_cli", "dynamic_providers", "components", "hooks"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            if file.parent.name == "probe":
                continue
            for node in ast.walk(ast.parse(file.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "cluster"
                    and node.func.attr in asking
                    and "account" not in {word.arg for word in node.keywords}
                ):
                    lacking.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert lacking == []
