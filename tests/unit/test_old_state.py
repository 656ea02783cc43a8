"""A state written while the library was flat modules: it loads, and a preview changes nothing.

A state holds each dynamic provider by module and class, so these stay where they are, and so do
the URNs.
"""

from __future__ import annotations

import base64
from typing import Any

import dill
import pytest
from pulumi.dynamic import ResourceProvider
from pulumi.dynamic.dynamic import serialize_provider

from dynamic_providers.provider import Provider
from tests.fixtures import old_states

DYNAMIC: list[dict[str, Any]] = [
    one
    for state in ("forward", "switched")
    for one in old_states.resources(state)
    if "__provider" in one.get("inputs", {})
]


def _provider(resource: dict[str, Any]) -> ResourceProvider:
    found = dill.loads(base64.b64decode(resource["inputs"]["__provider"]))
    assert isinstance(found, Provider)
    return found


@pytest.mark.parametrize("stored", DYNAMIC, ids=lambda one: one["urn"].rpartition("::")[2])
def test_the_stored_provider_is_the_one_of_today(stored: dict[str, Any]) -> None:
    assert serialize_provider(_provider(stored)) == stored["inputs"]["__provider"]


@pytest.mark.parametrize("stored", DYNAMIC, ids=lambda one: one["urn"].rpartition("::")[2])
def test_the_same_inputs_change_nothing(stored: dict[str, Any]) -> None:
    """As a preview asks: the inputs are checked, then compared with the stored outputs."""
    provider, inputs = _provider(stored), stored["inputs"]
    checked = provider.check(inputs, inputs)
    assert checked.failures == []
    found = provider.diff(stored["id"], stored["outputs"], checked.inputs)
    assert not found.changes
    assert not found.replaces


def test_the_states_hold_every_kind_of_that_time() -> None:
    kinds = {type(_provider(one)) for one in DYNAMIC}
    assert len(kinds) == 11
