"""What each PostgreSQL major can do: the one table of features, and how a lack is worded."""

from __future__ import annotations

from enum import Enum
from typing import Any

import psycopg

from bluegreen.errors import Refused


class Feature(Enum):
    """A feature that not every supported major has, in the users' words."""

    SCHEMA_PUBLICATION = "publishing whole schemas"
    ROW_FILTER = "row filters of a publication"
    COLUMN_LIST = "column lists of a publication"
    DISABLE_ON_ERROR = "disable_on_error of a subscription"
    SUBSCRIPTION_STATS = "error counts of subscriptions"
    ORIGIN_NONE = "origin=none, without which only one direction may run at a time,"
    STREAMING_PARALLEL = "streaming=parallel of a subscription"
    RUN_AS_OWNER = "run_as_owner of a subscription"
    INVALIDATION_REASON = "the reason why a slot was invalidated"
    INACTIVE_SINCE = "the time since when a slot is inactive"
    GENERATED_COLUMNS = "publishing generated columns"
    CONFLICT_STATS = "counts of replication conflicts by kind"
    TWO_PHASE = "two_phase of a subscription"
    SKIP = "skipping a transaction of a subscription"
    SET_ROLE = "applying as each table's owner"
    ORIGIN_LIMIT = "a limit of its own for replication origins"
    FAILOVER_SLOT = "failover of a subscription"
    TRANSACTION_TIMEOUT = "transaction_timeout"
    EVENT_TRIGGERS_OFF = "switching event triggers off"
    SEQUENCE_DATA = "reading the values of many sequences at once"
    NOT_NULL_CONSTRAINTS = "NOT NULL as a constraint that children inherit"


# CREATE/ALTER PUBLICATION, CREATE SUBSCRIPTION, pg_replication_slots and pg_stat_subscription_stats
# in the manuals of 14 to 18.
LEAST_MAJOR = {
    Feature.SCHEMA_PUBLICATION: 15,
    Feature.ROW_FILTER: 15,
    Feature.COLUMN_LIST: 15,
    Feature.DISABLE_ON_ERROR: 15,
    Feature.SUBSCRIPTION_STATS: 15,
    Feature.ORIGIN_NONE: 16,
    Feature.STREAMING_PARALLEL: 16,
    Feature.RUN_AS_OWNER: 16,
    Feature.INVALIDATION_REASON: 17,
    Feature.INACTIVE_SINCE: 17,
    Feature.GENERATED_COLUMNS: 18,
    Feature.CONFLICT_STATS: 18,
    Feature.TWO_PHASE: 15,
    Feature.SKIP: 15,
    Feature.SET_ROLE: 16,
    Feature.FAILOVER_SLOT: 17,
    Feature.TRANSACTION_TIMEOUT: 17,
    Feature.ORIGIN_LIMIT: 18,
    Feature.EVENT_TRIGGERS_OFF: 17,
    Feature.SEQUENCE_DATA: 18,
    Feature.NOT_NULL_CONSTRAINTS: 18,
}


def major(conn: psycopg.Connection[Any]) -> int:
    """Return the major version of the server behind `conn`."""
    return conn.info.server_version // 10000


def has(server_major: int, feature: Feature) -> bool:
    """Return whether servers of `server_major` have `feature`."""
    return server_major >= LEAST_MAJOR[feature]


def supports(conn: psycopg.Connection[Any], feature: Feature) -> bool:
    """Return whether the server behind `conn` has `feature`."""
    return has(major(conn), feature)


def require(server_major: int, feature: Feature, what: str) -> None:
    """Raise `Refused`, naming `what` needs it, when servers of `server_major` lack `feature`."""
    if not has(server_major, feature):
        raise Refused(
            f"{what}: {feature.value} needs PostgreSQL {LEAST_MAJOR[feature]}, "
            f"this server is {server_major}; leave it out or upgrade the server first"
        )
