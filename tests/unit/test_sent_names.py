"""The reader of what the product sends finds it wherever SQL and AWS calls may stand."""

from __future__ import annotations

import ast
import re

import pytest

from tests.fixtures import sent_names

_SOURCE = '''\
"""A docstring names pg_doc() and pg_docs."""
PLAIN = "SELECT pg_plain() FROM pg_catalog.pg_one"
BLOCK = """\\
DO $do$ BEGIN PERFORM pg_block(1); END $do$"""
PARTS = ("SELECT pg_first() " f"FROM {table}, pg_two WHERE pg_second({x})")
def f(conn):
    """Another one: pg_doc()."""
    conn.execute(sql.SQL("SELECT pg_composed({})").format(x))
    conn.execute(b"SELECT pg_bytes()")
'''


def _texts() -> list[str]:
    return list(sent_names.python_texts(ast.parse(_SOURCE)))


def test_functions_are_found_in_every_kind_of_string() -> None:
    found = {name for text in _texts() for name in sent_names.called(text)}
    named = {"plain", "block", "first", "second", "composed", "bytes"}
    assert {name for name in found if name.startswith("pg_")} == {f"pg_{one}" for one in named}


def test_catalogs_are_found_beside_functions() -> None:
    found = {name for text in _texts() for name in sent_names.mentioned(text)}
    assert {"pg_one", "pg_two"} <= found
    assert not {name for name in found if name in ("pg_plain", "pg_doc", "pg_docs")}


@pytest.mark.parametrize(
    ("file", "function"),
    [
        ("bluegreen/register/sql/attempt.sql", "pg_xact_status"),
        ("bluegreen/postgres/server.py", "has_parameter_privilege"),
        ("bluegreen/switch/fence.py", "pg_stat_get_activity"),
        ("bluegreen/switch/drain.py", "pg_logical_emit_message"),
        ("bluegreen/replication/subscription/subscribing.py", "pg_replication_origin_advance"),
    ],
)
def test_a_call_that_is_known_to_be_there_is_found(file: str, function: str) -> None:
    path = sent_names.ROOT / file
    assert path in sent_names.sources()
    assert function in {name for text in sent_names.texts(path) for name in sent_names.called(text)}


def test_every_file_of_sql_has_something() -> None:
    files = [path for path in sent_names.sources() if path.suffix == ".sql"]
    assert len(files) >= 6
    for file in files:
        assert any(sent_names.called(text) for text in sent_names.texts(file)), file


def test_a_call_has_no_space_before_its_parenthesis() -> None:
    """It would not be found."""
    spaced = re.compile(r"\b(?:pg_\w+|aurora_\w+|has_\w+_privilege)\s+\(")
    for path in sent_names.sources():
        for text in sent_names.texts(path):
            assert not spaced.search(text), path


def test_no_name_of_the_server_is_put_together() -> None:
    for path in sent_names.sources():
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [one.value for one in node.values if isinstance(one, ast.Constant)]
                    assert not [p for p in parts if re.search(r"\bpg_catalog\.\w*$", str(p))], path


def test_every_method_of_a_client_is_an_operation_that_is_read() -> None:
    found = sent_names.methods_of_clients()
    assert found >= {"describe_db_clusters", "reboot_db_instance", "modify_db_instance"}
    assert found <= sent_names.operations() | sent_names.OTHER_METHODS
    assert found - {"get_paginator"} <= sent_names.aws_calls()


def test_services_and_pages_are_found() -> None:
    assert sent_names.services() == {"rds", "route53", "secretsmanager", "sts"}
    assert "describe_db_cluster_parameters" in sent_names.aws_calls()
