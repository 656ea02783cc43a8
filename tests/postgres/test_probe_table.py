"""The probe's table has what the product sends, all of it, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bluegreen.probe import table
from bluegreen.probe.row import AwsRow, Mode, Row
from docs import make_probe
from tests.fixtures import sent_names
from tests.fixtures.postgres import MakeServer

# Asked although nothing relies on them: their answers say what could be relied on.
_QUESTIONS = {
    "aurora_version",
    "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
    "pg_postmaster_start_time",
    "pg_stat_database",
    "pg_stat_wal",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What servers have, by the names that a statement may use."""

    functions: set[str]
    relations: set[str]


@pytest.fixture(scope="module")
def known(shared_server: MakeServer) -> Known:
    """Return the system's functions and catalogs of the oldest and newest server that is there."""
    functions, relations = set(), set()
    for major in (16, 18):
        with shared_server(major).connect() as conn:
            functions |= {
                name
                for (name,) in conn.execute(
                    "SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace"
                )
            }
            relations |= {
                name
                for (name,) in conn.execute(
                    "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'v')"
                    " AND c.relnamespace = 'pg_catalog'::regnamespace UNION"
                    " SELECT 'information_schema.' || c.relname FROM pg_class c"
                    " WHERE c.relnamespace = 'information_schema'::regnamespace"
                )
            }
    return Known(functions, relations)


def _functions(texts: list[str], known: Known) -> set[str]:
    found = {name for text in texts for name in sent_names.called(text)}
    return {name for name in found if name in known.functions or name.startswith("aurora_")}


def _relations(texts: list[str], known: Known) -> set[str]:
    return {name for text in texts for name in sent_names.mentioned(text)} & known.relations


def _product() -> list[str]:
    return [text for path in sent_names.sources() for text in sent_names.texts(path)]


def _tried(*, questions: bool) -> list[str]:
    return [row.statement for row in table.ROWS if row.call is None and row.question <= questions]


def test_every_function_that_the_product_calls_is_tried(known: Known) -> None:
    used = _functions(_product(), known)
    assert len(used) > 100
    assert used - _functions(_tried(questions=False), known) == set()


def test_no_function_is_tried_that_the_product_does_not_call(known: Known) -> None:
    used = _functions(_product(), known)
    assert _functions(_tried(questions=False), known) - used == set()


def test_every_catalog_that_the_product_reads_is_tried(known: Known) -> None:
    used = _relations(_product(), known)
    assert len(used) > 60
    assert used - _relations(_tried(questions=False), known) == set()


def test_no_catalog_is_tried_that_the_product_does_not_read(known: Known) -> None:
    used = _relations(_product(), known)
    assert _relations(_tried(questions=False), known) - used == set()


def test_questions_are_few_and_named(known: Known) -> None:
    product, asked = _product(), _tried(questions=True)
    more = _functions(asked, known) | _relations(asked, known)
    assert more - _functions(product, known) - _relations(product, known) == _QUESTIONS


def test_every_call_of_the_product_is_sent_to_aws_and_no_other() -> None:
    assert sent_names.aws_calls() == {row.method for row in table.AWS}
    assert sent_names.services() == {row.service for row in table.AWS}


def test_a_name_is_missed_when_its_row_is_gone(known: Known) -> None:
    used = _functions(_product(), known)
    for name in ("pg_current_wal_lsn", "aurora_volume_logical_start_lsn", "setval"):
        left = [text for text in _tried(questions=False) if f"{name}(" not in text]
        assert used - _functions(left, known) >= {name}


def test_every_row_says_all_of_what_it_has_to() -> None:
    rows: list[Row | AwsRow] = [*table.ROWS, *table.AWS]
    for row in rows:
        assert row.what, row
        assert row.statement, row
        assert row.right, row
        assert row.settles, row
    names = [row.what for row in table.ROWS if row.mode is not Mode.WRITE]
    assert len(names) == len(set(names))


def test_what_is_committed_needs_write() -> None:
    for row in table.ROWS:
        words = row.statement.upper().split()
        commits = words[0] in ("CREATE", "ALTER", "DROP", "COMMENT", "BEGIN;")
        if commits and row.mode is Mode.READ:
            pytest.fail(f"{row.what}: {row.statement}")


def test_the_page_is_what_the_table_makes_of_it() -> None:
    assert make_probe.PAGE.read_text() == make_probe.page(), "run `make docs-resources`"
