"""Physical copies of a running server: clones, standbys, and upgrades to another major version."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable

import psycopg
from psycopg import sql

from bluegreen.lsn import Lsn
from lab.postgres.owner import owner, run
from lab.postgres.server import SUPERUSER, LabServer, change_catalog

_POLL_SECONDS = 0.01


def wait_until(met: Callable[[], bool], what: str, timeout: float = 120) -> None:
    """Poll until `met()`; raise `TimeoutError` naming `what`."""
    deadline = time.monotonic() + timeout
    while not met():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(_POLL_SECONDS)


def standby(primary: LabServer, copy: LabServer) -> None:
    """Make `copy` a physical standby of `primary`, streaming."""
    _back_up(primary, copy)
    copy.start()


def _back_up(primary: LabServer, copy: LabServer) -> None:
    """Fill `copy` with a base backup that becomes a standby when it starts."""
    copy.prepare_root()
    # Its own major's tool: pg_basebackup of 18 writes settings that a 16 can't parse.
    tool = [copy.binaries.tool("pg_basebackup"), "-d", primary.replication_conninfo()]
    tool += ["-D", str(copy.data), "-c", "fast", "-X", "stream", "--no-sync"]
    run(tool, copy.binaries.environment, cwd=copy.root)
    # Recovery refuses settings below the primary's.
    copy.parameters = dict(primary.parameters)
    copy.aurora, copy.master = primary.aurora, primary.master
    copy.configure(primary_conninfo=primary.replication_conninfo())
    signal_file = copy.data / "standby.signal"
    signal_file.touch()
    owner().take(signal_file)


def promote(copy: LabServer) -> Lsn:
    """End recovery and return the end of the last record replayed.

    The rule of the seam (measured): a subscription that starts there gets exactly the transactions
    that the copy lacks, since the publisher skips those whose commit record starts before it.
    """
    with copy.as_superuser() as conn:
        conn.execute("SELECT pg_promote(true, 120)")
        # Read once, now: it is NULL after the next clean restart.
        row = conn.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()
    assert row is not None
    copy.parameters.pop("primary_conninfo", None)
    copy.configure()
    return Lsn.parse(row[0])


def clone(source: LabServer, copy: LabServer, parameters: dict[str, str]) -> Lsn:
    """Make `copy` what Aurora's copy-on-write clone of `source` is, and return its volume's LSN.

    Recovery replays what the source wrote while it was copied; the clone then runs with
    `parameters`, knows its LSN by `aurora_volume_logical_start_lsn()`, and has the source's
    logical slots, as the shared volume has them.
    """
    standby(source, copy)
    with source.as_superuser() as conn:
        row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    wait_until(lambda: _replayed(copy) >= Lsn.parse(row[0]), f"{copy.name} catching up")
    lsn = promote(copy)
    _settle(source, copy, parameters, lsn)
    return lsn


def clone_at_target(source: LabServer, copy: LabServer, parameters: dict[str, str]) -> Lsn:
    """Make the same clone by another way: recovery stops before a chosen LSN, and that is it.

    The source has to go on writing: recovery stops at the first record at or past the LSN.
    """
    _back_up(source, copy)
    with source.as_superuser() as conn:
        function = "lab_insert_lsn" if source.aurora else "pg_current_wal_insert_lsn"
        row = conn.execute(sql.SQL("SELECT {}()::text").format(sql.Identifier(function))).fetchone()
    assert row is not None
    lsn = Lsn.parse(row[0])
    copy.configure(
        recovery_target_lsn=str(lsn),
        recovery_target_inclusive="off",
        recovery_target_action="promote",
    )
    copy.start()
    wait_until(lambda: not _in_recovery(copy), f"{copy.name} reaching {lsn}")
    _settle(source, copy, parameters, lsn)
    return lsn


def _in_recovery(copy: LabServer) -> bool:
    with copy.as_superuser() as conn:
        row = conn.execute("SELECT pg_is_in_recovery()").fetchone()
    return bool(row and row[0])


def _settle(source: LabServer, copy: LabServer, parameters: dict[str, str], lsn: Lsn) -> None:
    """Let a promoted copy run with its own parameters, and know and have what a clone does."""
    copy.parameters = dict(parameters)
    copy.configure()
    copy.restart()
    for database in copy.databases():
        with copy.as_superuser(database) as conn:
            tell_volume_lsn(conn, lsn)
    _inherit_slots(source, copy)


def _replayed(copy: LabServer) -> Lsn:
    with copy.as_superuser() as conn:
        row = conn.execute("SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')::text").fetchone()
    assert row is not None
    return Lsn.parse(row[0])


def tell_volume_lsn(conn: psycopg.Connection[tuple[object, ...]], lsn: Lsn) -> None:
    """Let `aurora_volume_logical_start_lsn()` of `conn`'s database say `lsn`."""
    conn.execute(
        sql.SQL(
            "CREATE OR REPLACE FUNCTION pg_catalog.aurora_volume_logical_start_lsn()"
            " RETURNS pg_lsn LANGUAGE sql IMMUTABLE AS {}"
        ).format(sql.Literal(f"SELECT '{lsn}'::pg_catalog.pg_lsn"))
    )


def _inherit_slots(source: LabServer, copy: LabServer) -> None:
    """Make the source's logical slots on the copy: a base backup leaves them out, a volume not."""
    if copy.parameters.get("wal_level") != "logical":
        return
    with source.as_superuser() as conn:
        slots = conn.execute(
            "SELECT slot_name, plugin, database FROM pg_replication_slots WHERE slot_type='logical'"
        ).fetchall()
    for name, plugin, database in slots:
        with copy.as_superuser(database) as conn:
            conn.execute("SELECT pg_create_logical_replication_slot(%s, %s)", (name, plugin))


def upgrade(server: LabServer, major: int, parameters: dict[str, str]) -> LabServer:
    """Return `server` upgraded in place to `major` by pg_upgrade, running with `parameters`."""
    server.stop()
    new = dataclasses.replace(server, major=major, parameters=dict(parameters))
    new.initdb()
    work = server.root / f"{server.name}-upgrade"
    work.mkdir(exist_ok=True)
    owner().take(work)  # pg_upgrade wants to write where it stands
    old_bin, new_bin = server.binaries.home / "bin", new.binaries.home / "bin"
    command = [str(new_bin / "pg_upgrade"), "--link", "--jobs=2", "--no-sync", "-U", SUPERUSER]
    command += ["-b", str(old_bin), "-B", str(new_bin)]
    command += ["-d", str(server.data), "-D", str(new.data), "-s", str(work)]
    # Both installations' libraries: each finds its own by symbol version, libpq is compatible.
    environment = new.binaries.environment
    run(command, environment, cwd=work)
    new.start()
    change_catalog(new)
    shutil.rmtree(server.data)
    shutil.rmtree(work)
    return new
