"""A small language host: what the engine asks of a language, for Python programs.

The official host is in no package registry. This one serves what `pulumi up` needs: it runs the
program with the project's virtual environment. The engine starts it as `pulumi-language-python`,
reads its port from the first line, and ends it with SIGINT.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent import futures
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from lab.engine.version import ENGINE_VERSION

_RUNNER = Path(__file__).with_name("program_runner.py")
ALREADY_SHOWN = 32  # the exit code of a program that has told the user itself
_MESSAGE_BYTES = 400 * 1024 * 1024  # the engine's own limit


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The `LanguageRuntime` service of Python."""

    def __init__(self, engine: str) -> None:
        self._engine = engine

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Agree to talk."""
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Say which version this is."""
        return plugin_pb2.PluginInfo(version=ENGINE_VERSION)

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Name no plugin: each resource names its own version."""
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Name no package: each resource names its own version."""
        return language_pb2.GetRequiredPackagesResponse()

    def About(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Say which Python runs the programs."""
        version = ".".join(map(str, sys.version_info[:3]))
        return language_pb2.AboutResponse(executable=sys.executable, version=version)

    def Run(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Run the program and wait for it."""
        info = request.info
        options = dict(info.options or {})
        environment = os.environ | {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
            # The host's own path is none of the program's; the launcher has put the other aside.
            "PYTHONPATH": os.environ.get("PROGRAM_PYTHONPATH", ""),
        }
        entry = info.program_directory if info.entry_point == "." else info.entry_point
        wishes = {
            "monitor": request.monitor_address,
            "engine": self._engine,
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization or "organization",
            "root_directory": info.root_directory,
            "parallel": request.parallel,
            "dry_run": request.dryRun,
            "program": entry,
        }
        python = _interpreter(Path(info.root_directory), options.get("virtualenv"))
        done = subprocess.run(
            [python, "-u", str(_RUNNER), json.dumps(wishes)],
            env=environment,
            cwd=info.program_directory,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode == 0:
            return language_pb2.RunResponse()
        if done.returncode == ALREADY_SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"program exited with {done.returncode}")


def _interpreter(root: Path, virtualenv: str | None) -> str:
    """Return the Python of the project's virtual environment, resolved against its root."""
    if virtualenv is None:
        return os.environ.get("PULUMI_PYTHON_CMD", "python3")
    return str(root / virtualenv / "bin" / "python")


def _leave(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    # The engine ends its plugins by SIGINT; that is no error and nothing to be said.
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Serve until ended; the engine's address is the last argument that is not a flag."""
    addresses = [argument for argument in arguments if not argument.startswith("-")]
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        options=[("grpc.max_receive_message_length", _MESSAGE_BYTES)],
    )
    host = LanguageHost(addresses[-1] if addresses else "")
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main(sys.argv[1:])
