"""What has to be committed to be tried, in this order: made by `--write`, and removed again.

Each object has an unmistakable name and the tool's mark. The slot, which takes no comment, stands
in the mark of the publication, as slots of a deployment stand in that of the schema.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from bluegreen.probe.objects import Kind
from bluegreen.probe.positions import in_order, one_position, slot_behind
from bluegreen.probe.row import (
    Answer,
    Connect,
    Connection,
    Mode,
    Row,
    Verdict,
    any_answer,
    differs,
    not_tried,
    true,
    works,
)

_SLOT_MS = 15000
"""A slot's making waits for all transactions that write; cancelled, it leaves none."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a step that is more than one statement needs."""

    conn: Connection
    connect: Connect
    name: str
    password: str
    """Of the probe's own role, never shown."""


@dataclass(frozen=True, slots=True)
class Step:
    """A row that is tried by `--write`."""

    row: Row
    makes: Kind | None = None
    needs: Kind | None = None
    removes: Kind | None = None
    do: Callable[[Bench], Answer] | None = None
    """What is done in the place of the row's statement."""


def new_password() -> str:
    """Return the password of the probe's own role."""
    return secrets.token_urlsafe(32)


def _row(
    what: str,
    statement: str,
    settles: str,
    *,
    right: str = "taken",
    judge: Callable[[Answer], Verdict] = any_answer,
) -> Row:
    return Row(
        what=what,
        statement=statement,
        right=right,
        settles=settles,
        mode=Mode.WRITE,
        judge=judge,
        writer=True,
    )


_MAKE_SLOT = (
    "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot('bluegreen_probe',"
    " 'pgoutput')"
)


def _make_slot(bench: Bench) -> Answer:
    with bench.conn.transaction():
        bench.conn.execute(
            "SELECT set_config('statement_timeout', %s, true),"
            " set_config('lock_timeout', '0', true),"
            " set_config('client_connection_check_interval', '200ms', true)",
            (str(_SLOT_MS),),
        )
        return bench.conn.execute(
            "SELECT lsn::text FROM pg_catalog.pg_create_logical_replication_slot(%s, 'pgoutput')",
            (bench.name,),
        ).fetchall()


def _make_role(bench: Bench) -> Answer:
    bench.conn.execute(
        sql.SQL(
            "CREATE ROLE {} LOGIN CONNECTION LIMIT 2 PASSWORD {}; COMMENT ON ROLE {} IS {}"
        ).format(
            sql.Identifier(bench.name),
            sql.Literal(bench.password),
            sql.Identifier(bench.name),
            sql.Literal('{"made_by": "bluegreen"}'),
        )
    )
    return []


def _end_session(bench: Bench) -> Answer:
    """Log in as the probe's role, and end that session."""
    try:
        other = bench.connect(user=bench.name, password=bench.password)
    except psycopg.OperationalError as error:
        return [[None, str(error)]]
    with other:
        said = bench.conn.execute(
            "SELECT pg_catalog.pg_terminate_backend(%s)", (other.info.backend_pid,)
        ).fetchone()
        try:
            other.execute("SELECT pg_sleep(5)")
        except psycopg.OperationalError:
            return [[said is not None and said[0]]]
    return [[False]]


def _ended(answer: Answer) -> Verdict:
    if answer[0][0] is None:
        return not_tried(f"the new role could not log in: {answer[0][1]}")
    return works() if answer[0][0] is True else differs("the session went on")


def _drop_database(bench: Bench) -> Answer:
    """Drop the database while a session is in it."""
    with bench.connect(dbname=bench.name):
        bench.conn.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(bench.name))
        )
    return []


_ONE_SPACE = "Slot, commit and server count in one space of LSNs: the way back rests on it."

STEPS: tuple[Step, ...] = (
    Step(
        _row(
            "make a publication of nothing, with the tool's mark",
            "CREATE PUBLICATION bluegreen_probe; COMMENT ON PUBLICATION bluegreen_probe IS"
            ' \'{"made_by": "bluegreen", "slots": ["bluegreen_probe"]}\'',
            "The tool's mark is a comment.",
        ),
        makes=Kind.PUBLICATION,
    ),
    Step(
        _row(
            "make a slot",
            _MAKE_SLOT,
            "rds_replication, and a slot of pgoutput. It waits for transactions that write: 57014"
            f" after {_SLOT_MS / 1000:g} s says that one did not end.",
            right="its consistent point",
            judge=one_position,
        ),
        makes=Kind.SLOT,
        do=_make_slot,
    ),
    Step(
        _row(
            "where the new slot stands",
            "SELECT restart_lsn::text, confirmed_flush_lsn::text, pg_current_wal_lsn()::text"
            " FROM pg_catalog.pg_replication_slots WHERE slot_name = 'bluegreen_probe'",
            _ONE_SPACE,
            right="restart, confirmed and the server's own position, in this order",
            judge=slot_behind,
        ),
        needs=Kind.SLOT,
    ),
    Step(
        _row(
            "set the slot's stamp",
            "SELECT pg_catalog.pg_stat_reset_replication_slot('bluegreen_probe')",
            "A slot that was made anew is told by it.",
        ),
        needs=Kind.SLOT,
    ),
    Step(
        _row(
            "read the slot's stamp",
            "SELECT stats_reset IS NOT NULL FROM pg_catalog.pg_stat_replication_slots"
            " WHERE slot_name = 'bluegreen_probe'",
            "The same.",
            right="true",
            judge=true,
        ),
        needs=Kind.SLOT,
    ),
    Step(
        _row(
            "a commit is proven durable",
            "BEGIN; SELECT set_config('bluegreen.written', pg_current_wal_lsn()::text, false),"
            " pg_logical_emit_message(true, 'bluegreen', 'probe'); COMMIT;"
            " SELECT current_setting('synchronous_commit') <> 'off'"
            " AND pg_current_wal_lsn() > current_setting('bluegreen.written')::pg_lsn",
            "The switch asks this before its decision: otherwise each is aborted.",
            right="true",
            judge=true,
        ),
        needs=Kind.SLOT,
    ),
    Step(
        _row(
            "that commit, as the slot has it",
            "SELECT current_setting('bluegreen.written'), (SELECT max(lsn)::text"
            " FROM pg_logical_slot_peek_binary_changes('bluegreen_probe', NULL, NULL,"
            " 'proto_version', '1', 'publication_names', 'bluegreen_probe', 'messages', 'true')"
            " WHERE substr(data, 1, 1) = 'C'), pg_current_wal_lsn()::text",
            _ONE_SPACE,
            right="written before it, its own end, written now: in this order",
            judge=in_order,
        ),
        needs=Kind.SLOT,
    ),
    Step(
        _row(
            "drop the slot",
            "SELECT pg_catalog.pg_drop_replication_slot('bluegreen_probe')",
            "A deployment's slots are dropped.",
        ),
        needs=Kind.SLOT,
        removes=Kind.SLOT,
    ),
    Step(
        _row(
            "make a subscription that is never enabled, with the tool's mark",
            "CREATE SUBSCRIPTION bluegreen_probe CONNECTION 'host=localhost port=1 dbname=none"
            " user=none password=none connect_timeout=1' PUBLICATION bluegreen_probe WITH"
            " (connect = false, enabled = false, create_slot = false, slot_name = NONE);"
            ' COMMENT ON SUBSCRIPTION bluegreen_probe IS \'{"made_by": "bluegreen"}\'',
            "Subscriptions may be made and marked.",
        ),
        makes=Kind.SUBSCRIPTION,
    ),
    Step(
        _row(
            "set where it starts",
            "SELECT pg_catalog.pg_replication_origin_advance('pg_' || oid::int8, '0/1'::pg_lsn)"
            " FROM pg_catalog.pg_subscription WHERE subname = 'bluegreen_probe'",
            "A subscription starts at the clone's position, and at the mark.",
        ),
        needs=Kind.SUBSCRIPTION,
    ),
    Step(
        _row(
            "read where it starts",
            "SELECT o.remote_lsn::text FROM pg_catalog.pg_replication_origin_status o,"
            " pg_catalog.pg_subscription s WHERE o.external_id = 'pg_' || s.oid"
            " AND s.subname = 'bluegreen_probe'",
            "Every look at a subscription reads it.",
            right="0/1",
            judge=one_position,
        ),
        needs=Kind.SUBSCRIPTION,
    ),
    Step(
        _row(
            "drop the subscription",
            "COMMENT ON SUBSCRIPTION bluegreen_probe IS NULL; ALTER SUBSCRIPTION bluegreen_probe"
            " DISABLE; ALTER SUBSCRIPTION bluegreen_probe SET (slot_name = NONE);"
            " DROP SUBSCRIPTION bluegreen_probe",
            "It goes without a word to its publisher; its comment would stay, so that goes first.",
        ),
        needs=Kind.SUBSCRIPTION,
        removes=Kind.SUBSCRIPTION,
    ),
    Step(
        _row("drop the publication", "DROP PUBLICATION bluegreen_probe", "The owner may."),
        needs=Kind.PUBLICATION,
        removes=Kind.PUBLICATION,
    ),
    Step(
        _row(
            "make a role that logs in",
            "CREATE ROLE bluegreen_probe LOGIN PASSWORD '...'",
            "Needed for the next row. Its password is random, and never shown.",
        ),
        makes=Kind.ROLE,
        do=_make_role,
    ),
    Step(
        _row(
            "end another role's session",
            "SELECT pg_catalog.pg_terminate_backend(the session's pid)",
            "The fence: rds_superuser may end applications' sessions.",
            right="the session ends",
            judge=_ended,
        ),
        needs=Kind.ROLE,
        do=_end_session,
    ),
    Step(
        _row(
            "take LOGIN from that role, and give it back",
            "ALTER ROLE bluegreen_probe NOLOGIN; ALTER ROLE bluegreen_probe LOGIN",
            "The fence, and its end.",
        ),
        needs=Kind.ROLE,
    ),
    Step(
        _row("drop that role", "DROP ROLE bluegreen_probe", "It was made for this run only."),
        needs=Kind.ROLE,
        removes=Kind.ROLE,
    ),
    Step(
        _row(
            "make a database as the tool's is made",
            "CREATE DATABASE bluegreen_probe TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C'"
            " LC_CTYPE 'C' ALLOW_CONNECTIONS false CONNECTION LIMIT 4782",
            "The register has a database of its own.",
        ),
        makes=Kind.DATABASE,
    ),
    Step(
        _row(
            "mark it, close it to everybody, and let the tool in",
            'COMMENT ON DATABASE bluegreen_probe IS \'{"made_by": "bluegreen"}\';'
            " REVOKE ALL ON DATABASE bluegreen_probe FROM PUBLIC;"
            " ALTER DATABASE bluegreen_probe ALLOW_CONNECTIONS true CONNECTION LIMIT -1",
            "The same.",
        ),
        needs=Kind.DATABASE,
    ),
    Step(
        _row(
            "drop it while a session is in it",
            "DROP DATABASE bluegreen_probe WITH (FORCE)",
            "A session of AWS's own in it could not be ended, and would stop this.",
        ),
        needs=Kind.DATABASE,
        removes=Kind.DATABASE,
        do=_drop_database,
    ),
)

ROWS: tuple[Row, ...] = tuple(step.row for step in STEPS)
