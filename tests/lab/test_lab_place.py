"""Where a lab may live, what it keeps of the caller's environment, and how its commands end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from lab import command, environment, place
from lab.place import CHECKOUT, Place

URL = "http://127.0.0.1:1"


@pytest.mark.parametrize("name", ["", "Upper", "../out", "a/b", "-a", "1a", "a" * 32, "a b"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected lower-case letters"):
        place.choose(name)
    with pytest.raises(ValueError, match="expected lower-case letters"):
        place.existing(name)


def test_a_lab_gets_the_same_addresses_again_while_they_are_free() -> None:
    assert place.choose("steady") == place.choose("steady")
    assert place.choose("steady").folder == CHECKOUT / ".lab" / "steady"


def test_a_lab_keeps_off_another_labs_block() -> None:
    first = place.choose("steady")
    held = []
    for port in place._DNS_PORTS:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((first.dns.partition(":")[0], port))
        held.append(sock)
    try:
        assert place.choose("steady").block != first.block
    finally:
        for sock in held:
            sock.close()


def test_a_port_that_somebody_has_is_not_taken() -> None:
    first = place.choose("steady")
    with socket.create_server((f"{first.block}.12", first.port)):
        second = place.choose("steady")
    assert second.block == first.block
    assert second.port != first.port


def test_servers_of_two_labs_share_no_folder() -> None:
    assert Place("one", "127.80.0").servers != Place("two", "127.80.0").servers


def test_what_leads_elsewhere_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "PULUMI_ACCESS_TOKEN", "PGHOST", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setenv("LANG", "C.UTF-8")
    inside = environment.of_process(Place("one", "127.80.0"), URL)
    assert "elsewhere" not in inside.values()
    assert inside["LANG"] == "C.UTF-8"
    assert inside["AWS_ENDPOINT_URL"] == URL


def test_a_shell_that_sources_the_file_is_in_the_lab(tmp_path: Path) -> None:
    here = Place("one", "127.80.0")
    file = tmp_path / "env"
    file.write_text(environment.shell(here, URL))
    outside = {"PATH": os.environ["PATH"], "AWS_PROFILE": "elsewhere", "AWS_REGION": "eu-west-1"}
    script = f". '{file}'; . '{file}'; env"
    done = subprocess.run(
        ["/bin/sh", "-ec", script], env=outside, capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert environment.variables(here, URL).items() <= found.items()
    assert "AWS_PROFILE" not in found
    folders = found["PATH"].split(":")
    assert folders[0] == str(here.programs)
    assert folders.count(str(here.programs)) == 1  # though it was sourced twice


def test_a_commands_lines_come_one_by_one(tmp_path: Path) -> None:
    seen: list[str] = []
    script = "echo one; echo two >&2; exit 7"
    code, text = command.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, environment={}, line=seen.append
    )
    assert (code, text, seen) == (7, "one\ntwo\n", ["one", "two"])


class _Interrupted(Exception):
    """Stands for what may be raised while a command runs."""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 600 & echo $!; wait", id="obeys"),
        pytest.param("trap '' INT; sleep 600 & echo $!; wait; wait", id="deaf-child"),
    ],
)
def test_a_command_that_is_interrupted_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(command, "_ENDINGS", ((signal.SIGINT, 0.2), (signal.SIGKILL, 10.0)))
    monkeypatch.setattr(command, "_FAMILY_SECONDS", 0.2)
    pids: list[int] = []

    def line(text: str) -> None:
        pids.append(int(text))
        raise _Interrupted

    with pytest.raises(_Interrupted):
        command.run(
            ["/bin/sh", "-c", script], cwd=tmp_path, environment=dict(os.environ), line=line
        )
    children = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
