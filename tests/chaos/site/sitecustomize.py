"""Kills the real provider host, or the engine above it, behind a step of the switch.

In front of the lab's own sitecustomize, which it runs first. `CHAOS_AT` names the step,
`CHAOS_KILL` the victims (`host`, `pulumi`, `fuse`), `CHAOS_DONE` a file that is made when it has
struck: once.
"""

import importlib.abc
import importlib.util
import os
import runpy
import signal
import sys
from pathlib import Path

if "CHAOS_NEXT_SITE" in os.environ:
    runpy.run_path(str(Path(os.environ["CHAOS_NEXT_SITE"], "sitecustomize.py")))


def _strike():
    import psutil

    me = psutil.Process()
    victims = []
    for wanted in os.environ["CHAOS_KILL"].split(","):
        if wanted == "fuse":
            victims += [one for one in me.children() if "bluegreen.local_fuse" in one.cmdline()]
        elif wanted == "pulumi":
            victims += [one for one in me.parents() if one.name() == "pulumi"]
        else:
            victims.append(me)
    for one in victims:
        one.send_signal(signal.SIGKILL)


def _arm(timeline):
    passed = timeline.Timeline.passed

    def pass_and_strike(self, step):
        passed(self, step)
        if step.value == os.environ["CHAOS_AT"]:
            try:
                os.close(os.open(os.environ["CHAOS_DONE"], os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            _strike()

    timeline.Timeline.passed = pass_and_strike


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):  # noqa: ARG002 - the protocol's
        if name != "bluegreen.timeline":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            _arm(module)

        spec.loader.exec_module = exec_module
        return spec


if "CHAOS_AT" in os.environ and "bluegreen.local_fuse" not in sys.orig_argv:
    sys.meta_path.insert(0, _Finder())
