"""Sequence values on real servers: every kind of sequence gives the same next value on both sides.

The next value is what counts: `last_value` and `is_called` may say the same thing in two ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import errors, sql

from bluegreen.errors import Refused, Retry
from bluegreen.replication import sequences
from bluegreen.replication.sequences import Reader, Value
from tests.fixtures.databases import Connection, Database
from tests.fixtures.postgres import PAIRS, PASSWORD
from tests.fixtures.zoo import make_zoo, write_zoo


@dataclass(frozen=True, slots=True)
class Kind:
    """How a sequence is made on both sides, and what happens to it on the writer alone."""

    made: str
    moved: str
    name: str
    taken: str = ""
    """What AWS's superuser does with it: extensions are its own."""


def _plain(name: str, options: str = "", moved: str = "SELECT nextval('{0}')") -> Kind:
    return Kind(f"CREATE SEQUENCE {name} {options}", moved.format(name), name)


_INTO_EXTENSION = "ALTER EXTENSION plpgsql ADD SEQUENCE ext"

KINDS = {
    "owned": Kind(
        "CREATE TABLE o (id bigserial PRIMARY KEY, note text)",
        "INSERT INTO o (note) VALUES ('a'), ('b')",
        "o_id_seq",
    ),
    "identity": Kind(
        "CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY (START 7) PRIMARY KEY, note text)",
        "INSERT INTO i (note) VALUES ('a')",
        "i_id_seq",
    ),
    "standalone": _plain("standalone"),
    "odd name": Kind(
        'CREATE SEQUENCE "Odd. ""name"" %s {}"',
        """SELECT nextval('"Odd. ""name"" %s {}"')""",
        '"Odd. ""name"" %s {}"',
    ),
    "63 bytes": _plain("s" * 63),
    "descending": _plain("down", "INCREMENT -5 MINVALUE -1000 MAXVALUE -1 START -10"),
    "steps": _plain("steps", "INCREMENT 7 MINVALUE 3 START 10"),
    "cycled": _plain(
        "cycled", "MAXVALUE 3 CYCLE", "SELECT nextval('{0}') FROM generate_series(1, 4)"
    ),
    "cycled, at its end": _plain("cycled_end", "MAXVALUE 3 CYCLE", "SELECT setval('{0}', 3)"),
    "cached": _plain("cached", "CACHE 50"),
    "never called": _plain("never_called", "START 42", "SELECT 1"),
    "set, not called": _plain("set_not_called", "", "SELECT setval('{0}', 77, false)"),
    "restarted": _plain("restarted", "", "SELECT nextval('{0}'); ALTER SEQUENCE {0} RESTART"),
    "restarted elsewhere": _plain("restarted_at", "", "ALTER SEQUENCE {0} RESTART WITH 1000"),
    "set to its start": _plain("at_start", "", "SELECT setval('{0}', 1, true)"),
    "smallint at its end": _plain("small", "AS smallint", "SELECT setval('{0}', 32767)"),
    "integer at its end": _plain("middle", "AS integer", "SELECT setval('{0}', 2147483647)"),
    "bigint at its end": _plain("big", "", "SELECT setval('{0}', 9223372036854775807)"),
    "bigint before its end": _plain("big2", "", "SELECT setval('{0}', 9223372036854775807, false)"),
    "bigint at its other end": _plain(
        "least", "INCREMENT -1 MINVALUE -9223372036854775808 MAXVALUE 0",
        "SELECT setval('{0}', -9223372036854775808, false)",
    ),
    "unlogged": Kind("CREATE UNLOGGED SEQUENCE u", "SELECT nextval('u')", "u"),
    "an extension's": Kind(
        "CREATE SEQUENCE ext",
        "SELECT nextval('ext')",
        "ext",
        _INTO_EXTENSION,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sides:
    """A writer's and a standby's database; the tool's own sessions to both."""

    writer: Connection
    standby: Connection
    writer_database: Database
    standby_database: Database

    def both(self, statements: str) -> None:
        """Run `statements` on both."""
        for conn in (self.writer, self.standby):
            conn.execute(statements)

    def both_as_superuser(self, statements: str) -> None:
        """Run `statements` on both as AWS's superuser."""
        for database in (self.writer_database, self.standby_database):
            with database.lab.as_superuser(database.name) as admin:
                admin.execute(statements)

    def copy(self) -> int:
        """Copy all values."""
        return sequences.copy(self.writer, self.standby)


both_ways = pytest.mark.parametrize("sides", PAIRS, indirect=True)


@pytest.fixture
def sides(
    request: pytest.FixtureRequest, make_database: Callable[..., Database]
) -> Iterator[Sides]:
    """Return two empty databases, the standby's closed to writers."""
    old, new = map(make_database, getattr(request, "param", (16, 18)))
    _close(new)
    with old.connect() as writer, new.connect() as standby:
        yield Sides(writer, standby, old, new)


def _close(database: Database) -> None:
    with database.connect() as conn:
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
                sql.Identifier(database.name)
            )
        )


def _next(database: Database, name: str) -> int | str:
    """Return the next value, or the error that it is; a new session has none in its cache."""
    with database.connect() as conn:
        try:
            row = conn.execute("SELECT nextval(%s)", (name,)).fetchone()
        except psycopg.Error as error:
            return str(error.sqlstate)
    assert row is not None
    return int(row[0])


@both_ways
def test_every_kind_goes_on_where_the_writer_would(sides: Sides) -> None:
    for kind in KINDS.values():
        sides.both(kind.made)
        if kind.taken:
            sides.both_as_superuser(kind.taken)
        sides.writer.execute(kind.moved)
    assert sides.copy() == len(KINDS)
    expected = {what: _next(sides.writer_database, kind.name) for what, kind in KINDS.items()}
    found = {what: _next(sides.standby_database, kind.name) for what, kind in KINDS.items()}
    assert found == expected
    assert expected["restarted elsewhere"] == 1000  # `coalesce(last_value, start)` would give 1
    assert expected["cached"] == 51
    assert expected["smallint at its end"] == "2200H"


@both_ways
def test_the_zoo_goes_on_where_the_writer_would(sides: Sides) -> None:
    make_zoo(sides.writer, major=16)
    make_zoo(sides.standby, rows=False, major=16)
    write_zoo(sides.writer, 1)
    count = sides.copy()
    values = Reader(sides.writer).read()
    assert Reader(sides.standby).read() == values
    assert len(values) == count > 10


def test_a_temporary_sequence_is_its_sessions_own(sides: Sides) -> None:
    sides.writer.execute("CREATE TEMPORARY SEQUENCE mine; SELECT nextval('mine')")
    assert sides.copy() == 0


def test_the_writers_value_counts_also_when_it_was_set_back(sides: Sides) -> None:
    sides.both("CREATE SEQUENCE s")
    sides.writer.execute("SELECT setval('s', 1000)")
    sides.copy()
    sides.writer.execute("SELECT setval('s', 10)")
    sides.copy()
    assert _next(sides.standby_database, "s") == 11


@both_ways
def test_what_is_equal_is_not_written(sides: Sides) -> None:
    sides.both("CREATE SEQUENCE s; SELECT nextval('s')")
    sides.copy()
    # setval would set it to 0; a nextval leaves 32 values logged ahead.
    assert sides.standby.execute("SELECT log_cnt FROM s").fetchone() == (32,)


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ("DROP SEQUENCE s", "the standby lacks public.s; make them there"),
        ("ALTER SEQUENCE s INCREMENT 2", "public.s differ in definition"),
        ("ALTER SEQUENCE s AS int", "public.s differ in definition"),
        ("ALTER SEQUENCE s CYCLE", "public.s differ in definition"),
    ],
    ids=["missing", "increment", "type", "cycle"],
)
def test_another_definition_is_refused_by_name_and_nothing_is_written(
    sides: Sides, by_hand: str, said: str
) -> None:
    sides.both("CREATE SEQUENCE a; CREATE SEQUENCE s")
    sides.writer.execute("SELECT nextval('a')")
    sides.standby.execute(by_hand)
    with pytest.raises(Refused, match=said):
        sides.copy()
    assert _next(sides.standby_database, "a") == 1


def test_many_that_differ_are_counted_not_listed(sides: Sides) -> None:
    sides.writer.execute("""
        DO $$ BEGIN FOR i IN 10..30 LOOP EXECUTE format('CREATE SEQUENCE s%s', i); END LOOP; END $$
    """)
    with pytest.raises(Refused, match=r"public\.s14 and 16 more"):
        sides.copy()


def test_an_open_standby_is_refused(sides: Sides) -> None:
    """The two sides exchanged by mistake would set the writer's sequences back."""
    sides.both("CREATE SEQUENCE s; SELECT setval('s', 5)")
    sides.writer.execute("SELECT setval('s', 500)")
    with pytest.raises(Refused, match="is open to writers, so it is no standby"):
        sequences.copy(sides.standby, sides.writer)
    assert _next(sides.writer_database, "s") == 501


def test_who_has_slept_since_the_look_sets_no_used_value_back(sides: Sides) -> None:
    """The side has been opened meanwhile, by another's switch, and its clients call sequences."""
    sides.both("CREATE SEQUENCE s")
    values = Reader(sides.writer).read()
    name = sql.Identifier(sides.standby_database.name)
    sides.standby.execute(
        sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(name)
    )
    assert _next(sides.standby_database, "s") == 1
    with pytest.raises(Refused, match="is open to writers, so it is no standby"):
        sequences.pre_set(sides.standby, values)
    assert _next(sides.standby_database, "s") == 2


# Privileges ------------------------------------------------------------------------------------


@pytest.fixture
def weak(sides: Sides) -> Iterator[str]:
    """Return a role that may connect and nothing else, on both sides."""
    role = f'weak "{sides.writer_database.name}"'
    name = sql.Identifier(role)
    for conn in (sides.writer, sides.standby):
        conn.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(PASSWORD))
        )
    yield role
    for database in (sides.writer_database, sides.standby_database):
        with database.lab.as_superuser(database.name) as conn:
            conn.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


def _as(database: Database, role: str) -> Connection:
    return database.connect(
        user=role,
        password=PASSWORD,
        options="-c default_transaction_read_only=off -c search_path=pg_catalog",
    )


@both_ways
@pytest.mark.parametrize("called", [True, False])
def test_a_missing_privilege_is_named_with_its_grant(
    sides: Sides, weak: str, *, called: bool
) -> None:
    sides.both('CREATE SCHEMA "Odd S"; CREATE SEQUENCE "Odd S"."seq %s"')
    if called:
        sides.writer.execute('SELECT nextval(\'"Odd S"."seq %s"\')')
    with _as(sides.writer_database, weak) as conn:
        with pytest.raises(Refused, match=r'no privilege on "Odd S"."seq %s"') as raised:
            Reader(conn).read()
        grants = str(raised.value).partition("SELECT and UPDATE: ")[2]
        sides.writer.execute(grants)
        assert list(Reader(conn).read().values()) == [Value(1, called)]


def test_a_privilege_that_lacks_on_the_standby_only_is_named_too(sides: Sides, weak: str) -> None:
    sides.both("CREATE SEQUENCE s")
    name = sql.Identifier(weak)
    sides.standby.execute(sql.SQL("GRANT SELECT ON SEQUENCE s TO {}").format(name))
    with (
        _as(sides.standby_database, weak) as standby,
        pytest.raises(Refused, match=r"no privilege on public\.s; expected .* GRANT SELECT, U"),
    ):
        sequences.write(standby, {"public.s": Value(5, called=True)})


def test_an_extensions_sequence_that_we_may_not_read_is_left_alone(sides: Sides, weak: str) -> None:
    sides.both("CREATE SEQUENCE ext")
    sides.both_as_superuser(_INTO_EXTENSION)
    with _as(sides.writer_database, weak) as conn:
        assert Reader(conn).read() == {}
        assert sequences.definitions(conn) == {}


@both_ways
def test_one_that_is_dropped_while_it_is_read_is_tried_again(sides: Sides) -> None:
    sides.both("CREATE SEQUENCE s")
    reader = Reader(sides.writer)
    sides.writer.execute("DROP SEQUENCE s")
    with pytest.raises(Retry, match="dropped while they were read; try again"):
        reader.read()


# Drift -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "moved", "drifted"),
    [
        ("", "SELECT setval('s', 11)", False),
        ("", "SELECT setval('s', 12)", True),
        ("", "SELECT setval('s', 12, false)", False),
        ("INCREMENT 5", "SELECT setval('s', 51)", False),
        ("INCREMENT 5", "SELECT setval('s', 56)", True),
        ("INCREMENT -5 MINVALUE -1000 MAXVALUE 1", "SELECT setval('s', -49)", False),
        ("INCREMENT -5 MINVALUE -1000 MAXVALUE 1", "SELECT setval('s', -54)", True),
        ("", "SELECT setval('s', 9223372036854775807)", True),
    ],
)
def test_drift_is_what_lies_more_calls_apart_than_tolerated(
    sides: Sides, options: str, moved: str, *, drifted: bool
) -> None:
    """Both begin at 1, not called; ten calls more are 11, not called."""
    sides.both(f"CREATE SEQUENCE s {options}")
    sides.writer.execute(moved)
    expected = ["public.s"] if drifted else []
    assert sequences.drift(sides.writer, sides.standby, tolerance=11) == expected
    assert sequences.drift(sides.standby, sides.writer, tolerance=11) == expected


def test_a_missing_one_and_one_of_another_definition_are_drift(sides: Sides) -> None:
    sides.both("CREATE SEQUENCE s; CREATE SEQUENCE t")
    sides.standby.execute("DROP SEQUENCE s; ALTER SEQUENCE t MAXVALUE 9")
    found = sequences.drift(sides.writer, sides.standby, tolerance=10**9)
    assert found == ["public.s", "public.t"]


# Many ------------------------------------------------------------------------------------------

MANY = """
DO $$ BEGIN
    FOR i IN 1..%s LOOP
        EXECUTE format('CREATE SEQUENCE s%%s', i);
        IF i %% 1000 = 0 THEN COMMIT; END IF;
    END LOOP;
END $$
"""


@both_ways
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(sequences.CHUNK + 1),
        pytest.param(10_000, marks=pytest.mark.slow),
        pytest.param(50_000, marks=pytest.mark.long),
    ],
)
def test_many_are_copied_with_the_default_lock_table(sides: Sides, count: int) -> None:
    sides.both(MANY % count)
    row = sides.writer.execute("SHOW max_locks_per_transaction").fetchone()
    assert row == ("64",)
    if count > 20_000:  # one statement for all is what would not do
        with pytest.raises(errors.OutOfMemory):
            sides.writer.execute("SELECT sum(last_value) FROM pg_sequences")
    oids = sides.writer.execute("SELECT oid::bigint FROM pg_class WHERE relkind='S'").fetchall()
    for some in sequences.chunks(oids, sequences.CHUNK):
        sides.writer.execute(
            "SELECT count(setval(o::oid::regclass, 1000 + o)) FROM unnest(%s::bigint[]) o",
            ([oid for (oid,) in some],),
        )
    assert sides.copy() == count
    values = Reader(sides.writer).read()
    assert Reader(sides.standby).read() == values
    assert min(value.last for value in values.values()) > 1000
    assert sequences.drift(sides.writer, sides.standby, tolerance=0) == []
