"""Runs one Pulumi program: sets the SDK up, runs `__main__.py`, and says errors in one line.

Started by the language host with the project's interpreter; imports nothing of the lab.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import runpy
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import pulumi
import pulumi.runtime

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
    except Exception:  # noqa: BLE001  # the edge: an unknown failure is shown whole
        pulumi.log.error(f"Program failed with an unhandled exception:\n{traceback.format_exc()}")
        return _ALREADY_SHOWN
    finally:
        executor.shutdown(wait=True)
        loop.close()
    return 0


if __name__ == "__main__":
    # As `python __main__.py` has it; this file's own folder has no business there.
    sys.path[0] = os.getcwd()
    sys.exit(main(json.loads(sys.argv[1])))
