"""What the benches write: the plot, the document's figures, the figures at the top of the JSON."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from bench import phases_table, plot
from bench.switch import LIBRARY, MAIN, RUNBOOK, Run, result, sizes
from bench.switch_load import Batch


def batch(**changes: object) -> Batch:
    made = Batch(
        cutovers=[40.0, 50.0], rollbacks=[60.0], worst_client=[70.0], phases={"drain": [3]}
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_the_plot_is_an_image_with_a_dot_for_every_switch(tmp_path: Path) -> None:
    plot.write(tmp_path / "x.svg", "<title>", {"one & all": [1.0, 20.0, 3000.0], "none": []})
    root = ET.fromstring((tmp_path / "x.svg").read_text())  # our own
    circles = root.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 3
    assert float(circles[0].attrib["cx"]) < float(circles[1].attrib["cx"])


def test_figures_go_between_the_documents_marks_and_nowhere_else(tmp_path: Path) -> None:
    document = tmp_path / "switch.md"
    document.write_text(f"before\n{phases_table.BEGIN}\nold\n{phases_table.END}\nafter\n")
    for _ in range(2):  # the second run finds the first one's figures
        phases_table.fill_document({"pulumi up": batch()}, document)
    text = document.read_text()
    assert text.startswith(f"before\n{phases_table.BEGIN}\n| | switches |")
    assert text.endswith(f"{phases_table.END}\nafter\n")
    assert "| pulumi up | 3 | 45 / 50 | 60 / 60 | 70 / 70 |" in text
    assert "old" not in text


def test_the_document_has_the_marks() -> None:
    text = phases_table.DOCUMENT.read_text()
    assert 0 < text.index(phases_table.BEGIN) < text.index(phases_table.END)


def test_what_the_published_procedure_loses_is_not_counted_as_ours() -> None:
    this = Run(each_way=1, sequences=(200,), databases=(1,))
    this.batches = {MAIN: batch(), LIBRARY: batch(lost=1), RUNBOOK: batch(lost=7)}
    found = result(this)
    assert found["lost"] == 1
    assert found["batches"][RUNBOOK]["lost"] == 7
    assert found["runs"] == 3
    assert found["cutover_outage_ms"].max == 50.0
    assert found["multihost_outage_ms"] is None


def test_wrong_sizes_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQUENCES", "200,many")
    with pytest.raises(SystemExit, match="SEQUENCES=200,many: expected positive numbers"):
        sizes("SEQUENCES", (1,))
