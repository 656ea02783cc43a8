"""The lock: it pins all that is declared, each version with its hashes, and names no machine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: dict[str, list[str]] = PYPROJECT["dependency-groups"]

_HASH = re.compile(r" --hash=sha256:[0-9a-f]{64}(?= |$)")


def _entries() -> dict[str, str]:
    """Return what the lock holds by requirement, such as `moto==5.2.5`: its options."""
    lines = re.sub(r" \\\n +", " ", LOCK).splitlines()
    found = [line.partition(" --") for line in lines if not line.lstrip().startswith("#")]
    return {requirement: sign + options for requirement, sign, options in found}


def _pins() -> dict[str, Requirement]:
    return {pin.name: pin for pin in map(Requirement, _entries())}


DECLARED = [
    *PYPROJECT["project"]["dependencies"],
    *PYPROJECT["build-system"]["requires"],
    *(one for group in GROUPS.values() for one in group),
]


def test_every_version_is_pinned_once_with_its_hashes() -> None:
    for entry, options in _entries().items():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", entry), entry
        assert _HASH.search(options), f"{entry}: no hash"
        assert not _HASH.sub("", options).strip(), f"{entry}: more than hashes"
    assert len(_pins()) == len(_entries()) > 100


@pytest.mark.parametrize("declared", DECLARED)
def test_what_is_declared_is_in_the_lock(declared: str) -> None:
    wanted = Requirement(declared)
    pin = _pins()[canonicalize_name(wanted.name)]
    (version,) = pin.specifier
    assert wanted.specifier.contains(version.version, prereleases=True)


def test_the_lock_names_no_index_and_no_path() -> None:
    # A hash holds wherever the file comes from, so no address is needed.
    assert "://" not in LOCK
    assert not re.search(r"(^|\s)/\w", LOCK)


def test_the_lock_is_made_of_every_group_for_every_python() -> None:
    (recipe,) = re.findall(r"^lock: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert re.findall(r"--group (\w+)", recipe) == list(GROUPS)
    (lowest,) = re.findall(r"--python-version (\S+)", recipe)
    assert PYPROJECT["project"]["requires-python"] == f">={lowest}"
    assert "--generate-hashes" in recipe
    assert "--universal" in recipe


def test_what_is_installed_is_checked_against_the_hashes() -> None:
    (recipe,) = re.findall(r"^\.venv/\.installed: .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    of_the_lock, of_the_project = re.findall(r"pip install (.*)", recipe)
    assert "--require-hashes -r requirements.lock" in of_the_lock
    # A build of its own would fetch setuptools, and no hash is asked for that.
    assert "--no-deps --no-build-isolation -e ." in of_the_project
