"""The pages say what the code says, and name tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from docs import documented, make_resources
from docs.documented import UndocumentedError
from docs.make_resources import Cell

PAGES = sorted(
    str(path.relative_to(documented.ROOT))
    for folder in (documented.ROOT, documented.ROOT / "docs")
    for path in folder.glob("*.md")
)

REASONS = 12  # characters: less is no reason


def test_the_page_is_what_the_code_makes_of_it() -> None:
    have = make_resources.PAGE.read_text()
    assert have == make_resources.page(), "run `make docs-resources` and commit the page"


def test_every_cell_names_tests_that_exist_or_a_reason() -> None:
    cells = make_resources.cells()
    assert make_resources.missing_tests(cells) == []
    bare = [c for c in cells if not c.tests and c.reason != "open" and len(c.reason) < REASONS]
    assert bare == []


def _named_tests(page: Path) -> list[tuple[str, str]]:
    """Return (file, test) for each test that a page names; a test alone is of the last file."""
    found, file = [], ""
    for path, test in re.findall(
        r"`((?:tests/[\w/]+/)?(?:test_\w+\.py)?)(?:::(test_\w+))?`", page.read_text()
    ):
        file = path or file
        if path or test:
            found.append((file if "/" in file else f"tests/postgres/{file}", test))
    return found


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("docs/switch.md", 51),
        ("docs/limits.md", 0),
        ("docs/pitfalls.md", 40),
        ("SECURITY.md", 4),
    ],
)
def test_a_page_names_tests_that_exist(page: str, least: int) -> None:
    named = _named_tests(documented.ROOT / page)
    assert len(named) >= least
    for file, test in named:
        path = documented.ROOT / file
        assert path.is_file(), file
        assert f"def {test}" in path.read_text(), f"{file}::{test}"


@pytest.mark.parametrize(("page", "least"), [("docs/limits.md", 24), ("docs/pitfalls.md", 3)])
def test_a_page_names_rows_of_the_probe(page: str, least: int) -> None:
    """A row of the probe, or one of its sections, is named by its beginning, in italics."""
    lines = (documented.ROOT / page).read_text().splitlines()
    named = [
        name
        for line in lines
        if line.startswith("| ")
        for name in re.findall(r"(?<!\*)\*([^*|]+)\*(?!\*)", line.split(" | ")[-1])
    ]
    assert len(named) >= least
    probe = (documented.ROOT / "docs" / "probe.md").read_text()
    there = re.findall(r"^(?:\| |## )([^|\n]+)", probe, re.MULTILINE)
    assert [one for one in named if not any(row.startswith(one) for row in there)] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_targets_of_the_makefile(page: str) -> None:
    named = re.findall(r"(?:^|`)make ([a-z-]+)", (documented.ROOT / page).read_text(), re.MULTILINE)
    makefile = (documented.ROOT / "Makefile").read_text()
    assert set(named) <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_leads_to_files_that_exist(page: str) -> None:
    file = documented.ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", file.read_text())
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_every_hook_is_named_in_the_layers() -> None:
    page = (documented.ROOT / "docs" / "architecture.md").read_text()
    (named,) = re.findall(r"^\| `hooks/` \| ([^|]+) \|", page, re.MULTILINE)
    files = {path.stem for path in (documented.ROOT / "hooks").glob("[!_]*.py")}
    assert {one.split()[0] for one in named.split(", ")} == files


def test_the_matrix_has_no_hole() -> None:
    cells = make_resources.cells()
    resources, rows = {cell.resource for cell in cells}, {cell.row for cell in cells}
    assert len(resources) == 6
    assert len(cells) == len(resources) * len(rows)


def test_no_cell_is_open() -> None:
    found = [f"{c.resource}: {c.row}" for c in make_resources.cells() if c.reason == "open"]
    assert not found, "\n".join(found)


def test_a_cell_of_no_such_test_is_found() -> None:
    itself = f"tests/unit/{Path(__file__).name}"
    here = f"{itself}::test_a_cell_of_no_such_test_is_found"
    there = (f"{itself}::test_nothing", "tests/unit/test_nowhere.py::test_nothing")
    cells = [Cell("create", "Publication", (here, *there), "")]
    assert make_resources.missing_tests(cells) == sorted(there)


@pytest.mark.parametrize("module", make_resources.MODULES)
def test_every_resource_is_documented(module: str) -> None:
    found = documented.read(module)
    assert all(one.meaning for one in [*found.inputs, *found.outputs])
    assert found.errors


def test_every_dynamic_resource_is_on_the_page() -> None:
    folder = documented.ROOT / "dynamic_providers"
    declared = {
        path.stem
        for path in folder.glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and any(k.arg == "module" for k in node.keywords)
    }
    assert declared == set(make_resources.MODULES)


@pytest.mark.parametrize(
    ("module", "field", "said"),
    [
        ("replication_slot", "    wait_seconds: ", "ReplicationSlot: more has no docstring"),
        ("caught_up", "    lag_ms: ", "CaughtUp: more has no docstring"),
    ],
    ids=["input", "output"],
)
def test_a_property_without_docstring_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, field: str, said: str
) -> None:
    text = (documented.ROOT / "dynamic_providers" / f"{module}.py").read_text()
    assert text.count(field) == 1
    folder = tmp_path / "dynamic_providers"
    folder.mkdir()
    (folder / f"{module}.py").write_text(text.replace(field, "    more: int\n" + field))
    monkeypatch.setattr(documented, "ROOT", tmp_path)
    with pytest.raises(UndocumentedError, match=said):
        documented.read(module)
