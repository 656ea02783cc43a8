"""The table of features says exactly what each installed major can and can't do."""

from __future__ import annotations

import psycopg
import pytest

from bluegreen.postgres import versions
from bluegreen.postgres.versions import Feature
from lab.postgres.binaries import MAJORS, available
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer

pytestmark = pytest.mark.slow

_SUBSCRIBE = (
    "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p"
    " WITH (connect=false, slot_name=NONE, "
)
# What only servers with the feature take, by the feature's name.
PROBES = {
    "SCHEMA_PUBLICATION": "CREATE PUBLICATION p FOR TABLES IN SCHEMA public",
    "ROW_FILTER": "CREATE PUBLICATION p FOR TABLE t WHERE (id > 1)",
    "COLUMN_LIST": "CREATE PUBLICATION p FOR TABLE t (id)",
    "GENERATED_COLUMNS": "CREATE PUBLICATION p WITH (publish_generated_columns = stored)",
    "DISABLE_ON_ERROR": _SUBSCRIBE + "disable_on_error=true)",
    "SUBSCRIPTION_STATS": "SELECT apply_error_count FROM pg_stat_subscription_stats",
    "TWO_PHASE": _SUBSCRIBE + "two_phase=true)",
    "SKIP": _SUBSCRIBE + "enabled=false); ALTER SUBSCRIPTION s SKIP (lsn = '0/1')",
    "ORIGIN_NONE": _SUBSCRIBE + "origin=none)",
    "STREAMING_PARALLEL": _SUBSCRIBE + "streaming=parallel)",
    "RUN_AS_OWNER": _SUBSCRIBE + "run_as_owner=true)",
    "SET_ROLE": "SELECT pg_has_role(current_user, 'SET')",
    "INVALIDATION_REASON": "SELECT invalidation_reason FROM pg_replication_slots",
    "INACTIVE_SINCE": "SELECT inactive_since FROM pg_replication_slots",
    "FAILOVER_SLOT": _SUBSCRIBE + "failover=true)",
    "CONFLICT_STATS": "SELECT confl_insert_exists FROM pg_stat_subscription_stats",
    "TRANSACTION_TIMEOUT": "SHOW transaction_timeout",
    "ORIGIN_LIMIT": "SHOW max_active_replication_origins",
    "EVENT_TRIGGERS_OFF": "SET event_triggers = off",
    "SEQUENCE_DATA": "SELECT FROM pg_class c, pg_get_sequence_data(c.oid) WHERE c.relkind = 'S'",
    "NOT_NULL_CONSTRAINTS": "CREATE TABLE n (a int, CONSTRAINT there NOT NULL a NO INHERIT)",
}


@pytest.fixture(params=MAJORS)
def server(request: pytest.FixtureRequest, make_server: MakeServer) -> LabServer:
    """Return a server of every major that is installed."""
    if request.param not in available():
        pytest.skip(f"PostgreSQL {request.param} is not installed: `make more-versions` fetches it")
    return make_server(request.param, "features")


def test_a_feature_is_there_from_its_major_on_and_not_before(server: LabServer) -> None:
    assert {feature.name for feature in Feature} <= set(PROBES), "a feature without a probe"
    found = {}
    with server.as_superuser() as conn:  # whether it may is another question
        conn.execute("CREATE TABLE t (id int PRIMARY KEY)")
        for feature in Feature:
            try:
                with conn.transaction(force_rollback=True):
                    conn.execute(PROBES[feature.name].encode())
                found[feature] = True
            except (
                psycopg.errors.SyntaxError,
                psycopg.errors.InvalidParameterValue,
                psycopg.errors.UndefinedTable,
                psycopg.errors.UndefinedColumn,
                psycopg.errors.UndefinedObject,
                psycopg.errors.UndefinedFunction,
            ):
                found[feature] = False
    assert found == {feature: versions.has(server.major, feature) for feature in Feature}
