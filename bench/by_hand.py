"""Switches without the engine: the library alone, and the procedure that is published for people.

Both leave the replication of the other direction running, so that the way back can be measured too.
What they do for that is outside the outage.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import psycopg
from psycopg import sql

from bench.switch_lab import SOURCE, TARGET, SwitchLab
from bluegreen import names
from bluegreen.aws import dns
from bluegreen.aws.dns import Records
from bluegreen.names import TOOL_DATABASE, Direction
from bluegreen.postgres import owned
from bluegreen.postgres.server import Server
from bluegreen.register.fence_mode import DEFAULT_FENCE, FenceMode
from bluegreen.switch.plan import SwitchPlan
from bluegreen.switch.step import OUTAGE
from bluegreen.switch.switchover import switch
from lab import seed as seeds

_LAG_LOOK_SECONDS = 0.5
_LAG_SECONDS = 60.0


@dataclass(slots=True)
class ByHand:
    """The pair of a lab, switched from this process."""

    lab: SwitchLab
    fence: FenceMode = DEFAULT_FENCE

    def library(self, cutover: bool) -> dict[str, float]:
        """Switch by the library's one function."""
        old, new, direction = self._ways(cutover)
        self._make_slots(new, _opposite(direction))
        plan = SwitchPlan(
            self._deployment,
            direction,
            old,
            new,
            self.lab.databases,
            fence=self.fence,
            records=self._records(new),
        )
        done = switch(plan)
        self._follow(old, new, _opposite(direction), str(done.mark))
        self._unfollow(new, old, direction)
        return {name: ms for name, ms in done.phases_ms.items() if name in OUTAGE}

    def runbook(self, cutover: bool) -> dict[str, float]:
        """Switch as the manual procedure does: stop, check lag, sequences, drop, flip DNS."""
        old, new, direction = self._ways(cutover)
        self._make_slots(new, _opposite(direction))
        with new.connect(TOOL_DATABASE) as conn:
            conn.execute("SELECT bluegreen.reopen(NULL)")  # the procedure's copy is open all along
        started = time.perf_counter()
        phases: dict[str, float] = {}

        def lap(phase: str) -> None:
            nonlocal started
            now = time.perf_counter()
            phases[phase] = round(1000 * (now - started), 1)
            started = now

        self._stop(old)
        lap("stop")
        self._wait_for_lag(old, direction)
        lap("lag")
        self._set_sequences(old, new)
        lap("sequences")
        mark = self._position(new)
        self._unfollow(new, old, direction)
        lap("drop")
        dns.move(self._records(new), seeds.REGION)
        lap("dns")
        self._follow(old, new, _opposite(direction), mark)
        return phases

    @property
    def _deployment(self) -> str:
        return names.deployment_name(TARGET)

    def _ways(self, cutover: bool) -> tuple[Server, Server, Direction]:
        source, target = self.lab.server(SOURCE), self.lab.server(TARGET)
        if cutover:
            return source, target, Direction.FORWARD
        return target, source, Direction.REVERSE

    def _records(self, new: Server) -> Records:
        return Records(self.lab.world.seed.zone_id, 5, {seeds.WRITER: new.host})

    def _make_slots(self, publisher: Server, direction: Direction) -> None:
        for database in self.lab.databases:
            slot = names.slot(self._deployment, direction, database)
            publication = names.publication(self._deployment, direction)
            with publisher.connect(database) as conn:
                there = conn.execute(
                    "SELECT FROM pg_publication WHERE pubname = %s", (publication,)
                ).fetchone()
                if there is None:
                    conn.execute(
                        sql.SQL("CREATE PUBLICATION {} FOR ALL TABLES").format(
                            sql.Identifier(publication)
                        )
                    )
                    owned.mark(conn, "PUBLICATION", publication)
                conn.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                    " WHERE slot_name = %s AND NOT active",
                    (slot,),
                )
                conn.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (slot,))

    def _follow(
        self, subscriber: Server, publisher: Server, direction: Direction, lsn: str
    ) -> None:
        name = names.subscription(self._deployment, direction)
        for database in self.lab.databases:
            # C inside the server can't ask the lab's DNS; its environment leads it to the peer.
            with subscriber.connect(database) as conn:
                conn.execute(
                    sql.SQL(
                        "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH (enabled=false,"
                        " create_slot=false, slot_name={}, copy_data=false, origin=none)"
                    ).format(
                        sql.Identifier(name),
                        sql.Literal(publisher.conninfo(database, "replication")),
                        sql.Identifier(names.publication(self._deployment, direction)),
                        sql.Identifier(names.slot(self._deployment, direction, database)),
                    )
                )
                # What comes after this is done by the tool again.
                owned.mark(conn, "SUBSCRIPTION", name)
                conn.execute(
                    "SELECT pg_replication_origin_advance('pg_' || oid, %s::pg_lsn)"
                    " FROM pg_subscription WHERE subname = %s",
                    (lsn, name),
                )
                conn.execute(sql.SQL("ALTER SUBSCRIPTION {} ENABLE").format(sql.Identifier(name)))

    def _unfollow(self, subscriber: Server, publisher: Server, direction: Direction) -> None:
        name = sql.Identifier(names.subscription(self._deployment, direction))
        for database in self.lab.databases:
            with subscriber.connect(database) as conn:
                conn.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(name))
                conn.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(name))
                conn.execute(sql.SQL("DROP SUBSCRIPTION {}").format(name))
            slot = names.slot(self._deployment, direction, database)
            with publisher.connect(database) as conn:
                _drop_slot(conn, slot)

    def _stop(self, old: Server) -> None:
        """Close the databases and end the sessions, so that applications stop writing."""
        with old.connect(TOOL_DATABASE) as conn:
            conn.execute("SELECT bluegreen.close_databases(NULL)")
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'workload%%' AND pid <> pg_backend_pid()"
            )

    def _wait_for_lag(self, old: Server, direction: Direction) -> None:
        """Look twice a second whether the standby has confirmed everything."""
        deadline = time.monotonic() + _LAG_SECONDS
        for database in self.lab.databases:
            slot = names.slot(self._deployment, direction, database)
            with old.connect(database) as conn:
                target = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
                assert target is not None
                while not _confirmed(conn, slot, target[0]):
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"{old}: slot {slot} is behind after {_LAG_SECONDS} s")
                    time.sleep(_LAG_LOOK_SECONDS)

    def _set_sequences(self, old: Server, new: Server) -> None:
        """Set one after the other, as the generated script of the procedure does."""
        for database in self.lab.databases:
            with old.connect(database) as conn:
                values = conn.execute(
                    "SELECT format('%I.%I', schemaname, sequencename), last_value"
                    " FROM pg_sequences WHERE last_value IS NOT NULL"
                ).fetchall()
            with new.connect(database) as conn:
                for name, value in values:
                    conn.execute("SELECT setval(%s::regclass, %s)", (name, value))

    def _position(self, new: Server) -> str:
        with new.connect(TOOL_DATABASE) as conn:
            row = conn.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert row is not None
        return str(row[0])


def _opposite(direction: Direction) -> Direction:
    return Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD


def _confirmed(conn: psycopg.Connection[tuple[object, ...]], slot: str, lsn: str) -> bool:
    row = conn.execute(
        "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s",
        (lsn, slot),
    ).fetchone()
    return row == (True,)


def _drop_slot(conn: psycopg.Connection[tuple[object, ...]], slot: str) -> None:
    """Drop a slot as soon as its sender is gone."""
    deadline = time.monotonic() + _LAG_SECONDS
    while True:
        try:
            conn.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
        except psycopg.errors.ObjectInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
