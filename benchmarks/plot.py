"""The plot of the README: bars with the range of the rounds, as SVG, from the kept results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from benchmarks.results import FOLDER, Result

PLOT = FOLDER / "throughput.svg"
_WIDTH, _LEFT, _RIGHT, _BAR, _GAP = 860, 300, 150, 18, 8
_OURS, _OTHERS = "#1f6feb", "#8b949e"


class Bar(NamedTuple):
    label: str
    values: Sequence[float]
    ours: bool


def bars(results: Mapping[str, Result]) -> list[tuple[str, list[Bar]]]:
    """Return the groups of the plot: each load of `peers`, with what went all the way a second."""
    groups: dict[str, list[Bar]] = {}
    for case, rounds in results["peers"].cases.items() if "peers" in results else ():
        load, _, product = case.rpartition(": ")
        groups.setdefault(load, []).append(Bar(product, rounds["results/s through"], product == "router"))
    return list(groups.items())


def svg(groups: Sequence[tuple[str, Sequence[Bar]]], title: str) -> str:
    """Draw the groups one below the other; the bar is the median, the line its range."""
    most = max(max(bar.values) for _, group in groups for bar in group)
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    y, parts = 34.0, [_text(10, 20, title, "start", bold=True)]
    for name, group in groups:
        y += 22
        parts.append(_text(10, y, name, "start", bold=True))
        y += _GAP
        for bar in group:
            parts += _bar(bar, y, scale)
            y += _BAR + _GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 10:.0f}" font-family="sans-serif">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"


def _bar(bar: Bar, y: float, scale: float) -> list[str]:
    low, middle, high = min(bar.values), statistics.median(bar.values), max(bar.values)
    centre, color = y + _BAR / 2, _OURS if bar.ours else _OTHERS
    return [
        _text(_LEFT - 8, centre + 4, bar.label, "end"),
        f'<rect x="{_LEFT}" y="{y:.1f}" width="{middle * scale:.1f}" height="{_BAR}" fill="{color}"/>',
        f'<path d="M{_LEFT + low * scale:.1f} {centre:.1f}H{_LEFT + high * scale:.1f}" stroke="black"/>',
        _text(_LEFT + high * scale + 6, centre + 4, f"{middle:,.0f} ({low:,.0f} to {high:,.0f})", "start"),
    ]


def _text(x: float, y: float, words: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def draw(results: Mapping[str, Result], path: Path = PLOT) -> None:
    """Write the plot, if there is anything to draw."""
    groups = bars(results)
    if groups:
        path.write_text(svg(groups, "Results a second that went all the way, one core: median and range"))
