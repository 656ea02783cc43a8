"""`python -m lab.aws_plugin ENGINE`: serves until the engine ends it."""

from __future__ import annotations

import os
import signal
from concurrent import futures

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from lab.aws_plugin.service import Plugin

_MESSAGE_BYTES = 400 * 1024 * 1024  # the engine's own limit


def main() -> None:
    """Serve, and print the port as the first line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=32),
        options=[("grpc.max_receive_message_length", _MESSAGE_BYTES)],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Plugin(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
