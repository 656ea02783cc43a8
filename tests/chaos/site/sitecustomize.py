"""Kills the real provider host, or the engine above it, behind a step of the switch.

Behind the lab's own sitecustomize on the path, which runs it. `CHAOS_AT` names the step,
`CHAOS_KILL` the victims (`host`, `pulumi`, `fuse`), `CHAOS_DONE` a file that is made when it has
struck: once.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import os
import signal
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def _strike() -> None:
    import psutil

    me = psutil.Process()
    victims: list[psutil.Process] = []
    for wanted in os.environ["CHAOS_KILL"].split(","):
        if wanted == "fuse":
            victims += [
                one for one in me.children() if "bluegreen.switch.local_fuse" in one.cmdline()
            ]
        elif wanted == "pulumi":
            victims += [one for one in me.parents() if one.name() == "pulumi"]
        else:
            victims.append(me)
    for one in victims:
        one.send_signal(signal.SIGKILL)


def _arm(module: ModuleType) -> None:
    timeline: Any = module
    passed = timeline.Timeline.passed

    def pass_and_strike(clock: object, step: Any) -> None:
        passed(clock, step)
        if step.value == os.environ["CHAOS_AT"]:
            try:
                os.close(os.open(os.environ["CHAOS_DONE"], os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            _strike()

    timeline.Timeline.passed = pass_and_strike


class _Finder(importlib.abc.MetaPathFinder):
    """Arms the module as soon as it is loaded; nothing of the product is imported before."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        if name != "bluegreen.switch.timeline":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        loader: Any = spec.loader
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            _arm(module)

        loader.exec_module = exec_module
        return spec


if "CHAOS_AT" in os.environ and "bluegreen.switch.local_fuse" not in sys.orig_argv:
    sys.meta_path.insert(0, _Finder())
