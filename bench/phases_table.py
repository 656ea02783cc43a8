"""The table of phases in docs/switch.md: made from a run, never typed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench import report
from bench.switch_load import Batch

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "switch.md"
BEGIN, END = "<!-- figures of bench-switch: begin -->", "<!-- figures of bench-switch: end -->"


def fill_document(batches: Mapping[str, Batch], document: Path = DOCUMENT) -> None:
    """Put the figures between the document's two marks; without marks nothing is changed."""
    text = document.read_text() if document.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        document.write_text(f"{before}{BEGIN}\n{table(batches)}{END}{after}")


def table(batches: Mapping[str, Batch]) -> str:
    """Return outages and phases as two tables of Markdown, p50 / p95 in milliseconds."""
    names = list(dict.fromkeys(phase for batch in batches.values() for phase in batch.phases))
    lines = ["| | switches | cutover | rollback | worst client |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {len(batch.outages)} | {_two(batch.cutovers)} | {_two(batch.rollbacks)}"
        f" | {_two(batch.worst_client)} |"
        for name, batch in batches.items()
    ]
    lines += ["", f"| phases | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(_two(batch.phases.get(phase, [])) for phase in names)} |"
        for name, batch in batches.items()
        if batch.phases
    ]
    return "\n".join(lines) + "\n"


def _two(values: list[float]) -> str:
    if not values:
        return ""
    spread = report.spread(values, 1)
    return f"{spread.p50:g} / {spread.p95:g}"
