"""The lab's AWS as a process: the API, the servers behind the clusters, and the DNS.

`python -m lab.aws --root DIR --block 127.B.0 --port N --dns IP:PORT --log FILE` prints one line of
JSON when it is ready. It ends, with its servers, on SIGTERM, SIGINT, or when its standard input
closes without having said that it may stay: so it never outlives who started it, however that
ended, unless that was done with all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from lab.aws import clusters, global_clusters, zones
from lab.aws.apilog import ApiLog
from lab.aws.faults import Refusing
from lab.aws.propagation import PROPAGATION, seconds
from lab.aws.servers import WIRE
from lab.control import STAY
from lab.dns.server import start as start_dns
from lab.postgres.certificates import Issuer
from lab.postgres.fleet import Fleet
from lab.postgres.owner import owner
from lab.postgres.slow import start_proxies


class _QuietHandler(MotoRequestHandler):  # type: ignore[misc]
    def log(self, *args: object) -> None:
        """Say nothing: the API log has it all."""


def main() -> None:
    """Serve until told to end."""
    options = _options()
    clusters.install()
    global_clusters.install()
    zones.install()
    if not options.no_fleet:
        WIRE.servers = Fleet(
            options.root,
            options.block,
            options.port,
            proxied=options.delay_ms > 0,
            issuer=_issuer(options),
        )
    slow = start_proxies(options.block, options.port, options.delay_ms)
    application = ApiLog(Refusing(DomainDispatcherApplication(create_backend_app)), options.log)
    server = make_server(
        "127.0.0.1", options.api_port, application, threaded=True, request_handler=_QuietHandler
    )
    host, _, port = options.dns.partition(":")
    PROPAGATION.seconds = options.dns_delay
    dns = start_dns(host, int(port))
    # The DNS shares the interpreter with the API: it must not wait 5 ms for its turn.
    sys.setswitchinterval(0.0005)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Thread(target=_watch_stdin, args=(ended,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    print(json.dumps({"url": url, "dns": options.dns}), flush=True)
    ended.wait()
    server.shutdown()
    dns.stop()
    WIRE.close()
    if slow is not None:
        slow.communicate()


def _issuer(options: argparse.Namespace) -> Issuer | None:
    """Return who certifies the servers. They have its file where the operator has no business."""
    if options.ca_file is None:
        return None
    options.root.mkdir(parents=True, exist_ok=True)
    owner().take(options.root)
    return Issuer.made(options.root / "rds-ca.pem", options.ca_file)


def _watch_stdin(ended: threading.Event) -> None:
    said = b""
    while piece := os.read(0, 4096):
        said += piece
    if said != STAY.encode():
        ended.set()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.aws", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="where the servers' data goes")
    parser.add_argument("--block", required=True, help="the servers' addresses, such as 127.40.0")
    parser.add_argument("--port", type=int, required=True, help="the servers' port")
    parser.add_argument(
        "--api-port", type=int, default=0, help="the API's port; 0 takes a free one"
    )
    parser.add_argument("--dns", required=True, help="IP:PORT to answer DNS on")
    parser.add_argument("--log", type=Path, required=True, help="the file for the API log")
    parser.add_argument(
        "--delay-ms", type=float, default=0.0, help="added to each way between the servers and all"
    )
    parser.add_argument(
        "--ca-file",
        type=Path,
        help="servers speak TLS, and this file, made here, has who signs their certificates",
    )
    parser.add_argument("--no-fleet", action="store_true", help="clusters without servers")
    parser.add_argument(
        "--dns-delay",
        type=seconds,
        default=os.environ.get("LAB_DNS_DELAY", "0"),
        help="seconds from a change in Route 53 until resolvers see it; LAB_DNS_DELAY, else 0",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # Threads of the HTTP server may still wait for clients; nothing of theirs is to be kept.
    os._exit(0)
