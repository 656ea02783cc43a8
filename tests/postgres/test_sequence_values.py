"""`postgres:SequenceValues` on real servers, through the real provider host: its whole life."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import sql

from dynamic_providers.sequence_values import SequenceValuesProvider
from tests.fixtures.databases import Connection, Database
from tests.fixtures.postgres import PAIRS, PASSWORD
from tests.fixtures.provider_host import Host, HostError, ProviderHost
from tests.fixtures.rds import PlacedClusters
from tests.postgres.test_sequences import MANY


@dataclass(frozen=True, slots=True)
class Pair:
    """One database of the same name on both sides; the standby's is closed to writers."""

    writer: Database
    standby: Database

    def both(self, statements: str) -> None:
        """Run `statements` on both."""
        for side in (self.writer, self.standby):
            with side.connect() as conn:
                conn.execute(statements)

    def last(self, side: Database) -> tuple[Any, ...] | None:
        """Return where sequence `s` is."""
        with side.connect() as conn:
            return conn.execute("SELECT last_value, is_called FROM s").fetchone()


def set_closed(database: Database, *, closed: bool) -> None:
    """Close a database to writers, as a standby's is, or open it."""
    value = "SET default_transaction_read_only = on"
    with database.connect() as conn:
        conn.execute(
            sql.SQL("ALTER DATABASE {} {}").format(
                sql.Identifier(database.name),
                sql.SQL(value if closed else "RESET default_transaction_read_only"),
            )
        )


both_ways = pytest.mark.parametrize("pair", PAIRS, indirect=True)


@pytest.fixture
def pair(request: pytest.FixtureRequest, make_database: Callable[..., Database]) -> Pair:
    """Return two databases with the sequences `s` and `t`; the writer's `s` is at 500."""
    old, new = getattr(request, "param", (16, 18))
    writer = make_database(old)
    made = Pair(writer, make_database(new, writer.name))
    set_closed(made.standby, closed=True)
    made.both("CREATE SEQUENCE s; CREATE SEQUENCE t")
    with writer.connect() as conn:
        conn.execute("SELECT setval('s', 500)")
    return made


@pytest.fixture
def host(provider_host: Host) -> ProviderHost:
    """Return the provider in its host."""
    return provider_host.of(SequenceValuesProvider())


@pytest.fixture
def props(pair: Pair, placed: PlacedClusters) -> dict[str, Any]:
    """Return the wish."""
    return {
        "writer": pair.writer.place(placed, "orders-1").to_props(),
        "standby": pair.standby.place(placed, "orders-2").to_props(),
        "databases": [pair.writer.name],
        "tolerance": 1000,
    }


@pytest.fixture
def standby(pair: Pair) -> Iterator[Connection]:
    """Return a superuser's connection to the standby's database."""
    with pair.standby.connect() as conn:
        yield conn


@pytest.fixture
def writer(pair: Pair) -> Iterator[Connection]:
    """Return a superuser's connection to the writer's database."""
    with pair.writer.connect() as conn:
        yield conn


# Create ----------------------------------------------------------------------------------------


@both_ways
def test_create_copies_the_values(host: ProviderHost, props: dict[str, Any], pair: Pair) -> None:
    made = host.create(props)
    assert pair.last(pair.standby) == (500, True)
    assert (made.outs["count"], made.outs["drift"]) == ("2", "")
    assert made.id == pair.writer.name
    assert PASSWORD not in json.dumps(made.outs)


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ("DROP SEQUENCE s", r"the standby lacks public\.s"),
        ("ALTER SEQUENCE s CYCLE", r"public\.s differ in definition"),
    ],
)
def test_refuses_what_differs_and_names_the_difference(
    host: ProviderHost, props: dict[str, Any], standby: Connection, by_hand: str, said: str
) -> None:
    standby.execute(by_hand)
    with pytest.raises(HostError, match=said):
        host.create(props)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"tolerance": -1}, "-1 calls; expected a whole number from 0 on"),
        ({"tolerance": 0.5}, "0.5 calls; expected a whole number from 0 on"),
        ({"databases": []}, "none; expected at least one name"),
    ],
)
def test_what_makes_no_sense_is_refused_at_preview(
    host: ProviderHost, props: dict[str, Any], wish: dict[str, Any], reason: str
) -> None:
    assert host.check({}, props | wish) == {next(iter(wish)): reason}


# Change ----------------------------------------------------------------------------------------


def test_a_change_in_place_of_the_databases_copies_the_new_ones_too(
    host: ProviderHost,
    props: dict[str, Any],
    pair: Pair,
    make_database: Callable[..., Database],
) -> None:
    made = host.create(props)
    name = f'{pair.writer.name} "odd"'
    for side, value in ((pair.writer, 7), (pair.standby, 1)):
        database = make_database(side.lab.major, name)
        set_closed(database, closed=value == 1)
        with database.connect() as conn:
            conn.execute(f"CREATE SEQUENCE s; SELECT setval('s', {value})")
    wish = props | {"databases": [*props["databases"], name]}
    change = host.diff(made, wish)
    assert (change.changes, change.replaces) == (True, [])
    assert host.update(made, wish).outs["count"] == "3"
    assert pair.last(Database(pair.standby.lab, name)) == (7, True)


@both_ways
def test_a_change_in_place_of_the_roles_copies_the_other_way(
    host: ProviderHost, props: dict[str, Any], pair: Pair, standby: Connection
) -> None:
    """As a switch exchanges them. Nothing makes it be replaced."""
    made = host.create(props)
    set_closed(pair.standby, closed=False)
    set_closed(pair.writer, closed=True)
    standby.execute("SELECT setval('s', 900)")
    wish = props | {"writer": props["standby"], "standby": props["writer"], "tolerance": 5}
    change = host.diff(made, wish)
    assert (change.changes, change.replaces) == (True, [])
    host.update(made, wish)
    assert pair.last(pair.writer) == (900, True)


# Drift -----------------------------------------------------------------------------------------


def test_what_the_tolerance_allows_is_no_drift(
    host: ProviderHost, props: dict[str, Any], writer: Connection
) -> None:
    made = host.create(props)
    writer.execute("SELECT setval('s', 1500)")
    live = host.read(made)
    assert live is not None
    assert not host.diff(live, props).changes


def test_removed_by_hand_it_is_named_until_it_is_made_again(
    host: ProviderHost, props: dict[str, Any], pair: Pair, standby: Connection
) -> None:
    made = host.create(props)
    standby.execute("DROP SEQUENCE s")
    live = host.read(made)
    assert live is not None
    assert live.outs["drift"] == "public.s"
    with pytest.raises(HostError, match=r"the standby lacks public\.s; make them there"):
        host.update(live, props)
    standby.execute("CREATE SEQUENCE s")
    host.update(live, props)
    assert pair.last(pair.standby) == (500, True)


# Delete ----------------------------------------------------------------------------------------


# Trouble ---------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_state_stays_small_with_50_000_sequences(
    host: ProviderHost, props: dict[str, Any], pair: Pair, writer: Connection
) -> None:
    pair.both(MANY % 50_000)
    made = host.create(props)
    assert made.outs["count"] == "50002"
    writer.execute("""
        DO $$ BEGIN
            FOR i IN 1..50000 LOOP
                PERFORM setval(('s' || i)::regclass, 5000);
                IF i % 1000 = 0 THEN COMMIT; END IF;
            END LOOP;
        END $$
    """)
    live = host.read(made)
    assert live is not None
    assert live.outs["drift"].endswith(" and 49995 more")
    assert len(json.dumps(live.outs)) < 2000
    host.update(live, props)
    again = host.read(live)
    assert again is not None
    assert again.outs["drift"] == ""
