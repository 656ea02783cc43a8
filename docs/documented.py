"""What a resource says of itself: its inputs, outputs and errors, read from the code.

Inputs are the fields of its TypedDict, outputs the attributes of its class, each with a docstring
below it; errors are a section of the docstring of the class. By hand, since griffe knows a class
and its docstrings, and what is shown here is which change of an input does what.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dynamic_providers.inputs import Input
from dynamic_providers.inputs import declared as declared_inputs

ROOT = Path(__file__).resolve().parents[1]

_UNMARKED = "used from the next change on"
# The section of a docstring, its entries `name: text`, and what goes on below each.
_ERRORS = re.compile(r"^Errors:\n((?:    .*\n|\n)*)", re.MULTILINE)
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
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    (resource,) = (
        node for node in classes.values() if any(k.arg == "module" for k in node.keywords)
    )
    name = resource.name
    text = (ast.get_docstring(resource) or "") + "\n"
    errors = {kind: _line(said) for kind, said in _ENTRY.findall("".join(_ERRORS.findall(text)))}
    if not errors:
        raise UndocumentedError(f"{name}: its docstring has no section Errors")
    known = declared_inputs(
        getattr(importlib.import_module(f"dynamic_providers.{module}"), f"{name}Inputs")
    )
    keywords = {k.arg: ast.literal_eval(k.value) for k in resource.keywords}
    return Documented(
        name,
        f"{keywords['module']}:{keywords['name']}",
        _line(_ERRORS.sub("", text)),
        errors,
        [
            _input(key, known[key], said)
            for key, _, said in _attributes(name, classes[f"{name}Inputs"])
        ],
        [
            Property(key, kind.removeprefix("pulumi.Output[").removesuffix("]"), said)
            for key, kind, said in _attributes(name, resource)
        ],
    )


def _attributes(resource: str, declared: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """Yield name, annotation and docstring of each annotated attribute of a class."""
    for node, following in zip(declared.body, [*declared.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        said = following.value if isinstance(following, ast.Expr) else None
        if not isinstance(said, ast.Constant) or not isinstance(said.value, str):
            raise UndocumentedError(f"{resource}: {node.target.id} has no docstring")
        yield node.target.id, ast.unparse(node.annotation), _line(said.value)


def _input(name: str, declared: Input, said: str) -> Property:
    type_ = declared.type
    shown = type_.__name__ if type(type_) is type else re.sub(r"\w+\.", "", repr(type_))
    default = None if declared.required else repr(declared.default)
    changed = declared.change.value if declared.change else _UNMARKED
    return Property(name, shown, said, default, changed)


def _line(text: str) -> str:
    return " ".join(text.split())
