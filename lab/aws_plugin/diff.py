"""What changes, what replaces, and what is only another order: by the official plugin's rules."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pulumi.runtime.proto import provider_pb2

from lab.aws_plugin.spec import Spec
from lab.aws_plugin.values import Props, has_unknown, is_empty


class Kind(Enum):
    """Kinds of a detailed difference."""

    ADD = provider_pb2.PropertyDiff.ADD
    UPDATE = provider_pb2.PropertyDiff.UPDATE
    DELETE = provider_pb2.PropertyDiff.DELETE


_REPLACING = {
    Kind.ADD: provider_pb2.PropertyDiff.ADD_REPLACE,
    Kind.UPDATE: provider_pb2.PropertyDiff.UPDATE_REPLACE,
    Kind.DELETE: provider_pb2.PropertyDiff.DELETE_REPLACE,
}


@dataclass(slots=True)
class Difference:
    """The answer to a Diff; `detailed` maps property paths to kinds of the protocol."""

    changed: list[str] = field(default_factory=list)
    replaces: list[str] = field(default_factory=list)
    detailed: dict[str, int] = field(default_factory=dict)
    delete_first: bool = False
    stables: list[str] = field(default_factory=list)


def compare(spec: Spec, olds: Props, news: Props, ignored: list[str]) -> Difference:
    """Compare the last state, `olds`, with the desired inputs."""
    found = Difference()
    skipped = {path.partition(".")[0].partition("[")[0] for path in ignored}
    for name in sorted(spec.inputs - skipped - {"region"}):
        entries = _compare(spec, name, olds.get(name), news.get(name))
        if not entries:
            continue
        found.changed.append(name)
        replacing = name in spec.replaces
        if replacing:
            found.replaces.append(name)
        for path, kind in entries.items():
            found.detailed[path] = _REPLACING[kind] if replacing else kind.value
    if spec.regional and "region" not in skipped and _moved(olds, news):
        # The bridge keeps the Region among its own data, and says so.
        found.changed += ["__meta", "region"]
        found.replaces.append("__meta")
        found.detailed |= {"__meta": _REPLACING[Kind.UPDATE], "region": Kind.UPDATE.value}
    found.stables = sorted(spec.replaces - set(found.changed))
    given = "name" in news and "name" not in news.get("__defaults", [])
    found.delete_first = bool(found.replaces) and spec.autonamed and given
    return found


def _moved(olds: Props, news: Props) -> bool:
    return "region" in olds and "region" in news and olds["region"] != news["region"]


def _compare(spec: Spec, name: str, old: Any, new: Any) -> dict[str, Kind]:
    if has_unknown(new):
        return {name: Kind.UPDATE}
    if is_empty(new):
        # What AWS may fill in stays when it is no longer asked for.
        if is_empty(old) or name in spec.computed:
            return {}
        return _each(name, old, Kind.DELETE)
    if is_empty(old):
        return _each(name, new, Kind.ADD) if old == {} else {name: Kind.ADD}
    if name in spec.sets:
        old, new = _sorted(old), _sorted(new)
    return _nested(name, old, new)


def _each(name: str, value: Any, kind: Kind) -> dict[str, Kind]:
    """Maps are told by key, everything else as one."""
    if isinstance(value, dict) and name in ("tags", "tagsAll"):
        return {f"{name}.{key}": kind for key in value}
    return {name: kind}


def _nested(path: str, old: Any, new: Any) -> dict[str, Kind]:
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, Kind] = {}
        for key in sorted(set(old) | set(new)):
            if key != "__defaults":
                found |= _member(f"{path}.{key}", old.get(key), new.get(key))
        return found
    if isinstance(old, list) and isinstance(new, list):
        found = {}
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            found |= _member(f"{path}[{index}]", before, after)
        return found
    return {} if _scalar(old) == _scalar(new) else {path: Kind.UPDATE}


def _member(path: str, old: Any, new: Any) -> dict[str, Kind]:
    if is_empty(new) and is_empty(old):
        return {}
    if is_empty(new):
        return {path: Kind.DELETE}
    if is_empty(old):
        return {path: Kind.ADD}
    return _nested(path, old, new)


def _scalar(value: Any) -> Any:
    # The bridge takes a number for a string and a flag for its word, as Terraform's types do.
    return value if isinstance(value, bool) else str(value)


def _sorted(values: Any) -> list[Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if key != "__defaults"}
        return value

    return sorted(map(plain, values), key=lambda value: json.dumps(value, sort_keys=True))
