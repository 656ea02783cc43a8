"""AWS clients for the operations, and AWS's errors in the official plugin's words."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from lab.aws_plugin.spec import PluginError

_POLL_SECONDS = 0.1  # the official plugin waits 10 to 30 s between two looks


class Clients:
    """Clients by service and Region, made when first needed: botocore is slow to load."""

    def __init__(self) -> None:
        self.region: str | None = None
        self._made: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    def require_region(self) -> str:
        """Return the provider's Region."""
        if self.region is None:
            import boto3

            self.region = boto3.session.Session().region_name
        return self.region or "us-east-1"

    def client(self, service: str, region: str | None = None) -> Any:
        """Return the client of a service in a Region, the provider's own by default."""
        import boto3

        where = region or self.require_region()
        with self._lock:
            if (service, where) not in self._made:
                session = boto3.session.Session()
                self._made[service, where] = session.client(  # type: ignore[call-overload]
                    service, region_name=where
                )
            return self._made[service, where]

    def wait(self, what: str, done: Callable[[], bool], seconds: float = 600) -> None:
        """Look until `done`; raise `PluginError` naming `what` when it takes too long."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise PluginError(f"waiting for {what}: timeout while waiting ({seconds:.0f} s)")
            time.sleep(_POLL_SECONDS)


def code(error: Exception) -> str:
    """Return AWS's error code, empty for other errors."""
    answer = getattr(error, "response", None)
    return str(answer["Error"]["Code"]) if answer else ""


@contextmanager
def explained(context: Any) -> Iterator[None]:
    """Turn an error into the call's failure, as one line."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
        return
    except ClientError as error:
        failed = error.response["Error"]
        text = (
            f"operation error {error.operation_name}: https response error StatusCode:"
            f" {error.response['ResponseMetadata']['HTTPStatusCode']},"
            f" {failed['Code']}: {failed.get('Message', '')}"
        )
    except (BotoCoreError, PluginError) as error:
        text = str(error)
    context.abort(grpc.StatusCode.UNKNOWN, " ".join(text.split()))
