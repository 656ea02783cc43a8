"""What changes, what replaces, and what is only another order: by the official plugin's rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pulumi.runtime.proto import provider_pb2

from lab.aws_plugin.spec import Spec
from lab.aws_plugin.values import Props, has_unknown, is_absent, is_empty


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
    if is_absent(new):
        # What AWS may fill in stays when it is no longer asked for.
        if is_empty(old) or name in spec.computed:
            return {}
        return _each(name, old, Kind.DELETE)
    if old == {} and isinstance(new, dict):
        return _each(name, new, Kind.ADD)
    if name in spec.sets and isinstance(old, list) and isinstance(new, list):
        return _members(name, old, new)
    return _pair(name, old, new)


def _each(name: str, value: Any, kind: Kind) -> dict[str, Kind]:
    """Maps are told by key, everything else as one."""
    if isinstance(value, dict) and name in ("tags", "tagsAll"):
        return {f"{name}.{key}": kind for key in value}
    return {name: kind}


def _members(path: str, old: list[Any], new: list[Any]) -> dict[str, Kind]:
    """Compare sets: by members, each told at its place in the state or in the inputs."""
    befores, afters = list(map(_plain, old)), list(map(_plain, new))
    gone = {n for n, member in enumerate(befores) if member not in afters}
    come = {n for n, member in enumerate(afters) if member not in befores}
    found: dict[str, Kind] = {}
    for index in sorted(gone | come):
        before = old[index] if index in gone else None
        after = new[index] if index in come else None
        found |= _pair(f"{path}[{index}]", before, after)
    return found


def _pair(path: str, old: Any, new: Any) -> dict[str, Kind]:
    if is_absent(new):
        return {} if is_empty(old) else {path: Kind.DELETE}
    if is_empty(new) and is_empty(old):
        return {}  # Terraform's zero value is the same as none
    if old is None or (is_absent(old) and isinstance(new, dict | list)):
        return {path: Kind.ADD}
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, Kind] = {}
        for key in sorted((set(old) | set(new)) - {"__defaults"}):
            found |= _pair(f"{path}.{key}", old.get(key), new.get(key))
        return found
    if isinstance(old, list) and isinstance(new, list):
        found = {}
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            found |= _pair(f"{path}[{index}]", before, after)
        return found
    return {} if _scalar(old) == _scalar(new) else {path: Kind.UPDATE}


def _scalar(value: Any) -> Any:
    # The bridge takes a number for a string and a flag for its word, as Terraform's types do.
    return value if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    """Return a member of a set in the form by which members are the same."""
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            if key != "__defaults" and not is_empty(item)
        }
    return _scalar(value)
