"""A deployment's life through its provider, on real servers: what is allowed when, and refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import moto.rds.models as rds_models
import pytest
from pulumi.dynamic import CreateResult

from bluegreen.names import Direction
from bluegreen.postgres.server import Server
from bluegreen.register import register
from bluegreen.register.switch_in_progress import has_register
from bluegreen.upgrade import engine
from dynamic_providers.deployment import DeploymentProvider
from dynamic_providers.host_errors import ProviderError
from lab.postgres.server import LabServer
from tests.fixtures.postgres import MASTER, OLD_AND_NEW, MakeServer
from tests.fixtures.rds import REGION, PlacedClusters
from tests.fixtures.replicated import Pair
from tests.fixtures.switchable import DEMOTE

Props = dict[str, Any]
provider = DeploymentProvider()


def props(source: Server | None, **changes: Any) -> Props:
    """Return the properties of stack `green`, whose cluster is `orders-2`."""
    references = {"admin_secret_arn": "a", "replication_secret_arn": "r", "tls": "disable"}
    plain = {
        "stack": "green",
        "cluster_identifier": "orders-2",
        "region": REGION,
        "credentials": asdict(source.credentials) if source else references,
        "databases": ["app"],
        "cutover": False,
        "rollback": True,
        "rehearsal": False,
    }
    if source is not None:
        plain |= {"source": source.to_props(), "source_stack": "blue"}
    return plain | changes


def update(olds: Props, news: Props) -> Props:
    """Return the outputs of an update, which preview and check would have let through."""
    checked = provider.check(olds, news)
    assert checked.failures == []
    assert provider.diff("green", olds, news).changes
    outs = provider.update("green", olds, news).outs
    assert outs is not None
    return outs


def read(outs: Props) -> Props:
    """Return what a refresh sees; its inputs are the same without the state."""
    live = provider.read("green", outs)
    assert live.outs is not None
    assert live.inputs == {key: value for key, value in live.outs.items() if key != "state"}
    return live.outs


def outputs(made: CreateResult) -> Props:
    assert made.outs is not None
    return made.outs


@pytest.fixture(params=OLD_AND_NEW)
def source_lab(request: pytest.FixtureRequest, make_server: MakeServer) -> LabServer:
    server = make_server(request.param)
    with server.connect() as conn:
        conn.execute("CREATE DATABASE app")
    return server


@pytest.fixture
def source(source_lab: LabServer, placed: PlacedClusters) -> Server:
    return placed.place(source_lab, "orders-1")


def test_a_plain_stack_needs_no_server() -> None:
    made = provider.create(props(None))
    assert made.id == "green"
    assert outputs(made)["state"] == "plain"
    again = provider.update("green", outputs(made), props(None, databases=["app", "b"])).outs
    assert again is not None
    assert again["databases"] == ["app", "b"]
    provider.delete("green", outputs(made))


def test_a_deployment_makes_the_register_and_its_end_takes_it_away(
    source: Server, source_lab: LabServer
) -> None:
    made = outputs(provider.create(props(source)))
    assert made["state"] == "forward"
    assert "bluegreen" in source_lab.databases()
    assert not provider.diff("green", made, props(source)).changes
    provider.delete("green", made)
    assert "bluegreen" not in source_lab.databases()
    provider.delete("green", made)


def test_a_deployment_of_the_same_name_in_another_project_takes_nothing_over(
    source: Server, source_lab: LabServer, placed: PlacedClusters
) -> None:
    """Both have a stack `green`, so slots and publications of one name, on the same source."""
    made = outputs(provider.create(props(source)))
    placed.place_with(source_lab, "orders-2", source.credentials)
    other = props(source, cluster_identifier="orders-3")
    with pytest.raises(ProviderError, match="orders-1: cluster orders-2 is to replace it already"):
        provider.create(other)
    assert provider.update("green", made, props(source)).outs == made
    # What is left of one whose cluster is gone is nobody's.
    delete_cluster(placed, "orders-2")
    assert outputs(provider.create(other))["state"] == "forward"


def test_a_rehearsal_leaves_its_source_as_it_is(source: Server, source_lab: LabServer) -> None:
    made = outputs(provider.create(props(source, rehearsal=True)))
    assert made["state"] == "rehearsal"
    assert "bluegreen" not in source_lab.databases()
    register.ensure_database(source)  # of a deployment beside it
    provider.delete("green", made)
    assert "bluegreen" in source_lab.databases()


def test_a_rehearsal_needs_no_logical_replication(source: Server, source_lab: LabServer) -> None:
    source_lab.configure(wal_level="replica")
    source_lab.restart()
    assert outputs(provider.create(props(source, rehearsal=True)))["state"] == "rehearsal"
    with pytest.raises(ProviderError, match=r"orders-1: wal_level is replica.*rds\.logical"):
        provider.create(props(source))
    assert "bluegreen" not in source_lab.databases()


@pytest.mark.parametrize("rehearsal", [False, True])
def test_a_subscriber_is_not_cloned(source: Server, source_lab: LabServer, rehearsal: bool) -> None:
    with source_lab.connect("app") as conn:
        conn.execute(
            "CREATE SUBSCRIPTION feed CONNECTION 'dbname=elsewhere password=x' PUBLICATION p "
            "WITH (connect=false, slot_name=NONE)"
        )
    with pytest.raises(ProviderError, match=r"is a subscriber itself \(feed in app\)"):
        provider.create(props(source, rehearsal=rehearsal))


def test_a_missing_database_is_named(source: Server) -> None:
    with pytest.raises(ProviderError, match="databases: billing not found on orders-1"):
        provider.create(props(source, databases=["app", "billing"]))


def test_a_cluster_that_is_there_already_is_never_the_target(
    source: Server, source_lab: LabServer, placed: PlacedClusters
) -> None:
    placed.place_with(source_lab, "orders-2", source.credentials)
    with pytest.raises(ProviderError, match="cluster orders-2: already exists"):
        provider.create(props(source))
    assert "bluegreen" not in source_lab.databases()


def test_a_source_that_aws_does_not_know_is_named(source: Server) -> None:
    gone = props(replace(source, cluster="orders-9"))
    with pytest.raises(ProviderError, match="cluster orders-9: not found"):
        provider.create(gone)


def test_a_source_stack_without_outputs_is_named(source: Server) -> None:
    with pytest.raises(ProviderError, match="run pulumi up -s blue first"):
        provider.create(props(source) | {"source": None})


def test_a_refresh_sees_a_register_that_is_gone(source: Server, source_lab: LabServer) -> None:
    made = outputs(provider.create(props(source)))
    assert read(made)["state"] == "forward"
    register.drop_database(source)
    live = read(made)
    assert live["state"] == "unregistered"
    assert update(live, props(source))["state"] == "forward"
    assert "bluegreen" in source_lab.databases()


def test_destroying_a_deployment_whose_source_is_out_of_reach_is_an_error(
    source: Server, source_lab: LabServer
) -> None:
    made = outputs(provider.create(props(source)))
    source_lab.stop()
    with pytest.raises(ProviderError, match="can't connect"):
        provider.delete("green", made)


def test_destroying_a_deployment_whose_source_is_gone_in_aws_is_fine(
    source: Server, source_lab: LabServer, placed: PlacedClusters
) -> None:
    made = outputs(provider.create(props(source)))
    delete_cluster(placed, "orders-1")
    source_lab.stop()
    provider.delete("green", made)


def test_the_whole_life_of_a_deployment(pair: Pair, placed: PlacedClusters) -> None:
    register.ensure_database(pair.source)
    forward = props(pair.source, state="forward")
    switched = update(forward, props(pair.source, cutover=True))
    assert switched["state"] == "switched"
    switch(pair)
    back = update(switched, props(pair.source))
    assert back["state"] == "forward"
    final = update(switched, props(pair.source, cutover=True, rollback=False))
    assert final["state"] == "final"
    register.ensure_database(pair.target)
    plain = update(final, props(None, cutover=True, rollback=False))
    assert plain["state"] == "plain"
    assert "bluegreen" not in pair.source_lab.databases() + pair.target_lab.databases()
    delete_cluster(placed, "orders-1")
    provider.delete("green", plain)


@pytest.mark.slow
def test_cutting_over_needs_a_running_direction(pair: Pair) -> None:
    pair.unsubscribe(pair.target, Direction.FORWARD)
    forward = props(pair.source, state="forward")
    with pytest.raises(ProviderError, match="bg_green_forward in app on orders-2: missing"):
        provider.update("green", forward, props(pair.source, cutover=True))


def test_cutting_over_needs_both_sides_up(pair: Pair) -> None:
    pair.target_lab.stop()
    forward = props(pair.source, state="forward")
    with pytest.raises(ProviderError, match=r"on orders-2 .*: can't connect"):
        provider.update("green", forward, props(pair.source, cutover=True))


def show(identifier: str, status: str) -> None:
    """Let AWS say that a cluster is in `status`."""
    for backend in rds_models.rds_backends.values():
        if identifier in backend[REGION].clusters:
            backend[REGION].clusters[identifier].status = status


@pytest.mark.parametrize("status", ["backing-up", "modifying", "maintenance", "upgrading"])
def test_what_aws_does_to_a_side_that_serves_is_no_reason_to_stay(pair: Pair, status: str) -> None:
    for identifier in ("orders-1", "orders-2"):
        show(identifier, status)
    forward = props(pair.source, state="forward")
    assert update(forward, props(pair.source, cutover=True))["state"] == "switched"


def test_a_side_that_serves_nobody_is_one(pair: Pair) -> None:
    show("orders-2", "stopped")
    forward = props(pair.source, state="forward")
    with pytest.raises(ProviderError, match="target orders-2: is stopped, in which AWS serves no"):
        provider.update("green", forward, props(pair.source, cutover=True))


def test_a_source_that_is_backed_up_is_not_taken_for_gone(pair: Pair) -> None:
    pair.open(pair.target)
    show("orders-1", "backing-up")
    switched = props(pair.source, cutover=True, state="switched")
    with pytest.raises(ProviderError, match="both accept writes"):
        provider.update("green", switched, props(pair.source, cutover=True, rollback=False))


def test_a_source_that_aws_is_at_work_on_is_not_cloned(
    source: Server, source_lab: LabServer
) -> None:
    show("orders-1", "modifying")
    with pytest.raises(ProviderError, match="source orders-1: is modifying, expected available"):
        provider.create(props(source))
    assert "bluegreen" not in source_lab.databases()


def test_cutting_over_is_refused_while_both_accept_writes(pair: Pair) -> None:
    pair.open(pair.target)
    forward = props(pair.source, state="forward")
    with pytest.raises(ProviderError, match="both accept writes"):
        provider.update("green", forward, props(pair.source, cutover=True))


def test_nobody_moves_while_nobody_writes(pair: Pair) -> None:
    pair.close(pair.source)
    with pytest.raises(ProviderError, match="both are closed to writers"):
        provider.update("green", props(pair.source), props(pair.source, cutover=True))
    with pytest.raises(ProviderError, match="both are closed to writers"):
        provider.update("green", props(pair.source, cutover=True), props(pair.source))


def test_an_aborted_cutover_can_always_be_taken_back(pair: Pair) -> None:
    pair.unsubscribe(pair.target, Direction.FORWARD)
    pair.target_lab.stop()
    switched = props(pair.source, cutover=True, state="switched")
    assert update(switched, props(pair.source))["state"] == "forward"


def test_going_back_needs_the_reverse_direction(pair: Pair) -> None:
    pair.close(pair.source)
    pair.open(pair.target)
    switched = props(pair.source, cutover=True, state="switched")
    with pytest.raises(ProviderError, match="slot bg_green_reverse_app on orders-2: missing"):
        provider.update("green", switched, props(pair.source))


def test_the_way_back_stays_while_the_target_is_not_the_writer(pair: Pair) -> None:
    switched = props(pair.source, cutover=True, state="switched")
    with pytest.raises(ProviderError, match="rollback: false while orders-2 isn't the writer"):
        provider.update("green", switched, props(pair.source, cutover=True, rollback=False))


def test_finishing_needs_no_source(pair: Pair, placed: PlacedClusters) -> None:
    register.ensure_database(pair.target)
    switch(pair)
    delete_cluster(placed, "orders-1")
    pair.source_lab.stop()
    switched = props(pair.source, cutover=True, state="switched")
    final = update(switched, props(pair.source, cutover=True, rollback=False))
    # The source's stack is destroyed too, so its outputs are gone.
    later = update(final, final | {"source": None, "databases": ["app", "more"]})
    assert later["state"] == "final"
    plain = update(later, props(None, credentials=final["credentials"]))
    assert plain["state"] == "plain"
    assert "bluegreen" not in pair.target_lab.databases()


def switch(pair: Pair) -> None:
    """Make the target the writer, with the reverse direction running, as a cutover leaves it."""
    pair.close(pair.source)
    pair.publish(pair.target, Direction.REVERSE)
    pair.open(pair.target)
    pair.subscribe(pair.source, pair.target, Direction.REVERSE)
    pair.unsubscribe(pair.target, Direction.FORWARD)


def delete_cluster(placed: PlacedClusters, identifier: str) -> None:
    placed.rds.delete_db_instance(DBInstanceIdentifier=f"{identifier}-1", SkipFinalSnapshot=True)
    placed.rds.delete_db_cluster(DBClusterIdentifier=identifier, SkipFinalSnapshot=True)


def test_a_version_that_its_clone_cannot_be_brought_to_is_refused_before_anything_is_made(
    source: Server, source_lab: LabServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "targets", lambda _: {"18.5": True})  # a plain moto has none
    with pytest.raises(
        ProviderError, match=r"no upgrade from 1[68]\.4 to 18\.9; allowed to 18: 18"
    ):
        provider.create(props(source, engine_version="18.9"))
    with pytest.raises(ProviderError, match="Aurora can't go back"):
        provider.create(props(source, engine_version=f"{source_lab.major}.3"))
    assert not has_register(source)


def test_rows_that_the_clone_or_the_way_back_could_not_apply_are_refused_before_anything_is_made(
    source: Server, source_lab: LabServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way back's would be refused when the target has taken writes already."""
    monkeypatch.setattr(engine, "targets", lambda _: {"18.4": True})
    table = {"schema": "public", "name": "t"}
    publishes = {
        "app": {"name": "bg_green_forward", "scope": {"kind": "tables", "tables": [table]}}
    }
    wanted = props(source, publishes=publishes, engine_version="18.4")
    with source_lab.as_superuser() as conn:
        conn.execute(DEMOTE)
        conn.execute(f"CREATE ROLE owner; GRANT owner TO {MASTER} WITH SET FALSE, INHERIT TRUE")
        conn.execute(f"ALTER DATABASE app OWNER TO {MASTER}")
    with source_lab.as_superuser("app") as conn:
        conn.execute("CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO owner")
        with pytest.raises(ProviderError, match="rows for the target in 'app': its owner") as error:
            provider.create(wanted)
        assert not has_register(source)
        conn.execute(str(error.value).partition("; ")[2].encode())
    assert outputs(provider.create(wanted))["state"] == "forward"


def test_what_its_clone_would_stumble_over_is_refused_before_anything_is_made(
    source: Server, source_lab: LabServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "targets", lambda _: {"18.4": True})
    publishes = {"app": {"name": "bg_green_forward", "scope": {"kind": "all"}}}
    wanted = props(source, publishes=publishes, engine_version="18.4")
    with source_lab.connect("app") as conn:
        conn.execute(
            "CREATE TABLE t (id int PRIMARY KEY);"
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE TRIGGER stamp BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();"
            "ALTER TABLE t ENABLE ALWAYS TRIGGER stamp; ALTER TABLE t ADD c regproc[]"
        )
        if source_lab.major < 18:
            with pytest.raises(ProviderError, match=r"public\.t\.c .*before the clone is made"):
                provider.create(wanted)
        conn.execute("ALTER TABLE t DROP c")
        with pytest.raises(ProviderError, match=r"stamp on public\.t \(ALWAYS\).*ENABLE TRIGGER"):
            provider.create(wanted)
        assert not has_register(source)
        conn.execute("ALTER TABLE t ENABLE TRIGGER stamp")
    assert outputs(provider.create(wanted))["state"] == "forward"
