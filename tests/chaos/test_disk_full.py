"""The standby's disk is full in the middle of a switch: writers stay on the old side.

Its data directory is a small tmpfs, which takes root; elsewhere the test says that it can't.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bluegreen.errors import BlueGreenError
from bluegreen.postgres import server
from bluegreen.switch.switchover import switch
from tests.chaos.servers import APP, DATABASES, PASSWORD, Deployment
from tests.fixtures.switchable import wait_until

pytestmark = pytest.mark.slow

SIZE_MB = 400
_LEFT_BYTES = 4_000_000
DATABASE = DATABASES[0]


def _can_mount(folder: Path) -> bool:
    if not sys.platform.startswith("linux") or os.getuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Return a file system of its own, to fill; pytest's own folder is closed to the servers."""
    folder = Path(tempfile.mkdtemp(prefix="bluegreen-disk-", dir="/var/tmp"))
    try:
        if not _can_mount(folder):
            pytest.skip("a file system to fill needs root and mount")
        folder.chmod(0o755)
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    finally:
        folder.rmdir()


def test_a_standby_without_space_costs_no_row_and_no_writer(small_disk: Path) -> None:
    with Deployment.made(target_root=small_disk) as world:
        server.remember(world.logins)
        world.prepare()
        ballast = small_disk / "ballast"
        # The server writes as well, so it may be full a moment earlier.
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > _LEFT_BYTES:
                file.write(b"\0" * 1_000_000)
        with world.old.connect(DATABASE, user=APP, password=PASSWORD) as conn:
            conn.execute(
                "INSERT INTO bulk SELECT n, repeat('x', 500) FROM generate_series(1, 100000) n"
            )
        with pytest.raises(BlueGreenError):
            switch(world.plan(lag_seconds=5.0, fuse_seconds=10.0))
        with world.old.connect(DATABASE, user=APP, password=PASSWORD) as conn:
            conn.execute("INSERT INTO bulk VALUES (0, 'still the writer')")
        ballast.unlink()
        if world.new.lab.pid() is None:
            world.new.lab.start()
        wait_until(lambda: _rows(world) == 100_001, "the standby catches up", 120)
        done = switch(world.plan(lag_seconds=60.0, fuse_seconds=10.0))
        assert not done.repeated
        assert _rows(world) == 100_001


def _rows(world: Deployment) -> int:
    with world.new.connect(DATABASE) as conn:
        row = conn.execute("SELECT count(*) FROM bulk").fetchone()
    return int(row[0])
