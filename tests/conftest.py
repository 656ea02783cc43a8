"""Fixtures live by theme in tests/fixtures; every file there is loaded."""

from pathlib import Path

import pytest

import lab  # noqa: F401  # before anything imports gRPC, see there

# They import each other, so they are marked before the first of them is loaded.
pytest.register_assert_rewrite("tests.fixtures")

pytest_plugins = [
    f"tests.fixtures.{file.stem}"
    for file in sorted((Path(__file__).parent / "fixtures").glob("[a-z]*.py"))
]
