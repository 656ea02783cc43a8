"""What the demo shows: steps, the engine's progress, the load beside it; 100 columns at most."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lab.demo.result import Result

WIDTH = 100

# A line of the engine about a finished operation, such as
# ` +  aws:rds:Cluster cluster created (2s)`.
_DONE = re.compile(
    r"^\s*(?P<sign>[-+~]{1,2})\s+(?P<type>\S+)\s+(?P<name>\S+)\s+"
    r"(?P<verb>created|updated|deleted|replaced)\s*(?:\((?P<seconds>[\d.]+)s\))?"
)
_COLOURS = {"+": "green", "~": "yellow", "-": "red"}
# What the program's hooks report comes as the stack's own progress.
_SAID = re.compile(r"pulumi:pulumi:Stack \S+ running (?P<text>(closed to writers|names: ).+)$")


class Screen:
    """Writes the demo's lines; `load` returns the line about the running workload.

    The picture holds the story and the closing table, and what the engine did in one chapter only:
    with every operation of every update it would be too long to look at.
    """

    def __init__(self) -> None:
        self.console = Console(width=WIDTH, highlight=False, soft_wrap=False)
        self.load: Callable[[], str] = lambda: ""
        self._picture = Console(
            width=WIDTH, record=True, highlight=False, soft_wrap=False, file=io.StringIO()
        )
        self._whole = False

    def draw(self, file: Path) -> None:
        """Write the picture, an SVG."""
        self._picture.save_svg(str(file), title="make demo")

    def _print(self, *what: Any, detail: bool = False, **how: Any) -> None:
        self.console.print(*what, **how)
        if self._whole or not detail:
            self._picture.print(*what, **how)

    def chapter(self, number: int, title: str, *, whole: bool, seconds: float) -> None:
        """Begin a step of the story, `seconds` after the first.

        `whole`: the picture shows every operation of it.
        """
        self._whole = whole
        self._print()
        left, right = f"{number}. {title} ", f" {seconds:.0f} s"
        line = "─" * (WIDTH - len(left) - len(right))
        self._print(f"[bold]{escape(left)}[/][blue]{line}[/][dim]{right}[/]", no_wrap=True)

    def command(self, text: str) -> None:
        """Show a command as the user would type it."""
        self._print(f"[bold cyan]$ {escape(text)}[/]")

    def say(self, text: str) -> None:
        """Show a line of the story."""
        self._print(escape(text), style="dim")

    def plain(self, text: str) -> None:
        """Show a line as it is, cut at the width."""
        self._print(escape(text), detail=True, no_wrap=True, overflow="ellipsis")

    def fact(self, text: str) -> None:
        """Show a result."""
        self._print(f"[green]✓[/] {escape(text)}")

    def wrong(self, text: str) -> None:
        """Show what is wrong."""
        self._print(f"[bold red]✗ {escape(text)}[/]")

    def load_line(self) -> None:
        """Show what the clients are doing now."""
        line = self.load()
        if line:
            self._print(f"[magenta]load[/] {escape(line)}")

    @contextmanager
    def busy(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show that something runs; yields a function that takes the engine's lines."""
        with self.console.status(f"{escape(what)} …", spinner="dots") as status:

            def line(text: str) -> None:
                status.update(f"{escape(what)} … [magenta]{escape(self.load())}[/]")
                self.engine_line(text)

            yield line

    def engine_line(self, text: str) -> None:
        """Show a line of the engine when it says that something is done, or reports."""
        done = _DONE.match(text)
        if done:
            seconds = f"{done['seconds']} s" if done["seconds"] else ""
            sign = done["sign"][0]
            kind = done["type"].removeprefix("pulumi-python:dynamic/")
            left = f"{sign} {kind} {done['name']}"
            shown = f"  [{_COLOURS[sign]}]{escape(left):<84}[/][dim]{seconds:>9}[/]"
            self._print(shown, detail=True)
            return
        said = _SAID.search(text)
        if said:
            self._print(f"  [bold]{escape(said['text'])}[/]", overflow="fold")

    def closing(self, result: Result) -> None:
        """Show the closing table: what, how much, and whether it is as it must be."""
        rows = [
            ("acknowledged transactions", f"{result.acknowledged:,}", result.acknowledged > 10_000),
            ("of these lost", str(result.lost), result.lost == 0),
            (
                "present twice, or against their refusal",
                str(result.duplicated),
                not result.duplicated,
            ),
            (
                "moments with both sides writable",
                str(result.both_writable),
                not result.both_writable,
            ),
            (
                "tables that differ between the sides",
                str(result.tables_different),
                result.tables_different == 0,
            ),
            (
                "sequences checked, wrong",
                f"{result.sequences_checked}, {result.sequences_wrong}",
                result.sequences_wrong == 0,
            ),
            ("pgbench adds up", _yes(result.pgbench_adds_up), result.pgbench_adds_up),
            ("outage of the cutovers", _ms(result.cutover_outage_ms), True),
            ("outage of the rollback", _ms(result.rollback_outage_ms), True),
            ("worst single client", _ms(result.worst_client_ms), True),
            ("of each outage, the switch itself", _ms(result.closed_ms), True),
            ("and until resolvers see a change", f"{result.dns_delay_seconds:g} s", True),
            (
                "changes by routine updates",
                str(result.routine_updates_changed),
                not result.routine_updates_changed,
            ),
            ("Blue retired", _yes(result.blue_retired), result.blue_retired),
            (
                "passwords found in state and logs",
                str(result.secrets_in_state),
                not result.secrets_in_state,
            ),
            ("PostgreSQL now", result.postgresql_version, True),
            ("from the first pulumi up to here", f"{result.seconds:.0f} s", result.seconds <= 360),
        ]
        title = "What clients were told, and what the servers hold"
        table = Table(title=title, title_style="bold", width=WIDTH - 2, show_header=False)
        table.add_column(ratio=3)
        table.add_column(ratio=2, justify="right")
        table.add_column(width=2)
        for what, value, good in rows:
            mark = "[green]✓[/]" if good else "[bold red]✗[/]"
            table.add_row(escape(what), escape(value), mark)
        self._print()
        self._print(table)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _ms(values: list[float]) -> str:
    return ", ".join(f"{value:.0f} ms" for value in values) or "not measured"
