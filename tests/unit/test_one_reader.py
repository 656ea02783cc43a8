"""Each catalog of replication is read in one module: two readers of one fact come to differ."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("bluegreen", "bluegreen_cli", "components", "dynamic_providers", "hooks")

# What acts in the server must look in the same statement, between which nothing may happen; a
# comparison of whole sides reads every catalog there is, each in one query; a mark is no fact;
# the probe tries what others send.
BESIDE = {
    "bluegreen/switch/old_direction.py",
    "bluegreen/register/sql/sessions.sql",
    "bluegreen/switch/readiness/fingerprint_sql.py",
    "bluegreen/postgres/owned.py",
    "bluegreen/probe/catalogs.py",
    "bluegreen/probe/functions.py",
    "bluegreen/probe/objects.py",
    "bluegreen/probe/positions.py",
    "bluegreen/probe/scrub.py",
    "bluegreen/probe/writes.py",
}
READERS = {
    "pg_replication_slots": "bluegreen/postgres/slots.py",
    "pg_stat_replication": "bluegreen/postgres/slots.py",
    "pg_stat_replication_slots": "bluegreen/replication/slot.py",
    "pg_subscription": "bluegreen/postgres/subscriptions.py",
    "pg_subscription_rel": "bluegreen/postgres/subscriptions.py",
    "pg_stat_subscription": "bluegreen/postgres/subscriptions.py",
    "pg_stat_subscription_stats": "bluegreen/postgres/subscriptions.py",
    "pg_replication_origin_status": "bluegreen/postgres/subscriptions.py",
    "pg_publication": "bluegreen/postgres/publications.py",
    "pg_publication_rel": "bluegreen/postgres/publications.py",
    "pg_publication_namespace": "bluegreen/postgres/publications.py",
    "pg_publication_tables": "bluegreen/postgres/publications.py",
    "max_slot_wal_keep_size": "bluegreen/postgres/slot_limits.py",
    "idle_replication_slot_timeout": "bluegreen/postgres/slot_limits.py",
}


def _sources() -> dict[str, str]:
    found = [
        path
        for folder in PRODUCT
        for kind in ("*.py", "*.sql")
        for path in (ROOT / folder).rglob(kind)
    ]
    assert len(found) > 100
    return {str(path.relative_to(ROOT)): path.read_text() for path in found}


# Nobody has said in which of Aurora's two spaces these count, and it has no statistics of its WAL.
_NOT_ON_AURORA = re.compile(r"pg_current_wal_(insert|flush)_lsn|pg_stat_wal\b|pg_stat_get_wal\b")


def test_positions_come_from_the_function_that_counts_as_slots_do() -> None:
    users = {path for path, text in _sources().items() if _NOT_ON_AURORA.search(text)}
    users -= {"bluegreen/probe/catalogs.py", "bluegreen/probe/positions.py"}  # questions
    assert users == {"bluegreen/postgres/wal.py"}  # which says why


@pytest.mark.parametrize("catalog", READERS)
def test_a_catalog_is_read_in_one_module(catalog: str) -> None:
    # In SQL only: after FROM or JOIN, in a subquery's list, as a setting's or a function's name.
    reads = re.compile(
        rf"\b(?:FROM|JOIN)\s+(?:pg_catalog\.)?{catalog}\b"
        rf"|,\s+pg_catalog\.{catalog}\b|name = '{catalog}'|'{catalog}', true\)"
    )
    readers = {path for path, text in _sources().items() if reads.search(text)}
    assert READERS[catalog] in readers
    assert readers - BESIDE == {READERS[catalog]}


def test_an_exception_is_one() -> None:
    catalogs = re.compile("|".join(READERS))
    sources = _sources()
    assert all(catalogs.search(sources[path]) for path in BESIDE)
