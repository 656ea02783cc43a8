"""Check: defaults are filled in, and what can't be is said, as the official plugin says it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from lab.aws_plugin.rules import snake
from lab.aws_plugin.spec import Spec
from lab.aws_plugin.values import UNKNOWN, Props, has_unknown


def check(
    spec: Spec,
    logical: str,
    olds: Props,
    news: Props,
    region: str,
    default_tags: Mapping[str, str],
) -> tuple[Props, list[str]]:
    """Return the inputs with defaults, and the failures in the official plugin's words."""
    inputs = {name: value for name, value in news.items() if value is not None}
    failures = [
        f"Invalid or unknown key. Examine values at '{logical}.{name}'."
        for name in inputs
        if name not in spec.inputs and name != "__defaults"
    ]
    failures += [
        f'Missing required argument. The argument "{snake(name)}" is required, but no definition'
        f" was found.. Examine values at '{logical}.{name}'."
        for name in sorted(spec.required)
        if name not in inputs
    ]
    failures += [
        f"{text}. Examine values at '{logical}.{name}'."
        for rule in spec.rules
        for name, text in rule(inputs)
    ]
    defaulted = []
    for name, value in spec.defaults.items():
        if name not in inputs:
            inputs[name] = value
            defaulted.append(name)
    if spec.autonamed and "name" not in inputs and "namePrefix" not in inputs:
        inputs["name"] = olds.get("name") or f"{logical}-{secrets.token_hex(4)[:7]}"
        defaulted.append("name")
    if spec.regional:
        inputs.setdefault("region", region)
    if spec.tagged:
        tags = inputs.get("tags") or {}
        inputs["tagsAll"] = UNKNOWN if has_unknown(tags) else {**default_tags, **tags}
    inputs["__defaults"] = sorted(defaulted)
    return {name: _with_defaults(name, value) for name, value in inputs.items()}, failures


def _with_defaults(name: str, value: Any) -> Any:
    """Fill in the defaults inside a list of parameters."""
    if name != "parameters" or not isinstance(value, list):
        return value
    return [
        item
        if not isinstance(item, dict) or "applyMethod" in item
        else item | {"applyMethod": "immediate", "__defaults": ["applyMethod"]}
        for item in value
    ]
