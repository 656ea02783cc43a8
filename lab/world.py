"""A lab: AWS, servers, DNS and an engine, and a copy of the program to use them with."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Self

from lab import command, control, environment, interrupts, leftovers, project
from lab import place as places
from lab import seed as seeds
from lab.control import Control, ControlFailed
from lab.engine import install, launchers
from lab.place import CHECKOUT, Place
from lab.postgres import aurora_mode, tls

Report = Callable[[str], None]
Line = Callable[[str], None]


class CommandFailed(Exception):
    """A command of the lab failed; the message holds what it said."""


class World:
    """One running lab. `environment` is what every process in it gets."""

    seed: seeds.Seed

    def __init__(self, place: Place, running: Control) -> None:
        self.place = place
        self.environment = environment.of_process(place, running.url)
        self._control = running

    @classmethod
    def up(
        cls,
        name: str,
        report: Report,
        *,
        ready: Callable[[Place], None] | None = None,
        delay_ms: float = 0.0,
        dns_delay: float | None = None,
    ) -> Self:
        """Start a lab; what is left of one of that name that did not end well is cleaned away.

        With `ready`, which is called when all is done, it outlives this process. An interrupt
        before that leaves nothing. `delay_ms` is added to each way to and from the servers,
        whoever talks to them. A change in Route 53 is with resolvers after `dns_delay` seconds;
        None takes `LAB_DNS_DELAY` of the environment, else it is at once. Raises `CommandFailed`
        when one of that name runs or its AWS does not start, `install.NoEngine`, `ValueError` for
        an impossible name, and `LookupError` when the machine lacks something.
        """
        places.check_name(name)
        lines = (aurora_mode.described(), tls.described())
        engine = install.ensure(report)
        place: Place | None = None
        world: Self | None = None
        try:
            with places.locked():
                _clean(name, report)
                with interrupts.held():
                    place = places.choose(name)
                    place.folder.mkdir(parents=True)
                world = cls(place, _started(place, delay_ms=delay_ms, dns_delay=dns_delay))
            url = world.environment["AWS_ENDPOINT_URL"]
            report(f"lab {name}: AWS at {url}, servers on {place.block}.x, DNS on {place.dns}")
            for line in lines:
                report(f"lab {name}: {line}")
            for folder in (place.home, place.state):
                folder.mkdir()
            launchers.link(engine, place.programs)
            project.copy(place.project)
            _install_plugin(place)
            world.seed = seeds.make(url)
            project.make_stacks(world.pulumi, world.seed, world.tls)
            (place.folder / "env").write_text(environment.shell(place, url))
            if ready is not None:
                ready(place)
                world._control.stay()
        except BaseException:
            with interrupts.held():
                if world is not None:
                    world.down()
                elif place is not None:
                    leftovers.clear(place)
            raise
        return world

    @property
    def tls(self) -> dict[str, str]:
        """Return how the servers are reached, as the setting `credentials` says it."""
        if not self.place.ca_file.exists():
            return {"tls": "disable"}
        return {"tls": "verify-full", "ca_file": str(self.place.ca_file)}

    def down(self) -> None:
        """End the lab and delete its files."""
        self.end()
        leftovers.clear(self.place)

    def end(self) -> None:
        """End the processes, and keep the files for a look."""
        self._control.end()
        leftovers.end(self.place)

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
        return command.run(
            [str(self.place.programs / "pulumi"), *arguments],
            cwd=self.place.project,
            environment=self.environment,
            line=line,
        )

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


def _clean(name: str, report: Report) -> None:
    """Leave nothing of an earlier lab of that name. The caller holds the lock."""
    old = places.existing(name)
    if old is not None and leftovers.running(old):
        raise CommandFailed(
            f"lab {name}: runs already in {old.folder}; end it by"
            f" `python -m lab down --name {name}`, or use another name"
        )
    # Whatever is left there, with a note or without one, is nobody's any more.
    rest = old or Place(name, "")
    if rest.folder.exists() or rest.servers.exists():
        report(f"lab {name}: cleaning up after one that did not end well")
        leftovers.clear(rest)


def _started(place: Place, *, delay_ms: float, dns_delay: float | None) -> Control:
    """Return the running control process, noted for whoever comes later."""
    try:
        started = control.start(place, delay_ms=delay_ms, dns_delay=dns_delay, tls=tls.decide())
    except ControlFailed as error:
        raise CommandFailed(str(error)) from None
    leftovers.write_note(place, started.process.pid)
    return started


def _install_plugin(place: Place) -> None:
    """Put the stand-in where the engine looks for installed plugins: it is found without a word."""
    version = importlib.metadata.version("pulumi_aws")
    folder = place.home / "plugins" / f"resource-aws-v{version}"
    folder.mkdir(parents=True)
    script = folder / "pulumi-resource-aws"
    # By the lab's own path to Python, which marks it as the lab's among all processes.
    python = shlex.quote(str(place.project / ".venv" / "bin" / "python"))
    checkout = shlex.quote(str(CHECKOUT))
    script.write_text(f'#!/bin/sh\nPYTHONPATH={checkout} exec {python} -u -m lab.aws_plugin "$@"\n')
    script.chmod(0o755)
