"""The table of features says exactly what each installed major can and can't do."""

from __future__ import annotations

import psycopg
import pytest

from bluegreen import versions
from bluegreen.versions import Feature
from lab.postgres.binaries import MAJORS, available
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MakeServer

pytestmark = pytest.mark.slow

_SUBSCRIBE = (
    "CREATE SUBSCRIPTION s CONNECTION 'host=nowhere' PUBLICATION p"
    " WITH (connect=false, slot_name=NONE, "
)
# What only servers with the feature take.
PROBES = {
    Feature.SCHEMA_PUBLICATION: "CREATE PUBLICATION p FOR TABLES IN SCHEMA public",
    Feature.ROW_FILTER: "CREATE PUBLICATION p FOR TABLE t WHERE (id > 1)",
    Feature.COLUMN_LIST: "CREATE PUBLICATION p FOR TABLE t (id)",
    Feature.DISABLE_ON_ERROR: _SUBSCRIBE + "disable_on_error=true)",
    Feature.SUBSCRIPTION_STATS: "SELECT apply_error_count FROM pg_stat_subscription_stats",
    Feature.ORIGIN_NONE: _SUBSCRIBE + "origin=none)",
    Feature.STREAMING_PARALLEL: _SUBSCRIBE + "streaming=parallel)",
    Feature.RUN_AS_OWNER: _SUBSCRIBE + "run_as_owner=true)",
    Feature.INVALIDATION_REASON: "SELECT invalidation_reason FROM pg_replication_slots",
    Feature.CONFLICT_STATS: "SELECT confl_insert_exists FROM pg_stat_subscription_stats",
    Feature.TWO_PHASE: "SELECT subtwophasestate FROM pg_subscription",
    Feature.SKIP: "SELECT subskiplsn FROM pg_subscription",
    Feature.SET_ROLE: "SELECT pg_has_role(current_user, 'SET')",
    Feature.FAILOVER_SLOT: "SELECT subfailover FROM pg_subscription",
    Feature.ORIGIN_LIMIT: "SHOW max_active_replication_origins",
}


@pytest.fixture(params=MAJORS)
def server(request: pytest.FixtureRequest, make_server: MakeServer) -> LabServer:
    """Return a server of every major that is installed."""
    if request.param not in available():
        pytest.skip(f"PostgreSQL {request.param} is not installed: `make more-versions` fetches it")
    return make_server(request.param, "features")


def test_a_feature_is_there_from_its_major_on_and_not_before(server: LabServer) -> None:
    assert set(PROBES) == set(Feature)
    found = {}
    with server.connect() as conn:
        conn.execute("CREATE TABLE t (id int PRIMARY KEY)")
        for feature, probe in PROBES.items():
            try:
                with conn.transaction(force_rollback=True):
                    conn.execute(probe.encode())
                found[feature] = True
            except (
                psycopg.errors.SyntaxError,
                psycopg.errors.InvalidParameterValue,
                psycopg.errors.UndefinedObject,
                psycopg.errors.UndefinedTable,
                psycopg.errors.UndefinedColumn,
            ):
                found[feature] = False
    assert found == {feature: versions.has(server.major, feature) for feature in Feature}
