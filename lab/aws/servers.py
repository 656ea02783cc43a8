"""The wire between clusters and servers: slow work on threads, its state told as a status."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

Address = tuple[str, int]

# What is over before anybody could see it lasts for so many looks, or so long when nobody looks.
_LOOKS, _UNSEEN_SECONDS = 5, 10.0


class Servers(Protocol):
    """What stands behind the clusters; every method blocks. `lab.postgres.fleet.Fleet` is one."""

    def create(
        self,
        arn: str,
        *,
        major: int,
        parameters: Mapping[str, str],
        master_username: str,
        master_password: str,
        database: str | None,
        names: Sequence[str],
    ) -> Address: ...
    def clone(
        self, arn: str, source_arn: str, *, parameters: Mapping[str, str], names: Sequence[str]
    ) -> Address: ...
    def standby(self, arn: str, primary_arn: str, *, names: Sequence[str]) -> Address: ...
    def promote(self, arn: str) -> None: ...
    def set_password(self, arn: str, user: str, password: str) -> None: ...
    def reboot(self, arn: str, parameters: Mapping[str, str]) -> None: ...
    def upgrade(self, arn: str, major: int, parameters: Mapping[str, str]) -> None: ...
    def delete(self, arn: str) -> None: ...
    def close(self) -> None: ...


class NoServers:
    """Clusters without servers: for tests of the API alone."""

    def create(self, arn: str, **_: object) -> Address:  # noqa: ARG002
        """Return an address where nobody listens."""
        return "127.0.0.1", 5432

    def clone(self, arn: str, source_arn: str, **_: object) -> Address:  # noqa: ARG002
        """Return an address where nobody listens."""
        return "127.0.0.1", 5432

    def standby(self, arn: str, primary_arn: str, **_: object) -> Address:  # noqa: ARG002
        """Return an address where nobody listens."""
        return "127.0.0.1", 5432

    def promote(self, arn: str) -> None:
        """Do nothing."""

    def set_password(self, arn: str, user: str, password: str) -> None:
        """Do nothing."""

    def reboot(self, arn: str, parameters: Mapping[str, str]) -> None:
        """Do nothing."""

    def upgrade(self, arn: str, major: int, parameters: Mapping[str, str]) -> None:
        """Do nothing."""

    def delete(self, arn: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Wire:
    """Runs work for clusters in order, one thing at a time each, and remembers how it went."""

    def __init__(self) -> None:
        self.servers: Servers = NoServers()
        self.addresses: dict[str, Address] = {}
        self._doing: dict[str, list[str]] = {}
        self._failed: dict[str, str] = {}
        self._order: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._looks: dict[str, int] = {}
        self._looked = threading.Condition(self._lock)
        self._closing = False
        self._pool = ThreadPoolExecutor(8, "servers")

    def run(self, arn: str, status: str, work: Callable[[], object]) -> None:
        """Do `work` for the cluster `arn`, which is in `status` until it is done."""
        with self._lock:
            self._doing.setdefault(arn, []).append(status)
            self._looks[arn] = 0
            order = self._order.setdefault(arn, threading.Lock())

        def job() -> None:
            with order:
                try:
                    work()
                except Exception as error:  # noqa: BLE001  # told as the cluster's status
                    self._failed[arn] = f"{type(error).__name__}: {error}"
                    traceback.print_exc(file=sys.stderr)
                finally:
                    with self._lock:
                        self._doing[arn].remove(status)

        self._pool.submit(job)

    def status(self, arn: str) -> str | None:
        """Return what goes on with a cluster; None when nothing does."""
        with self._lock:
            self._looks[arn] = self._looks.get(arn, 0) + 1
            self._looked.notify_all()
            if arn in self._failed:
                return "failed"
            doing = self._doing.get(arn)
            return doing[0] if doing else None

    def wait_until_seen(self, arn: str) -> None:
        """Wait until somebody has seen, a few times, what goes on with a cluster."""
        with self._lock:
            self._looked.wait_for(
                lambda: self._closing or self._looks.get(arn, 0) >= _LOOKS, _UNSEEN_SECONDS
            )

    def forget(self, arn: str) -> None:
        """Forget a cluster that is gone."""
        with self._lock:
            self._failed.pop(arn, None)
            self.addresses.pop(arn, None)

    def close(self) -> None:
        """Stop every server."""
        with self._lock:
            self._closing = True
            self._looked.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.servers.close()


WIRE = Wire()
"""One a process, as moto's backends are; moto copies its models, so they can't hold it."""
