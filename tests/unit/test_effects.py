"""What an input is declared to do when it changes is what its provider does."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from docs.make_resources import MODULES
from dynamic_providers import caught_up, subscription
from dynamic_providers.inputs import FIXED, REPLACES, UPDATES, Input, declared
from dynamic_providers.provider import Provider
from dynamic_providers.values import Values, malformed
from tests.fixtures import old_states

REFERENCES = {"admin_secret_arn": "a", "replication_secret_arn": "r"}


def _server(host: str) -> dict[str, Any]:
    place = {"cluster": "orders-1", "region": "eu-west-1", "host": host, "port": 5432.0}
    return place | {"credentials": REFERENCES}


# Two wishes for an input, where its type does not give them.
SAMPLES: dict[str, tuple[Any, Any]] = {
    "server": (_server("one"), _server("two")),
    "credentials": (REFERENCES, REFERENCES | {"tls": "require"}),
    "scope": ({"kind": "schemas", "schemas": ["one"]}, {"kind": "schemas", "schemas": ["two"]}),
    "publishes": ({}, {"app": {"name": "bg", "scope": {"kind": "all"}}}),
    "allow_reboot": ("never", "now"),
    "engine_version": ("16.4", "18.4"),
    "start_lsn": ("0/1", "0/2"),
    "streaming": ("off", "on"),
    "origin": ("none", "any"),
    "direction": ("forward", "reverse"),
    "writer": ("source", "target"),
    "slots": ([], [{"database": "app", "name": "bg_app"}]),
    "switch": (
        {"lag_seconds": 1.0, "drain_seconds": 5.0},
        {"lag_seconds": 2.0, "drain_seconds": 5.0},
    ),
    "dns": (None, {"zone_id": "Z", "ttl": 5.0, "writer": "db.example.com"}),
    "roles": ({}, {"roles": ["app"]}),
    "rollback": (True, False),
}
SERVERS = {"server", "source", "target", "publisher", "subscriber", "standby"}
BY_TYPE: dict[str, tuple[Any, Any]] = {
    "bool": (False, True),
    "int": (1.0, 2.0),
    "float": (1.0, 2.0),
    "Sequence": (["one"], ["two"]),
    "Mapping": ({"key": "one"}, {"key": "two"}),
}
# Outputs without which the provider sees a difference anyway.
OUTPUTS = {"resource_id": "one", "state": "forward"}


def _provider(module: str) -> Provider:
    found = vars(importlib.import_module(f"dynamic_providers.{module}")).values()
    (kind,) = (
        one
        for one in found
        if isinstance(one, type) and issubclass(one, Provider) and one is not Provider
    )
    return kind()


def _samples(module: str, name: str, one: Input) -> tuple[Any, Any]:
    if name in SERVERS or (module, name) == ("sequence_values", "writer"):
        return SAMPLES["server"]
    kind = getattr(one.type, "__name__", "")
    return SAMPLES.get(name) or BY_TYPE.get(kind) or ("one", "two")


INPUTS = [(module, name) for module in MODULES for name in declared(_provider(module).inputs)]


@pytest.fixture(autouse=True)
def _no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (caught_up, subscription):
        monkeypatch.setattr(module, "covered", lambda *_args, **_more: None)


@pytest.mark.parametrize(("module", "name"), INPUTS)
def test_a_change_does_what_is_declared(module: str, name: str) -> None:
    provider = _provider(module)
    known = declared(provider.inputs)
    before = {key: _samples(module, key, one)[0] for key, one in known.items()}
    after = before | {name: _samples(module, name, known[name])[1]}
    outputs = before | OUTPUTS
    assert not provider.diff("id", outputs, before).changes
    # What a deployment may become depends on what it is, so that its check says more than this.
    if module != "deployment":
        assert provider.check(before, before).failures == []
        refused = [one.property for one in provider.check(before, after).failures]
        assert (name in refused) == (known[name].change is FIXED)
    found = provider.diff("id", outputs, after)
    assert found.changes == (known[name].change in (UPDATES, REPLACES))
    assert found.replaces == ([name] if known[name].change is REPLACES else [])


STORED = [
    one
    for state in ("forward", "switched")
    for one in old_states.resources(state)
    if "__provider" in one.get("inputs", {})
]


@pytest.mark.parametrize("stored", STORED, ids=lambda one: one["urn"].rpartition("::")[2])
def test_what_a_state_holds_is_well_formed(stored: dict[str, Any]) -> None:
    """A deletion must not fail for what an earlier version has stored, or has not."""
    kinds = {type(one).__name__: one for one in map(_provider, MODULES)}
    provider = kinds[f"{stored['type'].rpartition(':')[2]}Provider"]
    for properties in (stored["inputs"], stored["outputs"]):
        assert malformed(provider.inputs, properties) == []
        values = Values(provider.inputs, properties)
        assert all(
            values[key] is not None for key in declared(provider.inputs) if key in properties
        )
