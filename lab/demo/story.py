"""The story of the demo: every command line of a deployment, in order, under load."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field

from lab.demo.result import Result
from lab.demo.screen import Screen
from lab.demo.stacks import Stacks
from lab.workload import checker, schema
from lab.workload.checker import Side
from lab.workload.workload import Workload

SOURCE, TARGET = "blue", "green"
# Transactions a second. A machine that the clients fill leaves the engine none to work with, and
# shows what a starved machine does instead of what a switch does.
_RATE = min(1000, 100 * len(os.sched_getaffinity(0)))
_SETTLE_COMMITS = 2 * _RATE  # about two seconds of load on either side of every switch
_CLOSED = re.compile(r"closed to writers for (?P<ms>[\d.]+) ms")


@dataclass(slots=True)
class Story:
    """One run: what it drives, and what it has proved so far."""

    stacks: Stacks
    screen: Screen
    result: Result
    workload: Workload
    logins: schema.Logins
    chapters: int = 0
    started: float = field(default_factory=time.monotonic)

    def tell(self) -> None:
        """Run the life of a deployment; raises where a command fails that must not."""
        self.started = time.monotonic()
        self._stand_source_up()
        self._stand_target_up()
        self._switch_to_and_fro()
        self._give_way_back_up()
        self._retire_source()
        self._become_plain()
        self._prove(None)
        self.result.secrets_in_state = self.stacks.secrets_in_state()
        self.result.command_seconds = self.stacks.seconds
        self.result.seconds = round(self._elapsed(), 1)

    def _chapter(self, title: str, *, whole: bool = False) -> None:
        self.chapters += 1
        self.screen.chapter(self.chapters, title, whole=whole, seconds=self._elapsed())

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _stand_source_up(self) -> None:
        self._chapter("Production: PostgreSQL 16, a global database in two Regions, under load")
        self.stacks.up(SOURCE)
        writer = self.stacks.outputs(SOURCE)
        with self.screen.busy("seeding two databases"):
            schema.seed(writer["endpoint"], int(writer["port"]), self.stacks.master, self.logins)
        self.screen.fact("seeded: 1 million rows in app, pgbench's tables in bench")
        self._load_on(int(writer["port"]))
        self.workload.probe(writer["endpoint"], int(writer["port"]))
        self.workload.wait_until_running()
        self.screen.load = self._load
        self._steady()

    def _stand_target_up(self) -> None:
        self._chapter("Green: cloned, upgraded to PostgreSQL 18, replicating, global")
        self.stacks.set(TARGET, "source", SOURCE)
        self.stacks.up(TARGET)
        target = self.stacks.outputs(TARGET)
        self.result.postgresql_version = str(target["engine_version"])
        self.workload.probe(target["endpoint"], int(target["port"]))
        self.screen.fact(f"Green runs {target['engine_version']} and follows Blue")
        self._routine()
        self._steady()

    def _switch_to_and_fro(self) -> None:
        self._chapter("The cutover, reviewed first", whole=True)
        self.stacks.set(TARGET, "cutover", "true")
        self.stacks.preview(TARGET)
        self._switch("cutover")
        self._routine()
        self._chapter("The rollback: the same flag, the other way")
        self.stacks.set(TARGET, "cutover", "false")
        self._switch("rollback")
        self._chapter("The cutover, once more")
        self.stacks.set(TARGET, "cutover", "true")
        self._switch("cutover")
        self._prove_both_sides()

    def _switch(self, kind: str) -> None:
        """Flip the writer; what the clients saw of it is told from their records, at the end."""
        closed = _CLOSED.search(self.stacks.up(TARGET))
        self.result.closed_ms.append(float(closed["ms"]) if closed else 0.0)
        self._steady()
        self.screen.fact(f"{kind}: writers are on {self.workload.live().servers[0]}")

    def _prove_both_sides(self) -> None:
        """Stop writing for a moment and compare both sides while they still replicate."""
        self.workload.stop()
        self.screen.load = lambda: ""
        report = self._prove(self._side(SOURCE))
        switches = report.switches
        outages = [round(switch.outage_ms, 1) for switch in switches]
        self.result.cutover_outage_ms = outages[0::2]
        self.result.rollback_outage_ms = outages[1::2]
        self.result.worst_client_ms = [round(switch.worst_client_ms, 1) for switch in switches]

    def _give_way_back_up(self) -> None:
        self._chapter("The point of no return")
        target = self.stacks.outputs(TARGET)
        self._load_on(int(target["port"]))
        self.workload.probe(target["endpoint"], int(target["port"]))
        self.workload.wait_until_running()
        self.screen.load = self._load
        self.stacks.set(TARGET, "rollback", "false")
        self.stacks.up(TARGET)
        self._steady()

    def _retire_source(self) -> None:
        self._chapter("Blue is retired")
        retired = self.stacks.outputs(SOURCE)
        refusal = self.stacks.refused_destroy(SOURCE)
        self.screen.say(refusal)
        self.stacks.set_path(SOURCE, "environment.deletion_protection", "false")
        self.stacks.up(SOURCE)
        self.stacks.destroy(SOURCE)
        self.result.blue_retired = not self.stacks.cluster_exists(retired["cluster_identifier"])
        self._steady()

    def _become_plain(self) -> None:
        self._chapter("Green is plain production, ready to be the next round's source")
        self.stacks.remove(TARGET, "source")
        self.stacks.up(TARGET)
        self._routine_of(TARGET)
        self._steady()
        self.workload.stop()
        self.screen.load = lambda: ""

    def _routine(self) -> None:
        """Show that routine updates of both stacks change nothing, whatever is under way."""
        self._routine_of(TARGET)
        self._routine_of(SOURCE)

    def _routine_of(self, stack: str) -> None:
        changed = self.stacks.routine_up(stack)
        self.result.routine_updates_changed += changed
        if not changed:
            self.screen.fact(f"a routine pulumi up --refresh of {stack} changes nothing")

    def _load_on(self, port: int) -> None:
        self.workload.start(self.stacks.writer_name, port, rate=_RATE, hostile=1)

    def _steady(self) -> None:
        self.workload.wait_for_commits(_SETTLE_COMMITS)
        self.screen.load_line()

    def _load(self) -> str:
        now = self.workload.live()
        where = ", ".join(map(str, now.servers))
        errors = sum(now.errors.values())
        return f"{now.committed:,} committed on {where}; {errors} errors seen by clients"

    def _side(self, stack: str) -> Side:
        address = self.stacks.address(stack)
        return Side(address.host, address.port, self.stacks.master)

    def _prove(self, standby: Side | None) -> checker.Report:
        """Check everything recorded so far against the writer, and both sides' tables."""
        with self.screen.busy("comparing what clients were told with what the servers hold"):
            report = checker.check(self.workload.folder, self._side(TARGET), standby)
        for problem in report.problems:
            self.screen.wrong(problem)
        self.result.acknowledged = report.keys.acknowledged
        self.result.lost = max(self.result.lost, len(report.keys.lost))
        twice = len(report.keys.risen) + len(report.keys.strange) + len(report.keys.changed)
        self.result.duplicated += twice + len(report.sequences.issued_twice)
        self.result.both_writable += len(report.commit_overlaps) + len(report.open_overlaps)
        self.result.tables_different += len(report.differences)
        self.result.sequences_checked = max(self.result.sequences_checked, report.sequences_checked)
        self.result.sequences_wrong += report.sequences_wrong
        self.result.pgbench_adds_up = not report.violations
        return report
