"""Parameters as AWS describes them: which need a reboot, and which values each of them takes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from bluegreen.aws.clients import client
from bluegreen.aws.errors import asking

_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})-({_NUMBER})", re.IGNORECASE)
_WORDS = {"on": "1", "true": "1", "yes": "1", "off": "0", "false": "0", "no": "0"}
_SHOWN = 300  # characters of the values allowed: some lists are longer than a screen


@dataclass(frozen=True, slots=True)
class ParameterType:
    """A parameter of a cluster parameter group's family."""

    static: bool
    """Whether only a reboot brings another value into force."""
    modifiable: bool
    default: str | None
    """None where AWS names no value."""
    allowed: str
    """Ranges and words as AWS writes them, such as `-1-600` or `none,ddl,mod,all`; or empty."""
    listed: bool
    """Whether a value is a list of words."""


@lru_cache(maxsize=8)
def inspect_all(region: str, family: str) -> Mapping[str, ParameterType]:
    """Return the cluster parameters of a family by name."""
    found: dict[str, ParameterType] = {}
    with asking(f"parameters of {family}: rds:DescribeEngineDefaultClusterParameters"):
        pages = client("rds", region).get_paginator("describe_engine_default_cluster_parameters")
        for page in pages.paginate(DBParameterGroupFamily=family):
            for one in page["EngineDefaults"].get("Parameters", ()):
                found[one["ParameterName"]] = ParameterType(
                    static=one.get("ApplyType") == "static",
                    modifiable=bool(one.get("IsModifiable", True)),
                    default=one.get("ParameterValue"),
                    allowed=one.get("AllowedValues") or "",
                    listed=one.get("DataType") == "list",
                )
    return found


def spelt(value: str, type_: ParameterType | None) -> str:
    """Return a value as AWS spells it: a flag is 0 or 1 there."""
    if type_ is None or type_.allowed.replace(" ", "") != "0,1":
        return value
    return _WORDS.get(value.lower(), value)


def problem(name: str, value: str, known: Mapping[str, ParameterType]) -> str | None:
    """Return why a parameter can't have a value; None when it can, or when only AWS can tell.

    A formula, such as `{DBInstanceClassMemory/32768}`, only AWS can work out.
    """
    type_ = known.get(name)
    if type_ is None:
        near = difflib.get_close_matches(name.lower(), known, n=3)
        meant = f"; did you mean {' or '.join(near)}?" if near else ""
        return f"is no cluster parameter of this version{meant}"
    if not type_.modifiable:
        return "can't be changed: AWS sets it; take it out"
    if re.search(r"[{(]", value) or _allows(type_, value):
        return None
    allowed = type_.allowed
    shown = allowed if len(allowed) <= _SHOWN else f"{allowed[:_SHOWN]}..."
    return f"got {value!r}, allowed are {shown}"


def _allows(type_: ParameterType, value: str) -> bool:
    if not type_.allowed:
        return True
    choices = [one.strip() for one in type_.allowed.split(",")]
    values = [one.strip() for one in value.split(",")] if type_.listed else [value]
    return all(any(_fits(one, choice) for choice in choices) for one in values)


def _fits(value: str, choice: str) -> bool:
    if value.lower() == choice.lower():
        return True
    limits = _RANGE.fullmatch(choice)
    if limits is None or re.fullmatch(_NUMBER, value, re.IGNORECASE) is None:
        return False
    return float(limits[1]) <= float(value) <= float(limits[2])
