"""Fills the figures of a long run into docs/switch.md: `python -m tests.chaos.document [FILE]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results" / "chaos.json"
DOCUMENT = ROOT / "docs" / "switch.md"
BEGIN = "<!-- figures of the chaos run: begin -->"
END = "<!-- figures of the chaos run: end -->"


def block(run: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        f"Made on {run['made_at'][:10]} with seed {run['seed']}, as a library with real processes,"
        f" on {run['machine']}: {run['rounds']} rounds",
        f"in {run['seconds']} s, to and fro, {run['switches']} switches with their repeats."
        f" {run['next_switch'].get('made anew', 0)} were undone by the fault and begun again,",
        f"{run['next_switch'].get('repeated', 0)} got through. In {run['none_open_until_next']}"
        " rounds nobody was left to open a side, and the next switch did.",
        f"Lost {run['lost']}, doubled or reordered {run['doubled']}, both sides writable"
        f" {run['both_writable']}.",
        "",
        "| fault | rounds | longest from the fault to a commit, ms |",
        "|---|---|---|",
    ]
    for fault, steps in run["by_fault"].items():
        longest = run["longest_until_open_ms"].get(fault)
        lines.append(
            f"| {fault} | {sum(steps.values())} | {'' if longest is None else f'{longest:.0f}'} |"
        )
    return "\n".join(lines)


def fill(text: str, run: dict[str, Any]) -> str:
    """Return the document with the figures between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{block(run)}\n{END}{after}"


def main() -> None:
    """Fill it in; a run that failed is no figure."""
    run = json.loads((Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS).read_text())
    if run["failure"] is not None:
        sys.exit("that run has found a broken rule: fix it, and run it again")
    DOCUMENT.write_text(fill(DOCUMENT.read_text(), run))


if __name__ == "__main__":
    main()
