"""Labs start side by side, leave the checkout alone, and leave nothing however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lab import leftovers, place
from lab.place import CHECKOUT, Place
from lab.world import CommandFailed, World

_SECONDS = 90


def _name(suffix: str) -> str:
    return f"test-{suffix}-{os.getpid()}"


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _checkout() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout


def _lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def _cluster(world: World) -> None:
    """Make a cluster, with its server."""
    code = """
import boto3
rds = boto3.client("rds")
rds.create_db_cluster(DBClusterIdentifier="one", Engine="aurora-postgresql", EngineVersion="16.14",
    MasterUsername="admin1", MasterUserPassword="not-a-secret")
rds.create_db_instance(DBInstanceIdentifier="one-1", DBClusterIdentifier="one",
    Engine="aurora-postgresql", DBInstanceClass="db.r6g.large")
rds.get_waiter("db_cluster_available").wait(
    DBClusterIdentifier="one", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
"""
    subprocess.run([sys.executable, "-c", code], env=world.environment, check=True)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Return a running lab."""
    started = World.up(_name("one"), lambda _: None)
    yield started
    started.down()
    assert leftovers.processes(started.place) == []
    assert not started.place.folder.exists()
    assert not started.place.servers.exists()


def test_setting_a_stack_leaves_the_checkout_alone(world: World) -> None:
    before = _checkout()
    world.pulumi("config", "set", "cutover", "true", "-s", "green")
    assert world.pulumi("config", "get", "cutover", "-s", "green").strip() == "true"
    world.pulumi("config", "rm", "cutover", "-s", "green")
    assert _checkout() == before


def test_both_stacks_are_there_and_set(world: World) -> None:
    assert {"blue", "green"} <= set(world.pulumi("stack", "ls").replace("*", " ").split())
    arn = world.pulumi("config", "get", "--path", "bluegreen:credentials.admin_secret_arn")
    assert arn.strip() == world.seed.admin_secret_arn


@pytest.mark.slow
def test_the_stand_in_is_found_without_a_word(world: World, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: tiny\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(
        "from pulumi_aws import rds\nrds.ClusterParameterGroup('g', family='aurora-postgresql16')\n"
    )
    here = world.environment | {"PULUMI_PYTHON_CMD": sys.executable}

    def pulumi(*arguments: str) -> str:
        return subprocess.run(
            ["pulumi", *arguments],
            cwd=tmp_path,
            env=here,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout

    pulumi("stack", "init", "tiny")
    text = pulumi("preview", "--non-interactive")
    assert "2 to create" in text
    assert "warning" not in text


@pytest.mark.slow
def test_two_labs_run_side_by_side_and_share_nothing(world: World) -> None:
    other = World.up(_name("two"), lambda _: None)
    try:
        assert other.place.block != world.place.block
        for name in ("AWS_ENDPOINT_URL", "LAB_DNS", "PULUMI_HOME", "PULUMI_BACKEND_URL"):
            assert other.environment[name] != world.environment[name]
        assert leftovers.running(world.place)
    finally:
        other.down()
    assert leftovers.processes(other.place) == []
    assert leftovers.running(world.place)


def test_a_second_lab_of_the_same_name_is_refused(world: World) -> None:
    with pytest.raises(CommandFailed, match="runs already"):
        World.up(world.place.name, lambda _: None)
    assert leftovers.running(world.place)


@pytest.mark.slow
def test_a_lab_whose_owner_is_killed_ends_and_its_name_is_free_again() -> None:
    name = _name("killed")
    code = f"""
import signal, sys
sys.path.insert(0, {str(CHECKOUT)!r})
from lab.world import World
from tests.lab.test_lab_world import _cluster
_cluster(World.up({name!r}, lambda _: None))
print("here", flush=True)
signal.pause()
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", code], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "here\n"
    there = _existing(name)
    assert any(process.name() == "postgres" for process in leftovers.processes(there))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    _until(lambda: leftovers.processes(there) == [], "processes outlive the lab's owner")
    said: list[str] = []
    again = World.up(name, said.append)
    again.down()
    assert any("did not end well" in line for line in said)


@pytest.mark.slow
def test_a_killed_control_process_leaves_servers_that_the_next_lab_ends() -> None:
    name = _name("crashed")
    first = World.up(name, lambda _: None)
    _cluster(first)
    first._control.process.kill()
    first._control.process.wait()
    servers = leftovers.processes(first.place)
    assert any(process.name() == "postgres" for process in servers)
    again = World.up(name, lambda _: None)
    again.down()
    first.end()
    assert not [process for process in servers if process.is_running()]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_a_start_that_is_interrupted_leaves_nothing(number: signal.Signals, code: int) -> None:
    name = _name(f"sig{number.value}")
    starting = subprocess.Popen(
        [sys.executable, "-m", "lab", "up", "--name", name],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = CHECKOUT / ".lab" / name
    _until((folder / "lab.json").exists, "the lab does not start")
    there = _existing(name)
    starting.send_signal(number)
    out, err = starting.communicate(timeout=_SECONDS)
    assert starting.returncode == code, err
    assert "Traceback" not in err
    assert out == ""
    assert leftovers.processes(there) == []
    assert not folder.exists()


_INTERRUPT = """
import os, runpy, signal, sys
import lab.command, lab.control, lab.interrupts, lab.leftovers, lab.world
files = {module.__file__ for module in vars(lab).values() if hasattr(module, "__file__")}
functions = {"up", "_started", "start", "_first_line", "write_note", "run", "_install_plugin"}
number, moment, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
seen = set()
def trace(frame, event, _):
    code = frame.f_code
    if code.co_filename not in files or code.co_name not in functions:
        return None
    place = code.co_filename, frame.f_lineno
    if event == "line" and place not in seen:
        seen.add(place)
        if len(seen) == moment:
            os.kill(os.getpid(), number)
    return trace
sys.settrace(trace)
sys.argv = ["lab", "up", "--name", name]
try:
    runpy.run_module("lab", run_name="__main__")
finally:
    print(len(seen), file=sys.stderr)
"""


def _interrupted(number: signal.Signals, moment: int) -> tuple[int, int]:
    """Interrupt a start at its `moment`-th line; return the exit code and how many lines ran."""
    name = _name("lines")
    there = Place(name, "")
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPT, str(number.value), str(moment), name],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode == 0:
        assert leftovers.running(_existing(name))
        leftovers.clear(_existing(name))
    else:
        assert done.stdout == "", moment
    assert leftovers.processes(there) == [], moment
    assert not there.folder.exists(), moment
    return done.returncode, int(done.stderr.split()[-1])


@pytest.mark.slow
def test_a_start_that_is_interrupted_where_its_process_begins_leaves_nothing() -> None:
    for moment in (18, 24, 30):
        assert _interrupted(signal.SIGTERM, moment)[0] == 143


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_start_that_is_interrupted_at_every_fourth_line_leaves_nothing() -> None:
    code, lines = _interrupted(signal.SIGTERM, 10_000)
    assert code == 0
    found = [_interrupted(signal.SIGTERM, moment)[0] for moment in range(1, lines + 1, 4)]
    # Only once all is done, and the line that enters it printed, is it too late.
    assert set(found) <= {0, 143}
    assert found == sorted(found, reverse=True)


@pytest.mark.slow
def test_the_command_starts_names_and_ends_a_lab_that_stays() -> None:
    name = _name("stays")
    before = _checkout()
    started = _lab("up", "--name", name)
    try:
        assert started.returncode == 0, started.stderr
        there = _existing(name)
        assert started.stdout == f"cd {there.project} && . ../env\n"
        entered = subprocess.run(
            ["/bin/sh", "-ec", f"{started.stdout.strip()}; command -v pulumi; pulumi stack ls"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert entered.stdout.startswith(f"{there.programs}/pulumi\n")
        assert "green" in entered.stdout
        assert _lab("status", "--name", name).returncode == 0
        assert _lab("env", "--name", name).stdout == (there.folder / "env").read_text()
        assert _lab("up", "--name", name).returncode == 1
    finally:
        ended = _lab("down", "--name", name)
    assert ended.returncode == 0, ended.stderr
    assert leftovers.processes(there) == []
    assert _lab("status", "--name", name).returncode == 1
    assert _checkout() == before


@pytest.mark.slow
def test_a_lab_by_hand_gets_load_that_is_checked_at_its_end(tmp_path: Path) -> None:
    name = _name("load")
    started = _lab("up", "--name", name)
    try:
        assert started.returncode == 0, started.stderr
        early = _lab("load", "--name", name)
        assert (early.returncode, len(early.stderr.splitlines())) == (1, 1)
        assert "run `pulumi up -s blue` first" in early.stderr
        up = f"{started.stdout.strip()}; pulumi up -s blue --yes --skip-preview"
        subprocess.run(["/bin/sh", "-ec", up], capture_output=True, check=True)
        said = tmp_path / "said"
        with said.open("wb") as file:
            load = subprocess.Popen(
                [sys.executable, "-m", "lab", "load", "--name", name], cwd=CHECKOUT, stderr=file
            )
        _until(lambda: b" committed, " in said.read_bytes(), "clients that write")
        load.send_signal(signal.SIGINT)
        assert load.wait(_SECONDS) == 0
        assert said.read_text().splitlines()[-1].endswith(" acknowledged, 0 lost")
    finally:
        _lab("down", "--name", name)


@pytest.mark.parametrize("command", ["down", "env", "load", "status"])
def test_a_lab_that_is_not_there_is_refused_in_one_line(command: str) -> None:
    done = _lab(command, "--name", _name("nowhere"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "starts one" in done.stderr


def _existing(name: str) -> Place:
    found = place.existing(name)
    assert found is not None
    return found


def test_nobody_elses_program_is_ended_with_a_lab(tmp_path: Path) -> None:
    there = Place(_name("open"), "127.80.0")
    there.folder.mkdir(parents=True)
    (there.folder / "control.log").touch()
    reader = subprocess.Popen(["tail", "-f", there.folder / "control.log"], cwd=tmp_path)
    try:
        leftovers.clear(there)
        assert psutil.Process(reader.pid).is_running()
        assert not there.folder.exists()
    finally:
        reader.kill()
        reader.wait()
