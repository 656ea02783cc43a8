"""AWS clients for the operations: they try as often as the official plugin does."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

from lab.aws_plugin.errors import SCARCE, code
from lab.aws_plugin.spec import PluginError

_POLL_SECONDS = 0.1  # the official plugin waits 10 to 30 s between two looks

# The official plugin tries so often, and waits up to 20 s between two; this one the less.
ATTEMPTS = 25
_LONGEST_PAUSE_SECONDS = 0.2

# What the official plugin is patient with for minutes, this one is for as many hundredths of them.
_PATIENCE = 0.01


class Clients:
    """Clients by service and Region, made when first needed: botocore is slow to load."""

    def __init__(self) -> None:
        self.region: str | None = None
        self.default_tags: dict[str, str] = {}
        """Tags that every resource gets which doesn't say otherwise."""
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
        from botocore.config import Config

        where = region or self.require_region()
        with self._lock:
            if (service, where) not in self._made:
                session = boto3.session.Session()
                once = Config(retries={"mode": "standard", "total_max_attempts": 1})
                made = session.client(  # type: ignore[call-overload]
                    service, region_name=where, config=once
                )
                self._made[service, where] = Persistent(made)
            return self._made[service, where]

    def wait(self, what: str, done: Callable[[], bool], seconds: float = 600) -> None:
        """Look until `done`; raise `PluginError` naming `what` when it takes too long."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise PluginError(f"waiting for {what}: timeout while waiting ({seconds:.0f} s)")
            time.sleep(_POLL_SECONDS)

    def patiently(
        self, call: Callable[[], object], passes: Callable[[Exception], bool], minutes: float
    ) -> None:
        """Call again while an error `passes`, for as long as the official plugin does."""
        deadline = time.monotonic() + 60 * minutes * _PATIENCE
        while True:
            try:
                call()
                return
            except Exception as error:
                if not passes(error) or time.monotonic() > deadline:
                    raise
            time.sleep(_POLL_SECONDS)


class Persistent:
    """A client whose calls are tried again while AWS is short of something."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.meta = client.meta

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        def persistently(**arguments: Any) -> Any:
            from botocore.exceptions import ClientError, HTTPClientError

            for attempt in range(ATTEMPTS):
                last = attempt == ATTEMPTS - 1
                try:
                    return call(**arguments)
                except HTTPClientError:
                    if last:
                        raise
                except ClientError as error:
                    error.service = self.meta.service_model.service_id  # type: ignore[attr-defined]
                    error.modelled = _is_modelled(self.meta, error)  # type: ignore[attr-defined]
                    error.attempts = attempt + 1  # type: ignore[attr-defined]
                    if last or not _passes(error):
                        raise
                pause = min(_LONGEST_PAUSE_SECONDS, 0.01 * 2**attempt)
                time.sleep(pause * random.uniform(0.5, 1))
            raise AssertionError

        return persistently


def _passes(error: Exception) -> bool:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]  # type: ignore[attr-defined]
    return code(error) in SCARCE or status in (500, 502, 503, 504)


def _is_modelled(meta: Any, error: Any) -> bool:
    """Return whether AWS's model of the operation names the error."""
    shapes = meta.service_model.operation_model(error.operation_name).error_shapes
    names = {shape.metadata.get("error", {}).get("code", shape.name) for shape in shapes}
    return code(error) in names | {shape.name for shape in shapes}
