"""`aurora:CloneOrigin` on a real clone, through the real provider host: cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import moto.rds.models as rds_models
import psycopg
import pytest
from psycopg import sql

from bluegreen import names
from bluegreen.lsn import Lsn
from bluegreen.names import TOOL_DATABASE, Direction
from bluegreen.register import register
from bluegreen.replication import heartbeat
from dynamic_providers.clone_origin import CloneOriginProvider
from tests.fixtures.fresh_clone import CLONE, DATABASE, DEPLOYMENT, SLOT, SOURCE, Seam
from tests.fixtures.postgres import MASTER, PASSWORD
from tests.fixtures.provider_host import UNKNOWN, Host, HostError, ProviderHost
from tests.fixtures.rds import REGION, PlacedClusters


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(CloneOriginProvider())


@pytest.fixture
def props(seam: Seam) -> dict[str, Any]:
    """Return the wish."""
    return {
        "server": seam.clone_server.to_props(),
        "source": seam.source_server.to_props(),
        "databases": [DATABASE],
        "deployment": DEPLOYMENT,
        "slots": [{"database": DATABASE, "name": SLOT}],
        "clone_id": _in_aws(CLONE).db_cluster_resource_id,
    }


def _in_aws(identifier: str) -> Any:
    for backend in rds_models.rds_backends.values():
        if identifier in backend[REGION].clusters:
            return backend[REGION].clusters[identifier]
    raise KeyError(identifier)


def _one(seam: Seam, query: str, database: str = DATABASE) -> Any:
    with seam.lab.connect(database) as conn:
        row = conn.execute(query).fetchone()
    assert row is not None
    return row[0]


def _stored(seam: Seam) -> bool:
    """Return whether the clone was given an origin."""
    return bool(
        _one(seam, "SELECT to_regclass('bluegreen.clone_origin') IS NOT NULL", TOOL_DATABASE)
    )


# Create ----------------------------------------------------------------------------------------


def test_create_reads_the_lsn_and_closes_the_clone(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    made = host.create(props)
    assert Lsn.parse(made.outs["lsn"]) == seam.lsn
    assert made.id == made.outs["resource_id"] == props["clone_id"]
    assert PASSWORD not in str(made.outs)
    with (
        psycopg.connect(
            host=seam.lab.host, port=seam.lab.port, dbname=DATABASE, user=MASTER, password=PASSWORD
        ) as conn,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        conn.execute("INSERT INTO account VALUES (30001, 0)")


def _other_clone_group(_: dict[str, Any]) -> None:
    vars(_in_aws(CLONE))["clone_group_id"] = "another-volume"


def _older(_: dict[str, Any]) -> None:
    made = vars(_in_aws(CLONE)), vars(_in_aws(SOURCE))
    made[0]["cluster_create_time"], made[1]["cluster_create_time"] = (
        "2020-01-01T00:00:00.000Z",
        "2024-01-01T00:00:00.000Z",
    )


def _itself(props: dict[str, Any]) -> None:
    props["source"] = props["server"]


def _another_id(props: dict[str, Any]) -> None:
    props["clone_id"] = "cluster-ANOTHER"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_clone_group, "clone orders-2: shares no volume with orders-1"),
        (_older, "clone orders-2: is older than orders-1, so it is no clone of it"),
        (_itself, "clone orders-2: is the source itself"),
        (_another_id, "expected cluster-ANOTHER; it was recreated meanwhile"),
    ],
)
def test_refuses_what_differs_and_names_the_difference(
    host: ProviderHost,
    props: dict[str, Any],
    seam: Seam,
    change: Callable[[dict[str, Any]], None],
    said: str,
) -> None:
    change(props)
    if change is _itself:
        props["clone_id"] = None
    with pytest.raises(HostError, match=said) as raised:
        host.create(props)
    assert "\n" not in str(raised.value)
    assert not _stored(seam)


def test_refuses_a_server_without_the_function(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    with seam.lab.as_superuser(TOOL_DATABASE) as conn:
        conn.execute("DROP FUNCTION pg_catalog.aurora_volume_logical_start_lsn()")
    with pytest.raises(HostError, match=r"has no aurora_volume_logical_start_lsn\(\)"):
        host.create(props)


# The LSN ---------------------------------------------------------------------------------------


def test_an_lsn_below_the_slot_is_refused(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    seam.tell(Lsn(1))
    with pytest.raises(
        HostError, match=rf"ends at 0/1, before slot {SLOT} begins at .*clone again"
    ):
        host.create(props)
    assert not _stored(seam)


def test_an_lsn_past_the_source_is_refused(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    """As a clone names it that somebody wrote to before."""
    seam.tell(Lsn(seam.lsn + 1_000_000_000))
    with pytest.raises(
        HostError, match=r"later than its source is now .*was written to, or is no c"
    ):
        host.create(props)
    assert not _stored(seam)


def test_a_clone_that_has_switched_since_is_refused(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    """It was the writer of another deployment: cleaning it would end that."""
    with seam.clone_server.connect(TOOL_DATABASE) as conn:
        register.ensure_tables(conn)
        register.expect_opening(conn, "purple-1")
    with pytest.raises(HostError, match=r"has 1 record\(s\) of switches that orders-1 lacks"):
        host.create(props)
    assert not _stored(seam)


def test_a_clone_that_has_a_subscription_of_its_own_is_refused(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    with seam.connect() as conn:
        conn.execute(
            "CREATE SUBSCRIPTION later CONNECTION 'host=127.0.0.1 port=1 password=x' PUBLICATION p"
            " WITH (connect = false)"
        )
        try:
            with pytest.raises(
                HostError, match="has subscription later in app that orders-1 lacks"
            ):
                host.create(props)
        finally:
            conn.execute("ALTER SUBSCRIPTION later SET (slot_name = NONE)")
            conn.execute("DROP SUBSCRIPTION later")
    assert not _stored(seam)


def test_a_lost_slot_means_to_clone_again(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    wish = props | {"slots": [{"database": DATABASE, "name": "no_such_slot"}]}
    with pytest.raises(HostError, match=r"slot no_such_slot on orders-1: .*clone"):
        host.create(wish)
    assert not _stored(seam)


# What is inherited -----------------------------------------------------------------------------


def test_what_the_clone_inherits_is_removed(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    with seam.connect() as conn:
        conn.execute("SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')")
        name = sql.Identifier(names.publication(DEPLOYMENT, Direction.FORWARD))
        conn.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(name))
        conn.execute(sql.SQL("CREATE PUBLICATION {} FOR ALL TABLES").format(name))
        # Last: a slot's creation would wait for it.
        conn.execute(
            "BEGIN; INSERT INTO account VALUES (30000, 0); PREPARE TRANSACTION 'odd ''gid'"
        )
    host.create(props)
    for query in (
        "SELECT count(*) FROM pg_prepared_xacts",
        "SELECT count(*) FROM pg_replication_slots",
        "SELECT count(*) FROM pg_publication",
        "SELECT count(*) FROM account WHERE id = 30000",
    ):
        assert _one(seam, query) == 0


@pytest.mark.parametrize("enabled", [True, False])
def test_a_subscription_of_the_source(
    host: ProviderHost, props: dict[str, Any], seam: Seam, *, enabled: bool
) -> None:
    """Enabled, its copy would take the source's rows; disabled, it is dropped on the clone."""
    statements = (
        "CREATE SUBSCRIPTION upstream CONNECTION 'host=127.0.0.1 port=1 password=x' PUBLICATION p"
        " WITH (connect = false, slot_name = 'upstream')"
    )
    labs = (seam.lab, seam.source.lab)
    for lab in labs:
        with lab.connect(DATABASE) as conn:
            conn.execute(statements)
    # As AWS's superuser, whose session is spared when the clone is closed.
    sides = [lab.as_superuser(DATABASE) for lab in labs]
    try:
        if enabled:
            sides[1].execute("ALTER SUBSCRIPTION upstream ENABLE")
            with pytest.raises(
                HostError, match=r"its source has subscription upstream.* disable it"
            ):
                host.create(props)
            assert not _stored(seam)
        else:
            host.create(props)
            assert _one(seam, "SELECT count(*) FROM pg_subscription") == 0
    finally:
        for conn in sides:
            if conn.execute("SELECT 1 FROM pg_subscription").fetchone():
                conn.execute("ALTER SUBSCRIPTION upstream DISABLE")
                conn.execute("ALTER SUBSCRIPTION upstream SET (slot_name = NONE)")
                conn.execute("DROP SUBSCRIPTION upstream")
            conn.close()


# Change ----------------------------------------------------------------------------------------


def test_a_change_in_place_keeps_the_lsn(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    made = host.create(props)
    seam.tell(Lsn(seam.lsn + 1))
    wish = props | {"databases": [DATABASE, "postgres"]}
    change = host.diff(made, wish)
    assert (change.changes, change.replaces) == (True, [])
    assert host.update(made, wish).outs["lsn"] == made.outs["lsn"]


def test_another_clone_under_the_same_name_must_replace(
    host: ProviderHost, props: dict[str, Any]
) -> None:
    made = host.create(props)
    assert host.diff(made, props | {"clone_id": "cluster-NEW"}).replaces == ["clone_id"]
    assert host.diff(made, props | {"clone_id": UNKNOWN}).replaces == []


def test_another_deployment_is_refused_at_preview(
    host: ProviderHost, props: dict[str, Any]
) -> None:
    assert list(host.check(props, props | {"deployment": "other"})) == ["deployment"]


def test_removed_by_hand_the_state_still_has_it_and_it_is_not_read_again(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    made = host.create(props)
    with seam.lab.connect() as conn:
        conn.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(TOOL_DATABASE)))
    live = host.read(made)
    assert live is not None
    assert live.outs["lsn"] == made.outs["lsn"]


# Delete ----------------------------------------------------------------------------------------


def test_a_delete_leaves_the_clone_alone_that_aws_has_under_its_name_now(
    host: ProviderHost, props: dict[str, Any], seam: Seam
) -> None:
    made = host.create(props)
    vars(_in_aws(CLONE))["db_cluster_resource_id"] = "cluster-NEW"
    assert host.read(made) is None
    host.delete(made)
    assert TOOL_DATABASE in seam.lab.databases()


# Trouble ---------------------------------------------------------------------------------------


def test_a_missing_privilege_is_named_with_its_grant(
    host: ProviderHost, props: dict[str, Any], seam: Seam, placed: PlacedClusters
) -> None:
    weak = sql.Identifier("weak")
    with seam.source.connect() as there:
        heartbeat.leave_marker(there)  # to be compared with the clone's
    with seam.connect() as conn:
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(weak, sql.Literal(PASSWORD))
        )
        props["server"]["credentials"]["admin_secret_arn"] = placed.secret("weak", "weak", PASSWORD)
        try:
            with pytest.raises(
                HostError, match=r'permission denied .*GRANT USAGE ON SCHEMA "bluegreen" TO "weak'
            ):
                host.create(props)
            conn.execute("GRANT USAGE ON SCHEMA bluegreen TO weak")
            conn.execute("GRANT SELECT ON bluegreen.heartbeat TO weak")
            with pytest.raises(
                HostError,
                match=r'permission denied .*; GRANT CREATE ON DATABASE "bluegreen" TO "weak',
            ) as raised:
                host.create(props)
        finally:
            with seam.lab.as_superuser(DATABASE) as admin:
                admin.execute("DROP OWNED BY weak")
                admin.execute(sql.SQL("DROP ROLE {}").format(weak))
    assert "\n" not in str(raised.value)
    assert not _stored(seam)
