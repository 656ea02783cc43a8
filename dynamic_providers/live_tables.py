"""What a diff has to ask the servers: which published tables are subscribed, and ready.

Other diffs compare inputs only. This one must ask: tables come and go on the servers alone. It
never fails because of that: a server out of reach is no difference, and the update itself will
report it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import psycopg

from bluegreen.errors import BlueGreenError
from bluegreen.postgres.server import Server
from bluegreen.replication import coverage
from bluegreen.replication.coverage import Coverage
from dynamic_providers.provider import one_line

log = logging.getLogger(__name__)

_LIMIT = "SET statement_timeout = '5s'"


def covered(
    publisher: Server,
    subscriber: Server,
    database: str,
    *,
    publications: Collection[str],
    subscription: str,
) -> Coverage | None:
    """Return how a database's publications are covered; None where that isn't known now."""
    try:
        with publisher.connect(database) as here, subscriber.connect(database) as there:
            for conn in (here, there):
                # The view of what is published waits for locks on any of the tables.
                conn.execute(_LIMIT)
            return coverage.inspect(here, there, publications, subscription)
    except (BlueGreenError, psycopg.Error) as error:
        log.info("%s: its tables are not compared: %s", subscription, one_line(error))
        return None
