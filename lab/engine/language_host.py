"""A small language host: what the engine asks of a language, for Python programs.

The official host is in no package registry. This one serves what `pulumi up` needs: it runs the
program with the project's virtual environment. The engine starts it as `pulumi-language-python`,
reads its port from the first line, and ends it with SIGINT. It has no policy packs, no plugins in
folders, and installs no dependencies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent import futures
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from lab.engine.version import ENGINE_VERSION

_RUNNER = Path(__file__).with_name("program_runner.py")
ALREADY_SHOWN = 32  # the exit code of a program that has told the user itself
_MESSAGE_BYTES = 400 * 1024 * 1024  # the engine's own limit


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """The `LanguageRuntime` service of Python."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._programs: set[subprocess.Popen[bytes]] = set()
        self._starting = threading.Lock()
        """Held until a program that was started is among them."""

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

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Name none: only `pulumi about` shows them."""
        return language_pb2.GetProgramDependenciesResponse()

    def About(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Say which Python runs the programs."""
        version = ".".join(map(str, sys.version_info[:3]))
        return language_pb2.AboutResponse(executable=sys.executable, version=version)

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """End the programs that run."""
        self.end_programs()
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        """Run the program and wait for it."""
        options = dict(request.info.options or {})
        python = _interpreter(Path(request.info.root_directory), options.get("virtualenv"))
        try:
            with self._starting:
                program = subprocess.Popen(
                    [python, "-u", str(_RUNNER), json.dumps(_wishes(request, self._engine))],
                    env=_environment(request),
                    cwd=request.info.program_directory,
                    stdin=subprocess.DEVNULL,
                )
                self._programs.add(program)
        except OSError as error:
            return language_pb2.RunResponse(
                error=f"{python}: {error.strerror}; Pulumi.yaml names the virtualenv to run with"
            )
        code = program.wait()
        self._programs.discard(program)
        if code == 0:
            return language_pb2.RunResponse()
        if code == ALREADY_SHOWN:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"program exited with {code}")

    def end_programs(self) -> None:
        """Kill the programs that run; `Run` then returns."""
        with self._starting:
            for program in tuple(self._programs):
                program.kill()


def _wishes(request: Any, engine: str) -> dict[str, object]:
    """Return what the runner is told: the SDK's settings, and the program's path."""
    info = request.info
    return {
        "monitor": request.monitor_address,
        "engine": engine,
        "project": request.project,
        "stack": request.stack,
        "organization": request.organization or "organization",
        "root_directory": info.root_directory,
        "parallel": request.parallel,
        "dry_run": request.dryRun,
        "program": info.program_directory if info.entry_point == "." else info.entry_point,
    }


def _environment(request: Any) -> dict[str, str]:
    # The stack's configuration, decrypted, is for the program alone: neither an argument, which
    # any user of the machine could read, nor this process's own environment.
    return os.environ | {
        "PULUMI_CONFIG": json.dumps(dict(request.config)),
        "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        # The host's own path is none of the program's; the launcher has put the other aside.
        "PYTHONPATH": os.environ.get("PROGRAM_PYTHONPATH", ""),
    }


def _interpreter(root: Path, virtualenv: str | None) -> str:
    """Return the Python of the project's virtual environment, resolved against its root."""
    if virtualenv is None:
        return os.environ.get("PULUMI_PYTHON_CMD", "python3")
    return str(root / virtualenv / "bin" / "python")


def serve(arguments: list[str]) -> None:
    """Serve until ended; the engine's address is the last argument that is not a flag."""
    addresses = [argument for argument in arguments if not argument.startswith("-")]
    host = LanguageHost(addresses[-1] if addresses else "")

    def leave(_number: int = 0, _frame: FrameType | None = None) -> None:
        # The engine ends its plugins by SIGINT; that is no error and nothing to be said.
        host.end_programs()
        os._exit(0)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        options=[("grpc.max_receive_message_length", _MESSAGE_BYTES)],
    )
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    # The engine holds the other end of standard input: also one that was killed ends this.
    threading.Thread(target=_leave_with_the_engine, args=(leave,), daemon=True).start()
    server.wait_for_termination()


def _leave_with_the_engine(leave: Any) -> None:
    while os.read(0, 4096):
        pass
    leave()


if __name__ == "__main__":
    serve(sys.argv[1:])
