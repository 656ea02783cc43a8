"""Runs one Pulumi program: sets the SDK up, runs `__main__.py`, and tells errors to the engine.

Started by the language host with the project's interpreter; imports nothing of the lab. Exits with
32 when the user has been told what is wrong.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import runpy
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

try:
    import pulumi
    import pulumi.runtime
except ImportError as missing:
    sys.exit(f"{sys.executable}: {missing}; install the project's dependencies: make install")

_ALREADY_SHOWN = 32


def main(wishes: dict[str, object]) -> int:
    """Run the program that `wishes` describes; return its exit code."""
    program = str(wishes.pop("program"))
    config = pulumi.runtime.get_config_env()
    pulumi.runtime.set_all_config(config, pulumi.runtime.get_config_secret_keys_env())
    pulumi.runtime.configure(pulumi.runtime.Settings(**wishes))  # type: ignore[arg-type]
    sys.argv = [program]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # The SDK's own factor; hooks and lookups block threads of this pool.
    parallel = wishes["parallel"]
    workers = 4 * max(parallel if isinstance(parallel, int) else 1, 1)
    executor = ThreadPoolExecutor(max_workers=workers)
    loop.set_default_executor(executor)
    # A program that fails leaves futures that nobody awaits; asyncio would complain of each.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)

    def run() -> None:
        runpy.run_path(program, run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(run))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return _ALREADY_SHOWN
    except Exception as error:  # noqa: BLE001  # the edge: an unknown failure is shown whole
        pulumi.log.error(f"Program failed with an unhandled exception:\n{_from_program(error)}")
        return _ALREADY_SHOWN
    finally:
        executor.shutdown(wait=True)
        loop.close()
    return 0


def _from_program(error: Exception) -> str:
    """Return the traceback without this file's, runpy's and the SDK's frames above the program."""
    frame = error.__traceback__
    while frame is not None and not _is_ours(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    shown = frame or error.__traceback__
    return "".join(traceback.format_exception(type(error), error, shown))


def _is_ours(file: str) -> bool:
    """Return whether `file` is the program's own: the virtual environment may lie within it."""
    return file.startswith(os.getcwd() + os.sep) and not file.startswith(sys.prefix + os.sep)


if __name__ == "__main__":
    # The engine interrupts its whole group when it ends; that is nothing to be said.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # As `python __main__.py` has it; this file's own folder has no business there.
    sys.path[0] = os.getcwd()
    sys.exit(main(json.loads(sys.argv[1])))
