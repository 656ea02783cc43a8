"""What a commit is checked by is what a developer and continuous integration run, letter by letter.

The commands stand in the Makefile alone: the hooks and `.ci/run` call its targets.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
HOOKS: dict[str, Any] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())


def _hooks() -> list[dict[str, Any]]:
    return [hook for repository in HOOKS["repos"] for hook in repository["hooks"]]


def _needed_by(target: str) -> list[str]:
    """Return the targets that a target of the Makefile needs first."""
    (found,) = re.findall(rf"^{target}: ([^#\n]*)", MAKEFILE, re.MULTILINE)
    return str(found).split()


def test_a_hook_is_a_target_of_the_makefile_and_no_command_of_its_own() -> None:
    assert [repository["repo"] for repository in HOOKS["repos"]] == ["local"]
    for hook in _hooks():
        assert hook["entry"] == f"make --no-print-directory {hook['id']}"
        assert hook["language"] == "system"
        # The targets look at all files, and take no names.
        assert hook["pass_filenames"] is False


def test_the_hooks_are_what_make_test_checks_before_the_tests() -> None:
    assert [hook["id"] for hook in _hooks()] == _needed_by("test") == ["lint", "types"]


def test_continuous_integration_runs_make_test() -> None:
    commands = (ROOT / ".ci" / "run").read_text().splitlines()
    assert any(re.fullmatch(r"(\w+=\S+ )*make test", command) for command in commands)
