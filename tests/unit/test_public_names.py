"""What `import bluegreen` gives a program: each public name, as a type checker sees it."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import bluegreen

ROOT = Path(__file__).resolve().parents[2]

# What takes time to import. A provider's host imports the package for every resource.
HEAVY = {"boto3", "botocore", "psycopg", "pydantic"}


def _for_the_type_checker() -> dict[str, str]:
    """Return where a type checker finds each name, as `module:name`."""
    tree = ast.parse(inspect.getsource(bluegreen))
    return {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", bluegreen.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(bluegreen, name) is not None


@pytest.mark.parametrize(("name", "home"), _for_the_type_checker().items())
def test_a_name_is_what_the_type_checker_takes_it_for(name: str, home: str) -> None:
    module, _, attribute = home.partition(":")
    assert getattr(bluegreen, name) is getattr(import_module(module), attribute)


def test_the_type_checker_sees_every_public_name() -> None:
    assert bluegreen.__all__ == sorted(bluegreen.__all__)
    assert {*_for_the_type_checker(), "__version__"} == set(bluegreen.__all__)


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert bluegreen.__version__ == project["version"]


def test_every_error_of_the_library_is_public() -> None:
    errors = import_module("bluegreen.errors")
    assert {name for name in vars(errors) if name[0].isupper()} <= set(bluegreen.__all__)


def test_no_public_name_is_a_modules() -> None:
    """Importing the module would put it in the name's place."""
    modules = {module.name for module in pkgutil.iter_modules(bluegreen.__path__)}
    assert modules
    assert not modules & set(bluegreen.__all__)


def test_another_name_is_no_attribute() -> None:
    assert not hasattr(bluegreen, "switch_back")


def test_the_import_alone_is_light() -> None:
    code = "import sys, bluegreen; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "bluegreen" in loaded
    assert not HEAVY & set(loaded)
