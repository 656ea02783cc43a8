"""A plot of outages as SVG, by hand: every switch a dot, p50 a line, on a logarithmic scale."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP, _BOTTOM = 900, 44, 250, 30, 50, 40
_COLOURS = ("#3465a4", "#c17d11", "#4e9a06", "#a40000", "#75507b", "#555753")


def write(path: Path, title: str, outages_ms: Mapping[str, Sequence[float]]) -> None:
    """Write one row of dots for each name that has any."""
    rows = {name: list(values) for name, values in outages_ms.items() if values}
    if not rows:
        return
    everything = [max(value, 0.1) for values in rows.values() for value in values]
    low = 10 ** math.floor(math.log10(min(everything)))
    high = 10 ** math.ceil(math.log10(max(everything) * 1.01))
    height = _TOP + _ROW * len(rows) + _BOTTOM

    def x(ms: float) -> float:
        share = math.log10(max(ms, low) / low) / math.log10(high / low)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="16" y="26" font-size="16">{escape(title)}</text>',
    ]
    tick = low
    while tick <= high:
        at = x(tick)
        bottom = height - _BOTTOM
        parts.append(f'<line x1="{at}" y1="{_TOP - 8}" x2="{at}" y2="{bottom}" stroke="#ddd"/>')
        label = f"{tick:g} ms"
        parts.append(f'<text x="{at}" y="{bottom + 20}" text-anchor="middle">{label}</text>')
        tick *= 10
    for number, (name, values) in enumerate(rows.items()):
        y = _TOP + _ROW * number + _ROW / 2
        colour = _COLOURS[number % len(_COLOURS)]
        middle = statistics.median(values)
        parts.append(f'<text x="16" y="{y + 4}">{escape(name)} ({len(values)})</text>')
        parts += [
            f'<circle cx="{x(value)}" cy="{y}" r="4" fill="{colour}" fill-opacity="0.5"/>'
            for value in values
        ]
        at = x(middle)
        parts.append(
            f'<line x1="{at}" y1="{y - 14}" x2="{at}" y2="{y + 14}" stroke="{colour}"'
            ' stroke-width="2"/>'
        )
        parts.append(f'<text x="{at + 5}" y="{y - 9}" font-size="11">{middle:.0f}</text>')
    parts.append("</svg>")
    path.write_text("\n".join(parts) + "\n")
