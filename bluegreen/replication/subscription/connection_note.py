"""Which connection a subscription was given last, where nobody may read it back.

Without superuser rights, as on Aurora, `pg_subscription.subconninfo` can't be read. To set it again
at each update would restart the worker, and send the password in one more statement. So a digest of
the connection without its password, and with the version of the secret that this came from, is kept
in the mark of the subscriber's schema.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import psycopg
from psycopg import conninfo

from bluegreen.postgres import owned
from bluegreen.postgres.server import Server
from bluegreen.postgres.subscriptions import Subscription
from bluegreen.replication.subscription import notes


def is_noted(
    conn: psycopg.Connection[Any], have: Subscription, text: str, publisher: Server
) -> bool:
    """Return whether exactly this subscription was given `text`, with the secret's version of now.

    False where it is enabled and no worker runs: its connection may be what is wrong.
    """
    if have.enabled and have.worker_pid is None:
        return False
    return notes.read(conn, "connections", have) == _digest(text, publisher)


def note(conn: psycopg.Connection[Any], have: Subscription, text: str, publisher: Server) -> None:
    """Remember the connection; nothing where the tool has no schema to keep that in."""
    if owned.find_schema(conn) is not None:
        notes.write(conn, "connections", have, _digest(text, publisher))


def _digest(text: str, publisher: Server) -> str:
    parts = {key: str(value) for key, value in conninfo.conninfo_to_dict(text).items()}
    parts["password"] = publisher.credentials.replication_version(publisher.region) or "unknown"
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
