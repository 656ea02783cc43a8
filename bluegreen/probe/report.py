"""What the probe has found, to be pasted into a report: a table in Markdown, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bluegreen.probe.row import Connection, Outcome, Result
from bluegreen.probe.run import outcomes

_FACTS = """
SELECT current_setting('server_version'), current_setting('is_superuser') = 'on',
       EXISTS (SELECT FROM pg_catalog.pg_roles
                WHERE rolname = 'rds_superuser' AND pg_catalog.pg_has_role(oid, 'USAGE')),
       pg_catalog.pg_is_in_recovery(),
       EXISTS (SELECT FROM pg_catalog.pg_proc WHERE proname = 'aurora_version')"""


def facts(conn: Connection, version: str) -> dict[str, str]:
    """Return what the findings are about, without a name of the user's."""
    row = conn.execute(_FACTS).fetchone()
    assert row is not None  # a SELECT without FROM has one row
    server, superuser, member, recovery, aurora = row
    role = "a superuser" if superuser else "in rds_superuser" if member else "an ordinary role"
    return {
        "bluegreen": version,
        "PostgreSQL": str(server).split()[0],
        "Aurora": "yes" if aurora else "no",
        "role": role,
        "endpoint": "a reader" if recovery else "the writer",
    }


def to_json(about: Mapping[str, str], results: Sequence[Result], left: Sequence[str]) -> Any:
    """Return the findings for programs."""
    return {
        "about": dict(about),
        "rows": [
            {
                "what": one.row.what,
                "outcome": str(one.outcome),
                "code": one.code,
                "said": one.said,
                "statement": one.row.statement,
                "right": one.row.right,
                "settles": one.row.settles,
            }
            for one in results
        ],
        "left": list(left),
    }


def to_markdown(
    about: Mapping[str, str], results: Sequence[Result], left: Sequence[str]
) -> list[str]:
    """Return the findings as lines of Markdown."""
    lines = [", ".join(f"{key} {value}" for key, value in about.items()), ""]
    lines += [", ".join(f"{count} {outcome}" for outcome, count in outcomes(results)), ""]
    lines += ["| outcome | what | the words |", "|---|---|---|"]
    lines += [f"| {one.outcome} | {cell(one.row.what)} | {cell(_words(one))} |" for one in results]
    bad = [one for one in results if one.outcome in (Outcome.REFUSED, Outcome.DIFFERS)]
    if bad:
        lines += ["", "What is refused, or differs:", ""]
        lines += [
            f"* {one.row.what}: `{one.row.statement}`; expected: {one.row.right}; it settles:"
            f" {one.row.settles}"
            for one in bad
        ]
    if left:
        lines += ["", "Left behind; remove it by hand:", "", *(f"* {one}" for one in left)]
    return lines


def _words(one: Result) -> str:
    return ": ".join(part for part in (one.code, one.said) if part)


def cell(text: str) -> str:
    """Return text as a cell of a table in Markdown."""
    return text.replace("|", "\\|")
