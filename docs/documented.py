"""What a resource says of itself: its inputs, outputs and errors, read from the code.

The docstring of its class has a section `Inputs` and a section `Errors`; each output is an
attribute with a docstring below it. What a change of an input does is asked of the provider.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi.dynamic import ResourceProvider

from dynamic_providers.inputs import Input
from dynamic_providers.inputs import declared as inputs_of

ROOT = Path(__file__).resolve().parents[1]

# Two wishes for an input, where the provider wants more than a value of the right type.
_SAMPLES: dict[tuple[str, str], tuple[Any, Any]] = {
    ("Publication", "scope"): (
        {"kind": "schemas", "schemas": ["old"]},
        {"kind": "schemas", "schemas": ["new"]},
    ),
    ("ParameterApply", "allow_reboot"): ("never", "now"),
    ("EngineUpgrade", "engine_version"): ("16.4", "18.4"),
    ("Subscription", "start_lsn"): ("0/1", "0/2"),
    ("Subscription", "streaming"): ("off", "on"),
    ("Subscription", "origin"): ("none", "any"),
    ("CaughtUp", "direction"): ("forward", "reverse"),
    ("Deployment", "rollback"): (True, False),
}
# Outputs without which the provider sees a difference anyway.
_OUTPUTS: dict[str, dict[str, Any]] = {
    "CloneOrigin": {"resource_id": "old"},
    "Deployment": {"state": "forward"},
}
_BY_TYPE: dict[str, tuple[Any, Any]] = {
    "bool": (False, True),
    "int": (1, 2),
    "float": (1.0, 2.0),
    "Sequence": (["old"], ["new"]),
    "list": (["old"], ["new"]),
    "Mapping": ({"key": "old"}, {"key": "new"}),
    "dict": ({"key": "old"}, {"key": "new"}),
}
# An entry of a section of a docstring, `name: text`, and what goes on below it.
_SECTION = re.compile(r"^(Inputs|Errors):\n((?:    .*\n|\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\S[^:\n]*): (.*\n(?:        .*\n)*)", re.MULTILINE)


class UndocumentedError(Exception):
    """One line: which part of which resource has no docstring."""


@dataclass(frozen=True, slots=True)
class Property:
    """One input or output of a resource."""

    name: str
    type: str
    meaning: str
    default: str | None = None
    changed: str = ""
    """What a change of an input does."""


@dataclass(frozen=True, slots=True)
class Documented:
    """A resource as its class tells of it."""

    name: str
    token: str
    summary: str
    errors: dict[str, str]
    inputs: list[Property]
    outputs: list[Property]


def read(module: str) -> Documented:
    """Return what `dynamic_providers/{module}.py` says of its resource.

    Raises `UndocumentedError`.
    """
    tree = ast.parse((ROOT / "dynamic_providers" / f"{module}.py").read_text())
    (declared,) = (
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(k.arg == "module" for k in node.keywords)
    )
    keywords = {k.arg: ast.literal_eval(k.value) for k in declared.keywords}
    if f"{declared.name}Inputs" in [getattr(node, "name", "") for node in tree.body]:
        return _typed(module, tree, declared, keywords)
    (init,) = (
        node
        for node in declared.body
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    )
    text = ast.get_docstring(declared) or ""
    sections = {title: _entries(body) for title, body in _SECTION.findall(text + "\n")}
    said, errors = sections.get("Inputs", {}), sections.get("Errors", {})
    if not errors:
        raise UndocumentedError(f"{declared.name}: its docstring has no section Errors")
    arguments = [one for one in init.args.kwonlyargs if one.arg != "opts"]
    for argument in arguments:
        if not said.get(argument.arg):
            raise UndocumentedError(f"{declared.name}: input {argument.arg} is in no docstring")
    keys = [one.arg for one in init.args.kwonlyargs]
    defaults = dict(zip(keys, init.args.kw_defaults, strict=True))
    types = {one.arg: _type(one.annotation) for one in arguments}
    if unknown := sorted(said.keys() - types.keys()):
        raise UndocumentedError(f"{declared.name}: {', '.join(unknown)} is no input")
    provider = getattr(
        importlib.import_module(f"dynamic_providers.{module}"), f"{declared.name}Provider"
    )()
    return Documented(
        declared.name,
        f"{keywords['module']}:{keywords['name']}",
        _line(_SECTION.sub("", text + "\n")),
        errors,
        [
            Property(
                name,
                kind,
                said[name],
                _default(defaults[name]),
                _changed(declared.name, provider, types, name),
            )
            for name, kind in types.items()
        ],
        list(_outputs(declared)),
    )


def _typed(
    module: str, tree: ast.Module, declared: ast.ClassDef, keywords: Mapping[str | None, Any]
) -> Documented:
    (inputs,) = (
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == f"{declared.name}Inputs"
    )
    text = (ast.get_docstring(declared) or "") + "\n"
    errors = {title: _entries(body) for title, body in _SECTION.findall(text)}.get("Errors")
    if not errors:
        raise UndocumentedError(f"{declared.name}: its docstring has no section Errors")
    known = inputs_of(getattr(importlib.import_module(f"dynamic_providers.{module}"), inputs.name))
    return Documented(
        declared.name,
        f"{keywords['module']}:{keywords['name']}",
        _line(_SECTION.sub("", text)),
        errors,
        [_input(name, known[name], said) for name, said in _attributes(declared.name, inputs)],
        [
            Property(name, _type_of(declared, name), said)
            for name, said in _attributes(declared.name, declared)
        ],
    )


def _attributes(resource: str, declared: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield the annotated attributes of a class, each with the docstring below it."""
    for node, following in zip(declared.body, [*declared.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        said = following.value if isinstance(following, ast.Expr) else None
        if not isinstance(said, ast.Constant) or not isinstance(said.value, str):
            raise UndocumentedError(f"{resource}: {node.target.id} has no docstring")
        yield node.target.id, _line(said.value)


def _input(name: str, one: Input, said: str) -> Property:
    kind = one.type.__name__ if type(one.type) is type else repr(one.type)
    return Property(
        name,
        re.sub(r"\w+\.", "", kind),
        said,
        None if one.required else repr(one.default),
        "used from the next change on" if one.change is None else one.change.value,
    )


def _type_of(declared: ast.ClassDef, output: str) -> str:
    (kind,) = (
        ast.unparse(node.annotation)
        for node in declared.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == output
    )
    return kind.removeprefix("pulumi.Output[").removesuffix("]")


def _entries(body: str) -> dict[str, str]:
    """Return the entries of a section by name."""
    return {name: _line(text) for name, text in _ENTRY.findall(body)}


def _type(annotation: ast.expr | None) -> str:
    """Return what an input takes: `pulumi.Input` goes without saying, and so does None."""
    text = "" if annotation is None else ast.unparse(annotation)
    return re.sub(r"pulumi\.Input\[(.*)\]", r"\1", text).removesuffix(" | None")


def _outputs(declared: ast.ClassDef) -> Iterator[Property]:
    """Yield the outputs: attributes, each with a docstring below it."""
    for node, following in zip(declared.body, [*declared.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        said = following.value if isinstance(following, ast.Expr) else None
        if not isinstance(said, ast.Constant) or not isinstance(said.value, str):
            raise UndocumentedError(f"{declared.name}: {node.target.id} has no docstring")
        kind = ast.unparse(node.annotation).removeprefix("pulumi.Output[").removesuffix("]")
        yield Property(node.target.id, kind, _line(said.value))


def _default(value: ast.expr | None) -> str | None:
    return None if value is None else ast.unparse(value)


def _line(text: str) -> str:
    return " ".join(text.split())


def _changed(resource: str, provider: ResourceProvider, types: Mapping[str, str], name: str) -> str:
    """Ask the provider what it would do about another value of the input `name`."""
    before = {key: _sample(resource, key, kind)[0] for key, kind in types.items()}
    after = before | {name: _sample(resource, name, types[name])[1]}
    # What a deployment may become depends on what it is: the error says so, not a single input.
    if resource != "Deployment":
        refused = provider.check(before, before).failures
        assert not refused, f"{resource}: sample of {refused[0].property}: {refused[0].reason}"
        failures = provider.check(before, after).failures
        if any(one.property == name for one in failures):
            return "refused at preview"
    outputs = before | _OUTPUTS.get(resource, {})
    assert not provider.diff("id", outputs, before).changes, f"{resource}: samples differ already"
    found = provider.diff("id", outputs, after)
    if found.replaces:
        return "replaces"
    return "in place" if found.changes else "used from the next change on"


def _sample(resource: str, name: str, kind: str) -> tuple[Any, Any]:
    plain = kind.removesuffix(" | None").partition("[")[0]
    return _SAMPLES.get((resource, name)) or _BY_TYPE.get(plain, ("old", "new"))
