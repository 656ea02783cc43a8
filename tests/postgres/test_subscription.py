"""`postgres:Subscription` through its life, on real servers and through the real provider host."""

from __future__ import annotations

import pytest
from psycopg import sql

from bluegreen.lsn import Lsn
from bluegreen.postgres import owned
from dynamic_providers.subscription import SubscriptionProvider
from lab.postgres.clone import wait_until
from tests.fixtures.postgres import MASTER
from tests.fixtures.provider_host import Host, HostError, Made, ProviderHost
from tests.fixtures.subscribed import Subscribed


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(SubscriptionProvider())


def _read(host: ProviderHost, made: Made) -> Made:
    live = host.read(made)
    assert live is not None
    return live


def test_create_applies_exactly_from_the_start(host: ProviderHost, subscribed: Subscribed) -> None:
    """Rows between slot and start are the clone's; none of them comes a second time."""
    subscribed.write(5)
    ((subscribed.start,),) = subscribed.on_source("SELECT pg_current_wal_lsn()::text")
    subscribed.write(3)
    made = host.create(subscribed.props)
    assert made.id == f"{subscribed.database}/{subscribed.name}"
    wait_until(lambda: subscribed.ids("target") == [6, 7, 8], "the later rows")


def test_refuses_what_differs_naming_the_difference(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """It may be somebody else's; all differences are named at once."""
    host.create(subscribed.props)
    if not subscribed.target_lab.aurora:  # there nobody may change what rdsadmin owns
        subscribed.alter("OWNER TO rdsadmin")  # nobody asked for an owner
        host.create(subscribed.props)
    differences = [
        ("SET (streaming = on)", "streaming is on, expected parallel"),
        ("SET (origin = any)", "origin is any, expected none"),
        ("SET (binary = true)", "binary is true, expected false"),
        ("SET PUBLICATION other WITH (refresh = false)", "reads publication 'other', expected"),
    ]
    if not subscribed.target_lab.aurora:  # there nobody may read the connection
        elsewhere = "CONNECTION 'host=127.0.0.1 port=1 dbname=x password=x'"
        differences.append((elsewhere, "connects to host 127.0.0.1, expected"))
    said = []
    for by_hand, words in differences:
        subscribed.alter(by_hand)
        said.append(words)
        with pytest.raises(HostError) as error:
            host.create(subscribed.props)
        assert all(one in str(error.value) for one in said)


def test_refuses_what_differs_in_its_slot(host: ProviderHost, subscribed: Subscribed) -> None:
    """Another slot is another stream: it is not even fixed by an update."""
    made = host.create(subscribed.props)
    subscribed.alter("DISABLE")
    subscribed.alter("SET (slot_name = other)")
    said = f"reads slot 'other', expected '{subscribed.slot}'"
    with pytest.raises(HostError, match=said):
        host.create(made.inputs)
    with pytest.raises(HostError, match=said):
        host.update(made, made.inputs)


def test_change_in_place_keeps_the_slot_and_every_row(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    made = host.create(subscribed.props)
    subscribed.write(3)
    # On Aurora nobody may give it to the only role that every table's owner is no stranger to.
    owner = MASTER if subscribed.target_lab.aurora else "rdsadmin"
    for change in (
        {"streaming": "off"},
        {"binary": True},
        {"disable_on_error": True},
        {"run_as_owner": True},
        {"origin": "any"},
        {"enabled": False},
        {"enabled": True, "owner": owner},
    ):
        wish = made.inputs | change
        assert host.diff(made, wish).changes, change
        assert host.diff(made, wish).replaces == []
        made = host.update(made, wish)
        live = _read(host, made)
        assert {key: live.inputs[key] for key in change} == change
        assert live.outs["live"]["drift"] == []
        subscribed.write()
    subscribed.wait_until_equal()


def test_change_in_place_of_the_publications(host: ProviderHost, subscribed: Subscribed) -> None:
    """Several publications are one subscription's list; tables come and go with them."""
    made = host.create(subscribed.props)
    for run in (subscribed.on_source, subscribed.on_target):
        run("CREATE TABLE extra (id int PRIMARY KEY)")
    subscribed.on_source("GRANT SELECT ON extra TO replicator")
    subscribed.on_source("CREATE PUBLICATION narrow FOR TABLE extra")
    subscribed.on_source("INSERT INTO extra VALUES (1)")
    made = host.update(made, made.inputs | {"publication": [subscribed.name, "narrow"]})
    wait_until(lambda: subscribed.on_target("SELECT id FROM extra") == [(1,)], "the copied row")
    made = host.update(made, made.inputs | {"publication": "narrow"})
    tables = subscribed.on_target("SELECT srrelid::regclass::text FROM pg_subscription_rel")
    assert tables == [("extra",)]
    assert not host.diff(_read(host, made), made.inputs).changes


@pytest.mark.parametrize("copying", [True, False])
def test_change_in_place_of_the_tables(
    host: ProviderHost, subscribed: Subscribed, copying: bool
) -> None:
    """Tables published later are copied, or only followed, as declared."""
    made = host.create(subscribed.props | {"copy_new_tables": copying})
    for run in (subscribed.on_source, subscribed.on_target):
        run("CREATE TABLE later (id int PRIMARY KEY)")
    subscribed.on_source("GRANT SELECT ON later TO replicator")
    subscribed.on_source("INSERT INTO later VALUES (1)")
    made = host.update(made, made.inputs | {"triggers": ["later"]})

    def ready() -> bool:
        states = subscribed.on_target(
            "SELECT srsubstate FROM pg_subscription_rel WHERE srrelid = 'later'::regclass"
        )
        return states == [("r",)]

    wait_until(ready, "the table to be taken in")
    subscribed.on_source("INSERT INTO later VALUES (2)")
    want = [(1,), (2,)] if copying else [(2,)]
    wait_until(lambda: subscribed.on_target("SELECT id FROM later ORDER BY id") == want, "its rows")


def test_a_table_with_rows_is_not_copied_over(host: ProviderHost, subscribed: Subscribed) -> None:
    made = host.create(subscribed.props)
    for run in (subscribed.on_source, subscribed.on_target):
        run("CREATE TABLE later (id int PRIMARY KEY)")
        run("INSERT INTO later VALUES (1)")
    with pytest.raises(HostError, match=r"public\.later was published later and has rows here"):
        host.update(made, made.inputs)


def test_change_that_must_replace_is_refused_at_preview(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """A replacement would drop the origin; what the slot has sent by then would be lost."""
    props = subscribed.props
    for key in ("database", "name", "slot_name"):
        assert key in host.check(props, props | {key: "another"})
    for key in ("server", "publisher"):
        assert host.check(props, props | {key: props[key] | {"host": "elsewhere"}}) == {}
        assert key in host.check(props, props | {key: props[key] | {"cluster": "another"}})


def test_what_no_server_could_do_is_refused_at_preview(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    for key, value in (
        ("streaming", "sideways"),
        ("origin", "here"),
        ("start_lsn", "12"),
        ("name", "n" * 64),
    ):
        assert value in host.check({}, subscribed.props | {key: value})[key]
    assert "publication" in host.check({}, subscribed.props | {"publication": []})


def test_drift_is_shown_by_refresh_and_mended(host: ProviderHost, subscribed: Subscribed) -> None:
    made = host.create(subscribed.props)
    subscribed.wait_until_worker()
    changes = [
        "SET (streaming = off)",
        "SET (synchronous_commit = on)",
        "SET (origin = any)",
        "SET (disable_on_error = true)",
        "SET PUBLICATION other WITH (refresh = false)",
        "DISABLE",
    ]
    for by_hand in changes:
        subscribed.alter(by_hand)
        live = _read(host, made)
        assert host.diff(live, subscribed.props).changes, by_hand
        made = host.update(live, subscribed.props)
        assert not host.diff(_read(host, made), subscribed.props).changes, by_hand
        subscribed.write()
        subscribed.wait_until_equal()


def test_another_connection_is_seen_where_it_may_be_read_and_set_again(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """Only superusers may read it. Elsewhere it is set again where no worker runs by it."""
    made = host.create(subscribed.props)
    subscribed.wait_until_worker()
    subscribed.alter("CONNECTION 'host=127.0.0.1 port=1 dbname=x password=x'")
    wait_until(lambda: not _read(host, made).outs["live"]["worker"], "the worker's end")
    live = _read(host, made)
    readable = not subscribed.target_lab.aurora
    assert host.diff(live, subscribed.props).changes == readable
    made = host.update(live, subscribed.props)
    assert not host.diff(_read(host, made), subscribed.props).changes
    subscribed.write()
    subscribed.wait_until_equal()


def test_removed_by_hand_is_seen_as_gone_and_recreated(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """With nothing applied since; otherwise its slot is past the start, which is refused."""
    made = host.create(subscribed.props | {"enabled": False})
    subscribed.drop_by_hand()
    assert host.read(made) is None
    host.create(subscribed.props)
    subscribed.write()
    subscribed.wait_until_equal()


def test_removed_by_hand_after_it_applied_is_refused_with_clone_again(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    """What it applied would be skipped, or come again: nobody knows where it stood."""
    made = host.create(subscribed.props)
    subscribed.write(3)
    subscribed.wait_until_equal()
    wait_until(lambda: subscribed.confirmed() > Lsn.parse(subscribed.start), "a confirmed position")
    subscribed.drop_by_hand()
    assert host.read(made) is None
    with pytest.raises(HostError, match="clone again"):
        host.create(subscribed.props)


def test_delete_leaves_the_slot_and_nothing_else(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    made = host.create(subscribed.props)
    subscribed.wait_until_worker()
    host.delete(made)
    mine = "SELECT FROM pg_subscription WHERE subname = %s"
    assert subscribed.on_target(mine, subscribed.name) == []
    assert subscribed.on_target("SELECT FROM pg_replication_origin") == []
    assert len(subscribed.on_source("SELECT FROM pg_replication_slots")) == 1


def test_delete_in_the_middle_of_a_first_copy_removes_its_slots_and_origins(
    host: ProviderHost, subscribed: Subscribed
) -> None:
    made = host.create(subscribed.props)
    for run in (subscribed.on_source, subscribed.on_target):
        run("CREATE TABLE later (id int PRIMARY KEY)")
    subscribed.on_source("GRANT SELECT ON later TO replicator")
    subscribed.on_source("INSERT INTO later VALUES (1)")
    with subscribed.target_lab.connect(subscribed.database) as conn, conn.transaction():
        conn.execute("INSERT INTO later VALUES (1)")
        host_side = "SELECT FROM pg_replication_slots WHERE slot_name LIKE 'pg_%_sync_%'"
        subscribed.alter("REFRESH PUBLICATION WITH (copy_data = true)")
        # The copy waits for our row's fate; its slot is there by then.
        wait_until(lambda: bool(subscribed.on_source(host_side)), "a slot of the first copy")
        host.delete(made)
    assert subscribed.on_source(host_side) == []
    assert subscribed.on_target("SELECT FROM pg_replication_origin") == []


def test_delete_works_with_the_publisher_down(host: ProviderHost, subscribed: Subscribed) -> None:
    made = host.create(subscribed.props)
    subscribed.source_lab.stop("immediate")
    host.delete(made)
    assert subscribed.on_target("SELECT FROM pg_subscription") == []


def test_read_works_with_the_publisher_down(host: ProviderHost, subscribed: Subscribed) -> None:
    made = host.create(subscribed.props)
    subscribed.source_lab.stop("immediate")
    live = _read(host, made)
    assert live.outs["live"]["drift"] == []
    assert not host.diff(live, subscribed.props).changes


@pytest.mark.parametrize("after", ["made", "start-set"])
def test_interrupted_create_and_create_again(
    host: ProviderHost, subscribed: Subscribed, after: str
) -> None:
    """Made and disabled, without a start or with one: the next create goes on from there."""
    subscribed.write(2)
    ((subscribed.start,),) = subscribed.on_source("SELECT pg_current_wal_lsn()::text")
    with subscribed.target_lab.connect(subscribed.database) as conn:
        conn.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION {name} CONNECTION {text} PUBLICATION {name} WITH (slot_name = "
                "{slot}, create_slot = false, copy_data = false, enabled = false, streaming = "
                "parallel, origin = none, synchronous_commit = off)"
            ).format(
                name=sql.Identifier(subscribed.name),
                text=sql.Literal(subscribed.source.conninfo(subscribed.database, "replication")),
                slot=sql.Identifier(subscribed.slot),
            )
        )
        owned.mark(conn, "SUBSCRIPTION", subscribed.name)
    if after == "start-set":
        subscribed.on_target(
            "SELECT pg_replication_origin_advance('pg_' || oid, %s::text::pg_lsn)"
            " FROM pg_subscription WHERE subname = %s",
            subscribed.start,
            subscribed.name,
        )
    host.create(subscribed.props)
    subscribed.write(3)
    wait_until(lambda: subscribed.ids("target") == [3, 4, 5], "the rows after the start")


def test_interrupted_delete_and_create_again(host: ProviderHost, subscribed: Subscribed) -> None:
    """It had let go of its slot: what is left is dropped, and recreated where nothing is lost."""
    host.create(subscribed.props | {"enabled": False})
    subscribed.alter("SET (slot_name = NONE)")
    host.create(subscribed.props)
    subscribed.write(2)
    subscribed.wait_until_equal()


def test_a_reader_endpoint_is_refused(host: ProviderHost, subscribed: Subscribed) -> None:
    """As publisher it can't be asked for a position, as subscriber it can't be written."""
    for lab, said in (
        (subscribed.source_lab, "is in recovery, a reader; expected the cluster's writer endpoint"),
        (subscribed.target_lab, "its own server .* is in recovery, a reader"),
    ):
        lab.stop()
        marker = lab.data / "standby.signal"
        marker.touch()
        try:
            lab.start()
            with pytest.raises(HostError, match=said):
                host.create(subscribed.props)
        finally:
            marker.unlink()
            lab.restart()


def test_a_missing_publication_is_refused(host: ProviderHost, subscribed: Subscribed) -> None:
    with pytest.raises(HostError, match="has no publication 'nowhere' in this database"):
        host.create(subscribed.props | {"publication": "nowhere"})
