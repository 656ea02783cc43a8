"""The register's SQL, read by PostgreSQL's own parsers: of SQL, and of PL/pgSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pglast
import pytest
from pglast import ast
from pglast.parser import parse_plpgsql_json

from bluegreen.register import schema

_FOLDER = Path(schema.__file__).with_name("sql")
_FILES = sorted(_FOLDER.glob("*.sql"))


def _name(function: ast.CreateFunctionStmt) -> tuple[str, ...]:
    return tuple(part.sval for part in function.funcname or ())


def _functions() -> Iterator[tuple[str, str, ast.CreateFunctionStmt]]:
    """Yield each function's name, text and tree."""
    for file in _FILES:
        for text in pglast.split(file.read_text()):
            function = pglast.parse_sql(text)[0].stmt
            if isinstance(function, ast.CreateFunctionStmt):
                yield _name(function)[-1], text, function


_ALL = list(_functions())


def test_every_file_is_run() -> None:
    assert {file.stem for file in _FILES} == set(schema._FILES)
    for file in _FILES:
        assert file.read_text() in schema.SCHEMA


@pytest.mark.parametrize(("text", "function"), [one[1:] for one in _ALL], ids=[n for n, *_ in _ALL])
def test_a_function_is_the_tools_and_finds_nobody_elses(
    text: str, function: ast.CreateFunctionStmt
) -> None:
    """A role's or a database's own search_path must not decide what a name means."""
    assert parse_plpgsql_json(text)
    assert _name(function)[0] == "bluegreen"
    settings = [option.arg for option in function.options or () if option.defname == "set"]
    paths = [one.args[0].val.sval for one in settings if one.name == "search_path"]
    # A procedure that commits may have no settings of its own.
    assert paths == ([] if function.is_procedure else ["pg_catalog"])


def test_what_is_made_can_be_made_again() -> None:
    """It is run at every version's first use, on a register of whatever version."""
    for one in pglast.parse_sql(schema.SCHEMA):
        made = one.stmt
        match made:
            case ast.CreateFunctionStmt():
                assert made.replace
            case ast.CreateSchemaStmt() | ast.CreateStmt() | ast.CreateSeqStmt() | ast.IndexStmt():
                assert made.if_not_exists
            case ast.AlterTableStmt():
                assert all(command.missing_ok for command in made.cmds or ())
            case ast.DropStmt():
                assert made.missing_ok
            case _:
                raise AssertionError(f"not foreseen: {made}")
