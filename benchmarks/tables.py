"""Tables of what was measured: a row for each case, median and range in each cell; and the change between two."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.machine import spread
from benchmarks.question import Column
from benchmarks.rounds import Measured, Rounds


def table(columns: Sequence[Column], cases: Mapping[str, Rounds]) -> list[str]:
    """Return a Markdown table; a figure that a case does not have is a dash."""
    used = [column for column in columns if any(column.name in rounds for rounds in cases.values())]
    rows = [[name, *(_cell(column, rounds) for column in used)] for name, rounds in cases.items()]
    return _markdown([["", *(column.name for column in used)], *rows])


def _cell(column: Column, rounds: Rounds) -> str:
    values = rounds.get(column.name)
    if not values:
        return "-"
    return f"{sum(values):,.0f}" if column.total else spread(values, column.digits)


def changes(columns: Sequence[Column], measured: Measured) -> list[str]:
    """Compare two trees, case by case: the change is the median of the rounds' own, as each round saw one machine."""
    old, new = measured
    rows = [["", "", old, new, "change"]]
    for case, before in measured[old].items():
        after = measured[new][case]
        rows += [
            [case, column.name, _cell(column, before), _cell(column, after), _change(before, after, column)]
            for column in columns
            if column.name in before and column.name in after
        ]
    return _markdown(rows)


def _change(before: Rounds, after: Rounds, column: Column) -> str:
    pairs = list(zip(before[column.name], after[column.name], strict=True))
    if column.total or not all(old for old, _ in pairs):
        return ""
    each = [(new / old - 1) * 100 for old, new in pairs]
    return f"{statistics.median(each):+.1f}% ({min(each):+.1f} to {max(each):+.1f})"


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
