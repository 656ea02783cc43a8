"""The local fuse's process: started from anywhere, it finds the package that it is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bluegreen.switch import local_fuse


def test_its_process_finds_the_package_wherever_the_switch_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    found = subprocess.run(
        # Without what is installed, so as from a checkout that is on the path of the switch alone.
        [sys.executable, "-S", "-c", "import bluegreen; print(bluegreen.__file__)"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": local_fuse._python_path()},
        stdout=subprocess.PIPE,
        text=True,
    )
    package = Path(local_fuse.__file__).parents[1]
    assert found.stdout.strip() == str(package / "__init__.py")
