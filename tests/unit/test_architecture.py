"""The layers: imports go one way, and the product knows nothing of the lab.

The order within the library is import-linter's to hold, see `pyproject.toml`.
"""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ALLOWED = {
    "bluegreen": set(),
    "bluegreen_cli": {"bluegreen"},
    "settings.py": {"bluegreen"},
    "dynamic_providers": {"bluegreen"},
    "components": {"bluegreen", "dynamic_providers", "hooks", "settings"},
    "hooks": {"bluegreen", "settings"},
    "__main__.py": {"bluegreen", "components", "dynamic_providers", "hooks", "settings"},
}
OURS = {
    "bluegreen",
    "bluegreen_cli",
    "settings",
    "dynamic_providers",
    "components",
    "hooks",
    "lab",
    "bench",
    "tests",
}
PRODUCT = [*ALLOWED, "Pulumi.yaml", "Pulumi.blue.yaml", "Pulumi.green.yaml"]

# Words that only the lab has a reason to know.
TRACES = re.compile(r"\b(lab|moto|LAB_DNS|PGHOSTADDR|sitecustomize|127\.0|rdsadmin_lab)\b")


def _files(part: str) -> list[Path]:
    path = ROOT / part
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found.add((node.module or "").partition(".")[0])
    return found & OURS


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_go_one_way(part: str) -> None:
    own = part.removesuffix(".py")
    assert _files(part)
    for file in _files(part):
        assert _imports(file) - {own} <= ALLOWED[part], file.relative_to(ROOT)


@pytest.mark.parametrize("part", PRODUCT)
def test_the_product_knows_nothing_of_the_lab(part: str) -> None:
    files = _files(part)
    assert files
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            assert not TRACES.search(line), f"{file.relative_to(ROOT)}:{number}: {line.strip()}"


def test_the_entry_fits_a_screen() -> None:
    assert len((ROOT / "__main__.py").read_text().splitlines()) < 50


def test_sql_is_never_built_by_string_formatting() -> None:
    """No f-string goes to `sql.SQL` or `execute`: names and values have types of their own."""
    for part in ("bluegreen", "bluegreen_cli", "dynamic_providers", "hooks"):
        for file in _files(part):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    takes_sql = node.func.attr in {"SQL", "execute", "executemany"}
                    f_strings = [a for a in node.args[:1] if isinstance(a, ast.JoinedStr)]
                    assert not (takes_sql and f_strings), f"{file}:{node.lineno}"


def test_the_work_tree_holds_no_generated_file() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert not [f for f in tracked if f.startswith((".lab", ".venv")) or "__pycache__" in f]
