"""`python -m lab.demo`: exits with 0 when the whole life went as it must."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from lab import dns
from lab.aws.propagation import seconds
from lab.demo.result import Result
from lab.demo.screen import Screen
from lab.demo.stacks import Stacks
from lab.demo.story import Story
from lab.engine.install import NoEngine
from lab.place import CHECKOUT
from lab.postgres import aurora_mode
from lab.workload.login import Login
from lab.workload.schema import Logins
from lab.workload.workload import Workload
from lab.world import CommandFailed, World


def main() -> int:
    """Run the demo; return the exit code."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    screen = Screen()
    result = Result(dns_delay_seconds=options.dns_delay)
    began = float(os.environ.get("LAB_SETUP_STARTED", time.time()))
    try:
        world = World.up(options.name, screen.say, dns_delay=options.dns_delay)
    except (NoEngine, CommandFailed, LookupError, ValueError) as error:
        screen.wrong(str(error))
        return 1
    dns.use(world.place.dns)
    defaults = Logins()
    replicator = Login(defaults.replicator.user, world.seed.replication_password)
    logins = Logins(replicator=replicator)
    workload = Workload(world.place.folder / "workload", logins)
    story = Story(Stacks(world, screen), screen, result, workload, logins)
    result.engine_version = world.pulumi("version").strip()
    result.aurora_mode = aurora_mode.everywhere()
    result.tls = "ca_file" in world.tls
    result.setup_seconds = round(time.time() - began, 1)
    try:
        story.tell()
    except (CommandFailed, RuntimeError, TimeoutError) as error:
        screen.wrong(str(error))
        return 1
    except KeyboardInterrupt:
        screen.wrong("interrupted; everything that was started is being ended")
        return 130
    finally:
        with workload:
            pass
        world.end()
    return _close(result, screen, options, world)


def _close(result: Result, screen: Screen, options: argparse.Namespace, world: World) -> int:
    result.write(CHECKOUT / ".lab" / "demo.json")
    screen.closing(result)
    faults = result.faults()
    for fault in faults:
        screen.wrong(fault)
    if options.svg is not None:
        screen.draw(options.svg)
    if not faults:
        world.down()
        shutil.rmtree(world.place.folder, ignore_errors=True)
    return 1 if faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__)
    parser.add_argument("--name", default="demo", help="the lab's name")
    parser.add_argument("--svg", type=Path, help="draw the output into this file")
    parser.add_argument(
        "--dns-delay",
        type=seconds,
        default=0.0,
        help="seconds from a change in Route 53 until resolvers see it, as in the world; here 0",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
