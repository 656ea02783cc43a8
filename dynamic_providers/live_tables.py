"""What a diff has to ask the servers: which published tables are subscribed, and ready.

A diff compares inputs, and asks nobody else. Here it must: tables come and go on the servers alone.
It never fails for it: a server out of reach is no difference, and the update itself will say so.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import psycopg

from bluegreen.errors import BlueGreenError
from bluegreen.replication import coverage
from bluegreen.replication.coverage import Coverage
from dynamic_providers.props import server as server_of
from dynamic_providers.provider import one_line

log = logging.getLogger(__name__)

_LIMIT = "SET statement_timeout = '5s'"


def covered(
    publisher: Mapping[str, Any],
    subscriber: Mapping[str, Any],
    database: str,
    *,
    publications: Collection[str],
    subscription: str,
) -> Coverage | None:
    """Return how a database's publications are covered, None where that can't be told now."""
    if "credentials" not in publisher or "credentials" not in subscriber:
        return None  # described, not declared: as the pages of the documentation do
    try:
        with (
            server_of(publisher).connect(database) as here,
            server_of(subscriber).connect(database) as there,
        ):
            for conn in (here, there):
                # The view of what is published waits for whoever holds one of the tables.
                conn.execute(_LIMIT)
            return coverage.inspect(here, there, publications, subscription)
    except (BlueGreenError, psycopg.Error) as error:
        log.info("%s: its tables are not compared: %s", subscription, one_line(error))
        return None
