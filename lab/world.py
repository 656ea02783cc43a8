"""A lab: AWS, servers, DNS and an engine, and a copy of the program to use them with."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lab import place as places
from lab import seed as seeds
from lab.engine import install, launchers
from lab.place import CHECKOUT, Place
from lab.seed import Seed

Report = Callable[[str], None]
Line = Callable[[str], None]

PROGRAM = (
    "Pulumi.yaml",
    "Pulumi.blue.yaml",
    "Pulumi.green.yaml",
    "__main__.py",
    "settings.py",
    "components",
    "dynamic_providers",
    "hooks",
    "bluegreen",
)
PLUGIN_VERSION = "7.51.1"


class CommandFailed(Exception):
    """A command of the lab failed; the message holds the end of what it said."""


class World:
    """One running lab. `environment` is what every process in it gets."""

    def __init__(
        self, place: Place, control: subprocess.Popen[str] | None, environment: dict[str, str]
    ) -> None:
        self.place = place
        self.environment = environment
        self._control = control

    @classmethod
    def up(cls, name: str, report: Report, *, stays: bool = False) -> Self:
        """Start a lab; a stale one of that name is cleaned away first.

        `stays`: it outlives this process. Raises `CommandFailed` when one of that name runs, and
        `install.NoEngine`.
        """
        engine = install.ensure(report)
        with places.locked():
            old = places.existing(name)
            if old is not None:
                if places.running(old):
                    raise CommandFailed(
                        f"lab {name}: runs already in {old.folder}; end it by"
                        f" `python -m lab down --name {name}`, or use another name"
                    )
                report(f"lab {name}: cleaning up after one that did not end well")
                places.clear(old)
            place = places.choose(name)
            shutil.rmtree(place.folder, ignore_errors=True)
            place.folder.mkdir(parents=True)
            control, url = _start_control(place, stays=stays)
            places.write_note(place, control.pid)
        report(f"lab {name}: AWS at {url}, servers on {place.block}.x, DNS on {place.dns}")
        world = cls(place, control, _environment(place, url))
        try:
            launchers.link(engine, place.folder / "bin")
            _install_plugin(place)
            world._make_project()
            world.seed = seeds.make(url)
            world._configure()
            (place.folder / "env").write_text(_exports(world.environment))
        except BaseException:
            world.down()
            raise
        return world

    seed: Seed

    def down(self) -> None:
        """End the lab and delete its files."""
        self.end()
        places.clear(self.place)

    def end(self) -> None:
        """End the processes, and keep the files for a look."""
        control = self._control
        if control is None or control.stdin is None:
            return
        control.stdin.close()
        try:
            control.wait(60)
        except subprocess.TimeoutExpired:
            control.kill()
            control.wait()
        if control.stdout is not None:
            control.stdout.close()

    def pulumi(self, *arguments: str, line: Line | None = None, check: bool = True) -> str:
        """Run `pulumi` in the lab's project; each line goes to `line` as it comes.

        Returns what it wrote. Raises `CommandFailed` when it fails and `check` is set.
        """
        code, text = self.try_pulumi(*arguments, line=line)
        if check and code:
            raise CommandFailed(f"pulumi {shlex.join(arguments)} exited with {code}:\n{text}")
        return text

    def try_pulumi(self, *arguments: str, line: Line | None = None) -> tuple[int, str]:
        """Run `pulumi`; return its exit code and what it wrote."""
        command = [str(self.place.folder / "bin" / "pulumi"), *arguments]
        process = subprocess.Popen(
            command,
            cwd=self.place.project,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        lines = []
        try:
            for text in process.stdout:
                lines.append(text)
                if line is not None:
                    line(text.rstrip("\n"))
        except BaseException:
            process.terminate()
            raise
        finally:
            code = process.wait()
            process.stdout.close()
        return code, "".join(lines)

    def outputs(self, stack: str) -> dict[str, Any]:
        """Return a stack's outputs."""
        text = self.pulumi("stack", "output", "--json", "-s", stack)
        found: dict[str, Any] = json.loads(text)
        return found

    def resolve(self, name: str) -> str:
        """Return the address that `name` has in this lab."""
        code = "import socket, sys; print(socket.getaddrinfo(sys.argv[1], 0)[0][4][0])"
        done = subprocess.run(
            [sys.executable, "-c", code, name],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def _make_project(self) -> None:
        project = self.place.project
        project.mkdir()
        for name in PROGRAM:
            source = CHECKOUT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, project / name, ignore=ignored)
            else:
                shutil.copy(source, project / name)
        (project / ".venv").symlink_to(CHECKOUT / ".venv")

    def _configure(self) -> None:
        for stack in ("blue", "green"):
            self.pulumi("stack", "init", stack)
            values = [f"{key}={value}" for key, value in _values(self.seed).items()]
            flags = [part for value in values for part in ("--path", "--plaintext", value)]
            self.pulumi("config", "set-all", "-s", stack, *_deduplicated(flags))


def _deduplicated(flags: Sequence[str]) -> list[str]:
    """Return the flags with `--path` once: it is a switch of the whole command."""
    return ["--path", *[flag for flag in flags if flag != "--path"]]


def _values(seed: Seed) -> Mapping[str, str]:
    """Return what the lab sets in both stacks' configuration, by path."""
    here, there = seeds.REGION, seeds.SECONDARY
    return {
        "aws:region": here,
        "bluegreen:environment.subnet_ids[0]": seed.subnets[here][0],
        "bluegreen:environment.subnet_ids[1]": seed.subnets[here][1],
        "bluegreen:environment.security_group_ids[0]": seed.security_groups[here],
        "bluegreen:environment.secondary_regions[0].region": there,
        "bluegreen:environment.secondary_regions[0].subnet_ids[0]": seed.subnets[there][0],
        "bluegreen:environment.secondary_regions[0].subnet_ids[1]": seed.subnets[there][1],
        "bluegreen:environment.secondary_regions[0].security_group_ids[0]": seed.security_groups[
            there
        ],
        "bluegreen:credentials.admin_secret_arn": seed.admin_secret_arn,
        "bluegreen:credentials.replication_secret_arn": seed.replication_secret_arn,
        "bluegreen:credentials.tls": "disable",
        "bluegreen:dns.zone_id": seed.zone_id,
        "bluegreen:dns.writer": seeds.WRITER,
        "bluegreen:dns.reader": seeds.READER,
    }


def _start_control(place: Place, *, stays: bool) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "lab.aws", "--root", str(place.servers)]
    command += ["--block", place.block, "--port", str(places.PORT), "--dns", place.dns]
    command += ["--log", str(place.folder / "api.jsonl")]
    if stays:
        command.append("--stays")
    with open(place.folder / "control.log", "wb") as log:
        control = subprocess.Popen(
            command,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL if stays else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Ctrl-C is for the one who started it; it ends this by closing its standard input.
            start_new_session=True,
        )
    assert control.stdout is not None
    first = control.stdout.readline()
    if not first:
        said = (place.folder / "control.log").read_text().strip().splitlines()
        raise CommandFailed(f"lab {place.name}: its AWS did not start: {said[-1:]}")
    return control, json.loads(first)["url"]


def _environment(place: Place, url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _confusing(name)}
    home, state = place.folder / "pulumi", place.folder / "state"
    for folder in (home, state):
        folder.mkdir()
    return kept | {
        "PATH": f"{place.folder / 'bin'}:{CHECKOUT / '.venv/bin'}:{os.environ.get('PATH', '')}",
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "lab",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_REGION": seeds.REGION,
        "AWS_DEFAULT_REGION": seeds.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": str(CHECKOUT / "lab/dns/site"),
        "LAB_DNS": place.dns,
        "NO_COLOR": "1",
    }


def _confusing(name: str) -> bool:
    """Return whether a variable would lead a process of the lab out of it."""
    return name.startswith(("PULUMI_", "AWS_", "PG")) or name in ("PYTHONPATH", "VIRTUAL_ENV")


def _exports(environment: Mapping[str, str]) -> str:
    ours = {name: value for name, value in environment.items() if os.environ.get(name) != value}
    ours.pop("PATH", None)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(ours.items())]
    first = environment["PATH"].split(":")[:2]
    lines.append(f'export PATH={shlex.quote(":".join(first))}:"$PATH"')
    return "\n".join(lines) + "\n"


def _install_plugin(place: Place) -> None:
    """Put the stand-in where the engine looks for installed plugins: it is found without a word."""
    plugins = place.folder / "pulumi" / "plugins"
    folder = plugins / f"resource-aws-v{PLUGIN_VERSION}"
    folder.mkdir(parents=True)
    script = folder / "pulumi-resource-aws"
    python = shlex.quote(sys.executable)
    checkout = shlex.quote(str(CHECKOUT))
    script.write_text(f'#!/bin/sh\nPYTHONPATH={checkout} exec {python} -u -m lab.aws_plugin "$@"\n')
    script.chmod(0o755)


def existing(name: str) -> Path | None:
    """Return the folder of a lab that runs; None without one."""
    place = places.existing(name)
    return place.folder if place is not None and places.running(place) else None
