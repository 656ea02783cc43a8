"""Two switches of one deployment at once: one of them is refused, and exactly one side is open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from bluegreen import names
from bluegreen.errors import BlueGreenError, Refused
from bluegreen.names import TOOL_DATABASE, Direction
from bluegreen.postgres.server import Server
from bluegreen.register import register
from bluegreen.register.register import Attempt
from bluegreen.switch import switchover
from bluegreen.switch.local_fuse import LocalFuse
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.switchover import switch
from tests.fixtures.replicated import DATABASE, DEPLOYMENT, Pair
from tests.fixtures.switchable import Switchable

pytestmark = pytest.mark.parametrize("pair", [(16, 18)], ids=["16-to-18"], indirect=True)


def _quiet(text: str) -> None:
    """Take what the switch reports."""


def _before_registering(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Let the next switch do `act` between its last look and its registration."""
    waits = LocalFuse.wait_until_armed

    def sleeps(fuse: LocalFuse) -> None:
        waits(fuse)
        monkeypatch.setattr(LocalFuse, "wait_until_armed", waits)
        act()

    monkeypatch.setattr(LocalFuse, "wait_until_armed", sleeps)


def _live(server: Server) -> Attempt | None:
    with server.connect(TOOL_DATABASE) as conn:
        return register.find_live(conn)


def _openings(server: Server) -> list[str]:
    with server.connect(TOOL_DATABASE) as conn:
        rows = conn.execute("SELECT state FROM bluegreen.opening ORDER BY changed_at").fetchall()
    return [state for (state,) in rows]


def test_who_was_overtaken_between_look_and_register_touches_nothing(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He slept while another one switched: his abort must not open what that one has closed."""
    pair = switchable.pair
    _before_registering(monkeypatch, lambda: _switch_quietly(switchable.cutover()))
    with pytest.raises(Refused, match="orders-2: accepts writes in app, expected it to be closed"):
        switch(switchable.cutover(), _quiet)
    assert switchable.open_sides() == [pair.target.cluster]
    # The other's own abort is as powerless: what is closed belongs to an attempt that is done.
    with pair.source.connect(TOOL_DATABASE) as conn:
        with pytest.raises(Refused, match=r"was closed meanwhile, by .*; try again"):
            register.begin(conn, "late", pair.target.cluster, seconds=60)
        conn.execute(
            "INSERT INTO bluegreen.register (attempt, state, new_writer, deadline)"
            " VALUES ('forced', 'preparing', 'orders-2', now())"
        )
        assert register.abort(conn, "forced")
    assert switchable.open_sides() == [pair.target.cluster]


def test_who_comes_second_gives_nothing_up_that_is_live(
    switchable: Switchable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one registers while the first has decided, and is about to open."""
    pair = switchable.pair
    open_environment = register.open_environment
    refused: list[str] = []

    def second() -> None:
        attempt = switchover._attempt_name(switchable.cutover())
        with pair.target.connect(TOOL_DATABASE) as conn:
            register.expect_opening(conn, attempt)
        with pair.source.connect(TOOL_DATABASE) as conn:
            try:
                register.begin(conn, attempt, pair.target.cluster, seconds=60)
            except Refused as error:
                refused.append(str(error))

    def open_late(*args: object) -> object:
        second()
        return open_environment(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(register, "open_environment", open_late)
    done = switch(switchable.cutover(), _quiet)
    assert [done.attempt in words for words in refused] == [True]
    assert switchable.open_sides() == [pair.target.cluster]
    assert _openings(pair.target) == ["closed", "opened"]


def test_no_attempt_leaves_a_side_that_a_live_one_is_about_to_open(switchable: Switchable) -> None:
    """Either the opening is expected first, and the beginning gives it up; or it is refused."""
    pair = switchable.pair
    with pair.source.connect(TOOL_DATABASE) as old, pair.target.connect(TOOL_DATABASE) as new:
        old.execute("INSERT INTO bluegreen.opening (attempt, state) VALUES ('slept', 'closed')")
        register.expect_opening(new, "there", "orders-1", ("app",))
        register.begin(old, "there", pair.target.cluster, seconds=60, databases=("app",))
        assert _openings(pair.source) == ["given up"]
        with pytest.raises(Refused, match="attempt there is under way"):
            register.expect_opening(old, "back")
        register.abort(old, "there")
        with pytest.raises(Refused, match="accepts writes in app"):
            register.expect_opening(old, "back", "orders-2", ("app",))
        for spelt in ("on", "TRUE", "Yes", "1", "t"):
            old.execute(f"ALTER DATABASE app SET default_transaction_read_only = '{spelt}'")
            with pytest.raises(Refused, match="read-only by default: app; find out who closed it"):
                register.begin(old, "there", "orders-2", seconds=60, databases=("app",))
        new.execute(
            "INSERT INTO bluegreen.register (attempt, state, new_writer, deadline, slipped)"
            " VALUES ('left', 'done', 'orders-1', now(), 2)"
        )
        with pytest.raises(Refused, match=r"2 write\(s\) came there after it had been left"):
            register.expect_opening(new, "late", "orders-1", ("app",))
    assert _openings(pair.target) == ["closed"]
    assert _openings(pair.source) == ["given up"]


def test_only_who_was_registered_earlier_is_given_up(switchable: Switchable) -> None:
    """One that was aborted by its fuse wakes up after its successor has begun."""
    pair = switchable.pair
    with pair.source.connect(TOOL_DATABASE) as old, pair.target.connect(TOOL_DATABASE) as new:
        turns = {}
        for name in ("slept", "live"):
            register.expect_opening(new, name, pair.source.cluster)
            register.begin(old, name, pair.target.cluster, seconds=60)
            turns[name] = register.turn(old, name)
            if name == "slept":
                register.abort(old, name)
        assert register.claim_opening(new, "live", turns["live"])
        assert not register.claim_opening(new, "slept", turns["slept"])
        assert _openings(pair.target) == ["closed", "given up"]
        for name in ("one", "two"):
            register.expect_opening(new, name, pair.source.cluster)
        assert register.claim_opening(new, "one", turns["live"] + 1)
        assert register.left_closed(new, "one") == ["live"]
        assert register.claim_opening(new, "two", turns["live"] + 2)


def test_beginnings_wait_for_each_other_and_one_of_them_is_made(switchable: Switchable) -> None:
    source = switchable.pair.source
    made, refused = list[str](), list[str]()
    ready = threading.Barrier(6)

    def begin(name: str) -> None:
        with source.connect(TOOL_DATABASE) as conn:
            ready.wait()
            try:
                register.begin(conn, name, "orders-2", seconds=60)
                made.append(name)
            except Refused as error:
                refused.append(str(error))

    threads = [threading.Thread(target=begin, args=(f"attempt {n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (name,) = made
    assert refused == [f"attempt {name} is under way; wait for it"] * 5


def _switch_quietly(plan: SwitchPlan) -> None:
    switch(plan, _quiet)


def _both(plan: SwitchPlan, offset: float) -> list[BaseException | None]:
    """Switch twice at once, the second `offset` seconds later; return how they ended."""
    ended: list[BaseException | None] = []

    def one() -> None:
        try:
            switch(plan, _quiet)
            ended.append(None)
        except BaseException as error:  # noqa: BLE001
            ended.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    threads[0].start()
    time.sleep(offset)
    threads[1].start()
    for thread in threads:
        thread.join()
    return ended


def _one_writer_after_pairs(world: Switchable, offsets: list[float]) -> None:
    """Switch to and fro, each time by two at once."""
    pair = world.pair
    old, new, direction = pair.source, pair.target, Direction.FORWARD
    for offset in offsets:
        ended = _both(world.plan(old, new), offset)
        found = f"{old} to {new}, {offset:g} s apart: {ended}"
        assert all(error is None or isinstance(error, BlueGreenError) for error in ended), found
        (writer,) = world.open_sides() or [found]
        assert _live(old) is _live(new) is None, found
        if writer != new.cluster:  # both were refused, or aborted
            assert writer == old.cluster, found
            continue
        with new.connect(TOOL_DATABASE) as conn:
            opening = register.last_opening(conn)
        assert opening is not None
        back = Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD
        _turn(pair, old, new, direction, str(opening[1]))
        old, new, direction = new, old, back


def _turn(pair: Pair, old: Server, new: Server, direction: Direction, mark: str) -> None:
    """Let the old side follow the new writer, as the program does."""
    back = Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD
    pair.unsubscribe(new, direction)
    pair.subscribe_at(old, new, back, mark)
    with pair.connect(old) as conn:
        slot = names.slot(DEPLOYMENT, direction, DATABASE)
        conn.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
    pair.publish_again(old, direction)


def test_two_at_once_leave_exactly_one_writer(switchable: Switchable) -> None:
    _one_writer_after_pairs(switchable, [0.0, 0.3, 0.4, 0.5])


@pytest.mark.long
def test_two_at_once_at_many_offsets_leave_exactly_one_writer(switchable: Switchable) -> None:
    offsets = [n / 10 for n in range(21)]
    _one_writer_after_pairs(switchable, [*offsets, *reversed(offsets), *offsets[:8]])
