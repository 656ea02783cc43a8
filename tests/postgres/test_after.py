"""What comes after the opening: each part by itself, and no name against the register."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from botocore.exceptions import ClientError
from pulumi.dynamic import CreateResult, ReadResult, UpdateResult

from bluegreen.aws import clients, dns
from bluegreen.aws.dns import Records
from bluegreen.errors import Refused, Retry
from bluegreen.names import TOOL_DATABASE
from bluegreen.register import register
from bluegreen.register.register import AttemptState
from bluegreen.switch import completion, old_direction, recovery, traffic
from bluegreen.switch.declared import DeclaredSwitch
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.side import Side
from bluegreen.switch.switchover import switch
from dynamic_providers.switchover import SwitchoverProvider
from tests.fixtures.lost_machine import leave_decided
from tests.fixtures.rds import REGION
from tests.fixtures.replicated import DATABASE, DEPLOYMENT
from tests.fixtures.switchable import Switchable, wait_until

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)

NAME, READER = "writer.shop.example", "reader.shop.example"
SETTINGS = {
    "fence": "read-only",
    "old_side": "closed",
    "lag_seconds": 10,
    "drain_seconds": 5,
    "fuse_seconds": 10,
    "finish_seconds": 30,
    "roles": None,
    "spare_roles": [],
}


def _quiet(text: str) -> None:
    """Take what the switch reports."""


@pytest.fixture
def zone(switchable: Switchable) -> str:
    """Return a zone whose names lead to the source."""
    route53 = clients.client("route53", REGION)
    made = route53.create_hosted_zone(Name="shop.example", CallerReference=str(id(switchable)))
    zone = str(made["HostedZone"]["Id"]).rpartition("/")[2]
    _lead(zone, switchable.pair.source.host)
    return zone


def _lead(zone: str, host: str, *, name: str = NAME, **record: Any) -> None:
    change = {
        "Name": name,
        "Type": "CNAME",
        "TTL": 5,
        "ResourceRecords": [{"Value": host}],
    }
    clients.client("route53", REGION).change_resource_record_sets(
        HostedZoneId=zone,
        ChangeBatch={"Changes": [{"Action": "UPSERT", "ResourceRecordSet": change | record}]},
    )


def _leads_to(zone: str, name: str = NAME) -> list[str | None]:
    return [found.leads_to for found in dns.find(zone, name, REGION)]


def _records(world: Switchable, zone: str) -> Records:
    pair = world.pair
    return Records(zone, 5, {NAME: pair.target.host}, {NAME: pair.source.host})


def _state(plan: SwitchPlan, attempt: str) -> str:
    with plan.old.connect(TOOL_DATABASE) as conn:
        row = conn.execute(
            "SELECT state FROM bluegreen.register WHERE attempt = %s", (attempt,)
        ).fetchone()
    return str(row[0]) if row else ""


def _denied(*_: object, **__: object) -> None:
    answer = {"Error": {"Code": "AccessDenied", "Message": "not authorized"}}
    raise ClientError(answer, "ChangeResourceRecordSets")  # type: ignore[arg-type]


def test_no_part_waits_for_another_and_the_fuse_goes_on_until_done(
    switchable: Switchable, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Route 53 says no: the old direction is stopped and the old side closed all the same."""
    plan = switchable.cutover(records=_records(switchable, zone))
    route53 = clients.client("route53", REGION, once=True)
    with monkeypatch.context() as broken:
        broken.setattr(route53, "change_resource_record_sets", _denied)
        with pytest.raises(
            Retry, match=r"could not be moved: .*not permitted.*run pulumi up again"
        ):
            switch(plan, _quiet)
        assert switchable.open_sides() == [plan.new.cluster]
        with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
            switchable.connect(plan.old)
        with switchable.pair.connect(plan.new) as conn:
            (enabled,) = conn.execute("SELECT subenabled FROM pg_subscription").fetchone() or ()
        assert enabled is False
    # The fuse is a process of its own, whose Route 53 works: nobody repeats anything here.
    with plan.old.connect(TOOL_DATABASE) as conn:
        wait_until(lambda: register.find_live(conn) is None, "the fuse carries it out")
    assert _leads_to(zone) == [plan.new.host]


@pytest.mark.slow
def test_a_name_moves_although_everything_else_fails(
    switchable: Switchable, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = switchable.cutover(records=_records(switchable, zone), fence="no-login")
    attempt = leave_decided(plan)

    def fail(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("the old side is gone")

    with monkeypatch.context() as broken:
        broken.setattr(old_direction, "stop_applying", fail)
        broken.setattr(register, "close_old", fail)
        with pytest.raises(Retry, match="is not over: the old side is gone; run pulumi up"):
            completion.finish(plan, attempt)
    assert _leads_to(zone) == [plan.new.host]
    assert _state(plan, attempt) == AttemptState.DECIDED
    completion.finish(plan, attempt)
    completion.finish(plan, attempt)  # once more is nothing
    assert _leads_to(zone) == [plan.new.host]
    assert _state(plan, attempt) == AttemptState.DONE


def test_a_late_write_of_the_old_side_never_replaces_one_of_the_new_writer(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, pair = switchable, switchable.pair
    with pair.connect(pair.source) as conn:
        conn.execute("INSERT INTO probe VALUES (7)")
    open_environment = register.open_environment

    def opened(*args: Any) -> Any:
        at = open_environment(*args)
        with pair.connect(pair.source) as stale:  # says BEGIN READ WRITE, in effect
            stale.execute("UPDATE probe SET n = -1 WHERE n = 7; INSERT INTO ledger VALUES (-1)")
        with world.connect(pair.target) as conn:
            conn.execute("UPDATE probe SET n = 8 WHERE n = 7")
        return at

    monkeypatch.setattr(register, "open_environment", opened)
    done = switch(world.cutover(fence="read-only"), _quiet)
    assert done.slipped == 2
    with pair.connect(pair.target) as conn:
        assert conn.execute("SELECT n FROM probe").fetchall() == [(8,)]
        assert conn.execute("SELECT FROM ledger WHERE n = -1").fetchall() == []


def test_who_dies_between_stop_and_opening_leaves_something_to_finish(
    switchable: Switchable,
) -> None:
    plan = switchable.cutover(fence="read-only")
    attempt = leave_decided(plan)
    with switchable.pair.connect(plan.new) as conn:
        (enabled,) = conn.execute("SELECT subenabled FROM pg_subscription").fetchone() or ()
    assert enabled is False
    completion.finish(plan, attempt)
    assert switchable.open_sides() == [plan.new.cluster]
    assert _state(plan, attempt) == AttemptState.DONE


@contextmanager
def _confirming_nothing(world: Switchable) -> Iterator[None]:
    """Let the apply worker end in the block without having said how far it came.

    It has applied, sleeps, and its next sight is the signal that ends it.
    """
    with world.pair.target_lab.connect() as conn:
        row = conn.execute("SELECT pid FROM pg_stat_subscription WHERE pid IS NOT NULL").fetchone()
    assert row is not None
    worker = psutil.Process(row[0])
    worker.suspend()

    def resume() -> None:
        wait_until(lambda: _is_to_end(worker.pid), "the worker's end")
        worker.resume()

    with ThreadPoolExecutor(1) as pool:
        resumed = pool.submit(resume)
        try:
            yield
        finally:
            resumed.result()


def _is_to_end(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    pending = (int(line.split()[1], 16) for line in status.splitlines() if "Pnd:" in line)
    return any(signals & 1 << signal.SIGTERM - 1 for signals in pending)


def test_what_a_finisher_sends_itself_has_not_slipped_in(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own barrier lies behind the decision's; seen: it barred the way back."""
    stop_early = completion.stop_early

    def stop(plan: SwitchPlan, new: Side) -> None:
        with _confirming_nothing(switchable):
            stop_early(plan, new)

    plan = switchable.cutover(fence="read-only")
    attempt = leave_decided(plan)
    monkeypatch.setattr(completion, "stop_early", stop)
    assert completion.finish(plan, attempt).slipped == 0


def test_what_was_applied_and_is_not_confirmed_has_not_slipped_in(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a write behind the decision that came across before the opening."""
    world, pair = switchable, switchable.pair
    stop_early = completion.stop_early

    def write(*numbers: int) -> None:
        with world.connect(pair.source) as stale:
            stale.execute("BEGIN READ WRITE")
            stale.execute("INSERT INTO ledger SELECT unnest(%s::int[])", (list(numbers),))
            stale.execute("COMMIT")

    def slip_in_and_stop(plan: SwitchPlan, new: Side) -> None:
        write(-1)
        wait_until(lambda: -1 in world.rows(pair.target), "the row on the other side")
        with _confirming_nothing(world):
            stop_early(plan, new)
        write(-2, -3)

    monkeypatch.setattr(completion, "stop_early", slip_in_and_stop)
    done = switch(world.cutover(fence="read-only"))
    assert done.slipped == 2
    assert [n for n in world.rows(pair.target) if n < 0] == [-1]


def test_what_no_repetition_mends_is_known_before_the_fence(
    switchable: Switchable, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, records = switchable, _records(switchable, zone)

    def refused(match: str, **changed: Any) -> None:
        with pytest.raises(Refused, match=match):
            switch(world.cutover(records=replace(records, **changed)), _quiet)
        assert world.open_sides() == [world.pair.source.cluster]

    refused("NoSuchHostedZone", zone_id="Z0000000000000")
    refused("is not a name in it", targets={"writer.other.example": "a"})
    _lead(zone, "elsewhere.example")
    refused("leads to elsewhere.example, which is neither side")
    _lead(zone, world.pair.source.host)
    _lead(zone, "1.2.3.4", name=READER, Type="A")
    refused(
        "A record to 1.2.3.4, expected a simple CNAME",
        targets={**records.targets, READER: "x"},
    )
    _lead(zone, "x", name=f"w.{READER}", SetIdentifier="one", Weight=1)
    refused(
        "routing policy, 'one'",
        targets={**records.targets, f"w.{READER}": "x"},
    )
    with monkeypatch.context() as broken:
        broken.setattr(clients.client("route53", REGION), "change_resource_record_sets", _denied)
        refused("route53:ChangeResourceRecordSets: not permitted")
    with world.pair.source.connect(TOOL_DATABASE) as conn:
        assert conn.execute("SELECT FROM bluegreen.register").fetchall() == []
    done = switch(world.cutover(records=records), _quiet)
    assert _leads_to(zone) == [world.pair.target.host]
    assert done.moved is not None
    assert dns.is_in_sync(done.moved.change, REGION)


def _props(world: Switchable, zone: str | None, **changed: Any) -> dict[str, Any]:
    pair = world.pair
    record = {"zone_id": zone, "writer": NAME, "reader": READER, "ttl": 5}
    return {
        "writer": "source",
        "rollback": True,
        "deployment": DEPLOYMENT,
        "databases": [DATABASE],
        "start_lsn": "0/1234560",
        "source": pair.source.to_props(),
        "target": pair.target.to_props(),
        "source_reader": "ro.source.example",
        "target_reader": "ro.target.example",
        "switch": SETTINGS,
        "dns": record if zone else None,
        "accept_stale": [],
    } | changed


def _known(result: CreateResult | ReadResult | UpdateResult) -> dict[str, Any]:
    return dict(result.outs or {})


def test_recover_moves_the_names_whatever_the_state_says(switchable: Switchable, zone: str) -> None:
    """The state is that of the last update that succeeded: its writer is the old one."""
    world = switchable
    wish = DeclaredSwitch.model_validate(_props(world, zone, writer="target")).plan()
    leave_decided(wish)
    found = recovery.find(DeclaredSwitch.model_validate(_props(world, zone)).plan(), vouched=False)
    assert found.plan.records == wish.records
    done = recovery.apply(found)
    assert done is not None
    assert done.moved is not None
    assert world.open_sides() == [world.pair.target.cluster]
    assert _leads_to(zone) == [world.pair.target.host]
    assert _leads_to(zone, READER) == ["ro.target.example"]


@pytest.mark.slow
def test_who_wakes_up_late_leaves_the_names_or_takes_its_change_back(
    switchable: Switchable, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, pair = switchable, switchable.pair
    plan, move = world.cutover(records=_records(world, zone)), dns.move
    there = switch(plan, _quiet)

    def sleep_before_sending(records: Records, region: str, *, allowed: Any) -> None:
        monkeypatch.setattr(dns, "move", move)
        allowed()
        world.run_reverse(str(there.mark))
        pair.publish_again_after_drop(pair.source)
        switch(world.rollback(records=_records(world, zone).turned()), _quiet)
        assert _leads_to(zone) == [pair.source.host]
        move(records, region)

    monkeypatch.setattr(dns, "move", sleep_before_sending)
    for said in ("the names lead to it again", "the names stay"):
        with plan.new.connect(TOOL_DATABASE) as conn, pytest.raises(Retry, match=said):
            traffic.lead(plan, conn, there.attempt)
        assert _leads_to(zone) == [pair.source.host]


def test_a_refresh_takes_mark_and_attempt_from_the_servers(switchable: Switchable) -> None:
    """The update's checkpoint is lost: the state has the clone's mark, or one past the WAL."""
    world, pair = switchable, switchable.pair
    provider, props = SwitchoverProvider(), _props(world, None)
    state = _known(provider.create(props))
    assert (state["mark"], state["attempt"]) == ("0/1234560", "")
    with pair.source.connect(TOOL_DATABASE) as conn:  # left by an earlier deployment of the source
        conn.execute("INSERT INTO bluegreen.opening VALUES ('green-1', 'opened', '0/5')")
    assert _known(provider.read("x", state))["mark"] == "0/1234560"
    done = switch(world.cutover(), _quiet)
    wish = props | {"writer": "target"}
    for wrong in (state, state | {"mark": "F/0", "attempt": "?", "writer": "target"}):
        read = _known(provider.read("x", wrong))
        for outs in (read, _known(provider.update("x", read, wish))):
            found = outs["writer"], outs["mark"], outs["attempt"]
            assert found == ("target", str(done.mark), done.attempt)
    # The final state looks at the writer alone: the source may be gone.
    gone = pair.source.to_props() | {"host": "127.0.0.1", "port": 1}
    final = wish | {"rollback": False, "source": gone}
    for outs in (
        _known(provider.update("x", state, final)),
        _known(provider.read("x", state | final)),
    ):
        assert (outs["mark"], outs["attempt"]) == (str(done.mark), done.attempt)
