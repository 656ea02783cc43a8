"""Fixtures live by theme in tests/fixtures; every file there is loaded."""

from pathlib import Path

pytest_plugins = [
    f"tests.fixtures.{file.stem}"
    for file in sorted((Path(__file__).parent / "fixtures").glob("[a-z]*.py"))
]
