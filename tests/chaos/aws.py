"""A plain moto with a switch for its Route 53: throttled, failing, or slow."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, Self

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from bluegreen.aws import clients
from bluegreen.aws.dns import Records

REGION = "eu-west-1"
WRITER_NAME = "writer.shop.example"
Mode = Literal["well", "throttled", "failing", "slow"]

_THROTTLED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code>"
    b"<Message>Rate exceeded</Message></Error><RequestId>chaos</RequestId></ErrorResponse>"
)


class FaultyAws:
    """The account; use as a context. `mode` says how its Route 53 answers from now on."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self.mode: Mode = "well"
        self.slow_seconds = 1.0
        self._moto: Any = DomainDispatcherApplication(create_backend_app)

    def __enter__(self) -> Self:
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)  # the next switch is made in this very process
        clients.client.cache_clear()
        zone = self.client("route53").create_hosted_zone(
            Name="shop.example", CallerReference="chaos"
        )
        self.zone_id = str(zone["HostedZone"]["Id"]).rpartition("/")[2]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        clients.client.cache_clear()
        for name, value in self._before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value

    @property
    def environment(self) -> dict[str, str]:
        """Return what leads a process here."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._server.server_port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, service: str) -> Any:
        """Return a client of this account."""
        return boto3.client(  # type: ignore[call-overload]
            service,
            region_name=REGION,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def make_cluster(self, identifier: str) -> None:
        """Let AWS know a cluster: whoever finds it out of reach asks whether it exists."""
        self.client("rds").create_db_cluster(
            DBClusterIdentifier=identifier,
            Engine="aurora-postgresql",
            MasterUsername="clusteradmin",
            MasterUserPassword="not used by the server",
        )

    def records(self, host: str) -> Records:
        """Return the wish that the writer's name leads to `host`."""
        return Records(self.zone_id, 5, {WRITER_NAME: f"{host}.example"})

    def writer(self) -> str:
        """Return where the writer's name leads, "" when nowhere."""
        found = self.client("route53").list_resource_record_sets(HostedZoneId=self.zone_id)
        for record in found["ResourceRecordSets"]:
            if record["Type"] == "CNAME":
                return str(record["ResourceRecords"][0]["Value"]).removesuffix(".example")
        return ""

    def _answer(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "POST" and "/rrset" in environ["PATH_INFO"]:
            if self.mode == "throttled":
                start_response("400 Bad Request", [("Content-Type", "text/xml")])
                return [_THROTTLED]
            if self.mode == "failing":
                start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
                return [b"no"]
            if self.mode == "slow":
                time.sleep(self.slow_seconds)
        answer: Iterable[bytes] = self._moto(environ, start_response)
        return answer
