"""The folder of the tests' servers: what a killed run leaves in memory is removed by the next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.fixtures.server_folder import server_folder

_HOLD = """\
from tests.fixtures.server_folder import server_folder
with server_folder() as root:
    print(root, flush=True)
    input()
"""


def test_only_what_a_killed_run_left_is_removed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with server_folder() as mine:
            assert theirs.is_dir()
        assert not mine.exists()
        other.kill()
    assert theirs.is_dir()
    with server_folder():
        assert not theirs.exists()
