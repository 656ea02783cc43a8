"""`make docs-resources`: write docs/probe.md anew, from the probe's table.

A test fails when the page differs from what this makes of the code.
"""

from __future__ import annotations

from collections.abc import Iterable

from bluegreen.probe import table
from bluegreen.probe.report import cell
from bluegreen.probe.row import AwsRow, Row
from docs.documented import ROOT

PAGE = ROOT / "docs" / "probe.md"

_HEAD = """\
# The probe

`bluegreen probe` tries on a real server, and on AWS, each thing that this program asks of them.
This page is made from its table by `make docs-resources`; a test holds the table to the sources:
every function and catalog of PostgreSQL and every AWS call is in it.

```
bluegreen probe --cluster ID [--region R] [--reader] [--admin-secret-arn ARN] \\
    [--database DB] [--ca-file FILE] [--zone ID] [--write] [--json]
bluegreen probe --dsn CONNINFO [--database DB] [--reader] [--write] [--json]
```

* Each row *works*, is *refused* (with SQLSTATE, or AWS's code, and the server's words), *differs*
  from what the program expects, or was *not tried*, with the reason. Exit code: 0 when all that
  was tried works, 1 when something is refused, differs or was left behind, 2 when it could not go
  on, 130 when it was interrupted. PostgreSQL that is not Aurora has none of Aurora's functions:
  it ends with 1.
* Without `--write` it reads, or does what it tries in a transaction that is rolled back. Nothing
  waits for a lock for longer than 2 s.
* `--write` makes a publication of nothing, a slot, a subscription that is never enabled, a role
  with a random password and a database, all named `bluegreen_probe_` and eight letters, and
  removes each again, after a failure or Ctrl-C too. What could not be removed is named; so is
  what a run left that was killed. The statement that makes the role may stand in the server's
  log, with that password. With `--zone` it also sends a batch for a TXT record
  `_bluegreen-probe-...`, which Route 53 is expected to refuse.
* The table is safe to paste: names of hosts, clusters, databases, roles, tables, functions,
  accounts and secrets are replaced by what they are. In doubt read it over.
* Without `--ca-file` it connects with `sslmode=require`; with it, `verify-full`.
"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for title, rows in table.SECTIONS.items():
        parts.append(_section(title, rows))
    parts.append(_section("AWS, with --cluster", table.AWS))
    return "\n".join(parts)


def _section(title: str, rows: Iterable[Row | AwsRow]) -> str:
    lines = [
        f"## {title}",
        "",
        "| what | sent | right is | how | settles |",
        "|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in rows]
    return "\n".join(lines) + "\n"


def _line(row: Row | AwsRow) -> str:
    what = cell(row.what)
    if isinstance(row, Row) and row.question:
        what += " (the program does not rely on it)"
    sent = f"`{cell(row.statement)}`"
    return f"| {what} | {sent} | {cell(row.right)} | {row.mode} | {cell(row.settles)} |"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
