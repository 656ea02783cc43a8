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
from lab.postgres.server import SUPERUSER, LabServer

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
    _base_backup(primary, copy)
    copy.start()


def _base_backup(primary: LabServer, copy: LabServer) -> None:
    copy.prepare_root()
    # Its own major's tool: pg_basebackup of 18 writes settings that a 16 can't parse.
    tool = [copy.binaries.tool("pg_basebackup"), "-d", primary.replication_conninfo()]
    tool += ["-D", str(copy.data), "-c", "fast", "-X", "stream", "--no-sync"]
    run(tool, copy.binaries.environment, cwd=copy.root)
    # Recovery refuses settings below the primary's.
    copy.parameters = dict(primary.parameters)
    copy.configure(primary_conninfo=primary.replication_conninfo())
    signal_file = copy.data / "standby.signal"
    signal_file.touch()
    owner().take(signal_file)


def promote(copy: LabServer) -> Lsn:
    """End recovery and return the end of the last record replayed.

    The rule of the seam (measured): a subscription that starts there gets exactly the transactions
    that the copy lacks, since the publisher skips those whose commit record starts before it.
    """
    with copy.connect() as conn:
        conn.execute("SELECT pg_promote(true, 120)")
        # Read once, now: it is NULL after the next clean restart.
        row = conn.execute("SELECT pg_last_wal_replay_lsn()::text").fetchone()
    assert row is not None
    copy.parameters.pop("primary_conninfo", None)
    copy.configure()
    return Lsn.parse(row[0])


def clone(
    source: LabServer, copy: LabServer, parameters: dict[str, str], *, by_target: bool = False
) -> Lsn:
    """Make `copy` what Aurora's copy-on-write clone of `source` is, and return its volume's LSN.

    Recovery replays what the source wrote while it was copied; the clone then runs with
    `parameters`, knows its LSN by `aurora_volume_logical_start_lsn()`, and has the source's
    logical slots, as the shared volume has them. `by_target` names the LSN beforehand instead of
    reading it afterwards.
    """
    lsn = _recover_to_target(source, copy) if by_target else _recover(source, copy)
    copy.parameters = dict(parameters)
    copy.configure()
    copy.restart()
    for database in copy.databases():
        with copy.connect(database) as conn:
            tell_volume_lsn(conn, lsn)
    _inherit_slots(source, copy)
    return lsn


def _recover(source: LabServer, copy: LabServer) -> Lsn:
    """Let `copy` replay for as long as it takes to be current, and return where it stopped."""
    standby(source, copy)
    with source.connect() as conn:
        row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
    assert row is not None
    wait_until(lambda: _replayed(copy) >= Lsn.parse(row[0]), f"{copy.name} catching up")
    return promote(copy)


def _recover_to_target(source: LabServer, copy: LabServer) -> Lsn:
    """Let `copy` stop before the first record at an LSN that is named once it is copied.

    Exclusive, since a commit record that begins there is what the publisher sends first.
    """
    _base_backup(source, copy)
    with source.connect() as conn:
        row = conn.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        # It stops when it sees a record past the target: an idle source would write none.
        conn.execute("SELECT pg_logical_emit_message(false, 'lab', 'clone'), pg_switch_wal()")
    assert row is not None
    target = {
        "recovery_target_lsn": row[0],
        "recovery_target_inclusive": "off",
        "recovery_target_action": "promote",
    }
    copy.configure(**target)
    copy.start()
    wait_until(lambda: _is_writer(copy), f"{copy.name} reaching {row[0]}")
    for name in (*target, "primary_conninfo"):
        copy.parameters.pop(name, None)
    return Lsn.parse(row[0])


def _is_writer(copy: LabServer) -> bool:
    with copy.connect() as conn:
        row = conn.execute("SELECT NOT pg_is_in_recovery()").fetchone()
    return bool(row and row[0])


def _replayed(copy: LabServer) -> Lsn:
    with copy.connect() as conn:
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
    with source.connect() as conn:
        slots = conn.execute(
            "SELECT slot_name, plugin, database FROM pg_replication_slots WHERE slot_type='logical'"
        ).fetchall()
    for name, plugin, database in slots:
        with copy.connect(database) as conn:
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
    shutil.rmtree(server.data)
    shutil.rmtree(work)
    return new
