"""What a function's text says it does."""

from __future__ import annotations

import pytest

from bluegreen.replication import function_text


@pytest.mark.parametrize(
    "body",
    [
        "BEGIN INSERT INTO audit VALUES (tg_tag); END",
        "begin\n  update t set a = 1;\nend",
        "BEGIN DELETE FROM ONLY t; END",
        "BEGIN PERFORM nextval('s'); END",
        "BEGIN EXECUTE format('...'); END",
        "BEGIN PERFORM dblink_exec('x', 'y'); END",
        "BEGIN x := log_ddl(); END",
        "SELECT app.log_ddl()",
        'BEGIN INSERT INTO "Odd".t VALUES (1); END',
        "BEGIN CREATE TABLE x (); END",
    ],
)
def test_what_may_write_is_told(body: str) -> None:
    assert function_text.may_write(body, {"log_ddl"})


@pytest.mark.parametrize(
    "body",
    [
        "BEGIN RAISE EXCEPTION 'no DROP TABLE here, INSERT INTO nothing'; END",
        "BEGIN -- we used to INSERT INTO audit\n RAISE NOTICE '%', tg_tag; END",
        "BEGIN /* DELETE FROM t */ IF tg_tag = 'CREATE TABLE' THEN RAISE NOTICE 'x'; END IF; END",
        "DECLARE r record; BEGIN FOR r IN SELECT * FROM pg_event_trigger_ddl_commands() LOOP"
        " RAISE LOG '%', r.command_tag; END LOOP; END",
        "BEGIN PERFORM pg_notify('ddl', 'it''s INSERT INTO'); END",
    ],
)
def test_what_only_mentions_it_is_not(body: str) -> None:
    assert not function_text.may_write(body, {"log_ddl"})


def test_calls_are_found_with_and_without_their_schema() -> None:
    body = 'SELECT f(x), app.g(y), "Odd".h (1) FROM t JOIN app.u USING (id) -- k(1)'
    assert function_text.calls(body) >= {(None, "f"), ("app", "g"), ("Odd", "h")}
    assert (None, "k") not in function_text.calls(body)
    assert function_text.unqualified_relations(body) == {"t"}
