"""The workload's checker on a real server: it proves a clean run and finds what is planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.postgres.server import LabServer
from lab.workload import checker, contents, transactions
from lab.workload.checker import Databases
from lab.workload.login import APP_DATABASE, BENCH_DATABASE
from lab.workload.records import read_all
from tests.fixtures.workload import side_of, value


def test_a_run_without_trouble_is_proved(seeded: LabServer, recorded: Path) -> None:
    report = checker.check(recorded, side_of(seeded))
    assert report.problems == []
    assert report.keys.acknowledged >= 800
    assert report.keys.ambiguous == report.keys.refused == 0
    assert report.sequences_checked >= 15
    assert {record.kind for log in read_all(recorded) for record in log.records} == set(
        transactions.DRAWN
    )
    with seeded.connect(BENCH_DATABASE) as conn:
        assert value(conn, "SELECT count(*) FROM pgbench_history") > 0


# What is done to the server behind everybody's back, and what the checker must say to it.
PLANTED = {
    "a lost transaction": (
        "DELETE FROM shop.request WHERE (client, n) = (%(client)s, 1)",
        "acknowledged transactions lost",
    ),
    "a transaction that nobody sent": (
        "INSERT INTO shop.request VALUES (%(client)s, 99999, 1)",
        "that nobody recorded",
    ),
    "a transaction applied twice": (
        "INSERT INTO shop.audit_trail VALUES (%(client)s, 1)",
        "not exactly once in the audit trail",
    ),
    "a lost order line": (
        "DELETE FROM shop.order_line WHERE line_id = (SELECT max(line_id) FROM shop.order_line)",
        "without exactly two lines",
    ),
    "a lost half of a transfer": (
        "DELETE FROM shop.entry WHERE ctid = (SELECT max(ctid) FROM shop.entry)",
        "add up to zero",
    ),
    "an update of a balance applied twice": (
        "UPDATE shop.account SET balance = balance + 1 WHERE account_id = 7",
        "opening balance",
    ),
    "a lost update of a document": (
        "UPDATE shop.document SET body = body || '{\"hits\": -1}' WHERE document_id = 7",
        "document updates lost or doubled",
    ),
    "a client's updates out of order": (
        "UPDATE shop.client_state SET body = '{\"n\": 1}' WHERE client = %(client)s",
        "not of their last document transaction",
    ),
    "a lost delete": (
        "INSERT INTO shop.basket VALUES (%(client)s, 0)",
        "not their client's last one",
    ),
    "an event twice": (
        "INSERT INTO shop.event (client, n, payload) SELECT client, n, '{}' FROM shop.event"
        " WHERE client <> 0 LIMIT 1",
        "events without their key",
    ),
    "an invoice number twice": (
        "UPDATE shop.orders SET invoice = 500001 WHERE order_id = 77",
        "issued twice",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(seeded: LabServer, recorded: Path, name: str) -> None:
    statement, expected = PLANTED[name]
    client = read_all(recorded)[0].client
    with (
        seeded.connect(APP_DATABASE) as app,
        seeded.connect(BENCH_DATABASE) as bench,
        app.transaction(force_rollback=True),
    ):
        app.execute(statement.encode(), {"client": client})
        found = checker.prove(recorded, Databases(app, bench), None).problems
    assert any(expected in line for line in found), found


@pytest.mark.slow
def test_a_pgbench_transaction_applied_twice_is_found(seeded: LabServer, recorded: Path) -> None:
    with (
        seeded.connect(APP_DATABASE) as app,
        seeded.connect(BENCH_DATABASE) as bench,
        bench.transaction(force_rollback=True),
    ):
        bench.execute("INSERT INTO pgbench_history SELECT 1, 1, 1, 12345, now(), ''")
        (found,) = checker.prove(recorded, Databases(app, bench), None).problems
    assert "pgbench" in found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shop.orders_order_id_seq", """shop."Invoice Number's\""""])
def test_a_sequence_set_back_is_found(seeded: LabServer, recorded: Path, name: str) -> None:
    """As far as the clients of this record have seen it: other tests go on with the sequence."""
    with seeded.connect(APP_DATABASE) as conn:
        last = value(conn, "SELECT pg_sequence_last_value(%s::regclass)", name)

        def checked_at(value: int) -> checker.Report:
            conn.execute("SELECT setval(%s::regclass, %s)", (name, value))
            return checker.check(recorded, side_of(seeded))

        try:
            (behind,) = checked_at(1).sequences.behind
            assert behind.name == name
            assert checked_at(behind.used - 1).sequences_wrong == 1
            assert checked_at(behind.used).sequences_wrong == 0
        finally:
            conn.execute("SELECT setval(%s::regclass, %s)", (name, last))


def test_the_report_is_json_with_the_verdict(seeded: LabServer, recorded: Path) -> None:
    summary = json.loads(checker.check(recorded, side_of(seeded)).to_json())
    assert summary["ok"] is True
    assert summary["sequences_wrong"] == 0


@pytest.mark.slow
def test_tables_that_differ_are_found_whatever_their_types(seeded: LabServer) -> None:
    changes = (
        "DELETE FROM shop.sampler WHERE sample_id = (SELECT min(sample_id::text)::uuid"
        " FROM shop.sampler)",
        'UPDATE "Odd Names"."Reading" SET value = -1 WHERE sensor = 5',
        "INSERT INTO shop.audit_trail VALUES (1, 1), (1, 1)",
    )
    with seeded.connect(APP_DATABASE) as one, seeded.connect(APP_DATABASE) as other:
        assert contents.differences(one, other) == []
        with one.transaction(force_rollback=True):
            for change in changes:
                one.execute(change.encode())
            found = {difference.table for difference in contents.differences(one, other)}
    assert {("shop", "sampler"), ("shop", "audit_trail")} <= found
    assert any(name.startswith("Reading") for _, name in found)


def test_a_table_missing_on_one_side_differs(seeded: LabServer) -> None:
    with (
        seeded.connect(APP_DATABASE) as one,
        seeded.connect(APP_DATABASE) as other,
        one.transaction(force_rollback=True),
    ):
        one.execute("CREATE TABLE shop.extra (id int)")
        (found,) = contents.differences(one, other)
    assert (found.table, found.standby) == (("shop", "extra"), None)
