"""Clients of the AWS APIs, found by the AWS SDK's standard rules: environment, profile, role."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config

# Throttling is common while a stack update runs; boto3's own retries wait and try again.
_CONFIG = Config(retries={"mode": "standard", "max_attempts": 6}, connect_timeout=5)
_ONCE = Config(retries={"mode": "standard", "max_attempts": 1}, connect_timeout=5, read_timeout=5)


@lru_cache(maxsize=32)
def client(service: str, region: str, *, once: bool = False) -> Any:
    """Return the client of `service` in `region`; clients are thread-safe, so they are shared.

    With `once` the client never retries: the caller decides whether to send again.
    """
    config = _ONCE if once else _CONFIG
    return boto3.session.Session().client(service, region_name=region, config=config)  # type: ignore[call-overload]


def default_region() -> str | None:
    """Return the Region that environment or profile say; None where they say none."""
    return boto3.session.Session().region_name
