"""The tables of the tool's database, and the functions that keep their rules: the files of `sql/`.

Rules that involve several tables are functions, so that one transaction on one server keeps them,
whoever calls: the orchestrator, a fuse, or a finisher. The register's row is always locked first,
and databases are altered second.
"""

from __future__ import annotations

from importlib import resources

# The tables come first; a function's body is only checked when it is called.
_FILES = ("tables", "looks", "closing", "sessions", "attempt", "opening")

_FOLDER = resources.files("bluegreen.register") / "sql"

SCHEMA = "\n".join((_FOLDER / f"{name}.sql").read_text("utf-8") for name in _FILES)
"""SQL that makes what is missing, and brings the functions to this version."""
