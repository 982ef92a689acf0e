"""Rows of figures, what each was wanted to be, and the Markdown that shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """A figure.

    Args:
        text: what it is.
        want: what it was to be, if anything.
        ok: whether it is that.
    """

    text: str
    want: str = ""
    ok: bool = True


class Row(NamedTuple):
    """What a scenario came to.

    Args:
        title: the scenario in words.
        cells: its figures by column.
    """

    title: str
    cells: Mapping[str, Cell]

    @property
    def ok(self) -> bool:
        """Whether every figure is what it was to be."""
        return all(cell.ok for cell in self.cells.values())


def ratio(value: float) -> str:
    """Write a ratio."""
    return f"{value:.3f}"


def percent(value: float) -> str:
    """Write a share."""
    return f"{100 * value:.2f} %"


def part(value: float, least: float | None = None) -> Cell:
    """Show a ratio of which more is better."""
    return Cell(ratio(value)) if least is None else Cell(ratio(value), f"≥ {least:g}", value >= least)


def share(value: float, most: float | None = None) -> Cell:
    """Show a share of which less is better."""
    return Cell(percent(value)) if most is None else Cell(percent(value), f"≤ {100 * most:g} %", value <= most)


def none_of(number: int) -> Cell:
    """Show a number that should be 0."""
    return Cell(str(number), "" if number == 0 else "0", number == 0)


def within(seconds: float | None, most: float) -> Cell:
    """Show a time that should be short; ``None``: it never came to it."""
    text = "never" if seconds is None else f"{seconds:.1f} s"
    return Cell(text, f"≤ {most:g} s", seconds is not None and seconds <= most)


def markdown(heading: str, first: str, rows: Sequence[Row], *, verdict: bool) -> str:
    """Write a table.

    Args:
        heading: above it.
        first: of the first column.
        rows: in order.
        verdict: whether the last column says if the targets are met.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    lines = [[first, *columns, *(["verdict"] if verdict else [])]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        shown = [_shown(row.cells.get(column)) for column in columns]
        lines.append([row.title, *shown, *([("OK" if row.ok else "MISSED")] if verdict else [])])
    return "\n".join([f"### {heading}", "", *(f"| {' | '.join(line)} |" for line in lines), ""])


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return ""
    text = cell.text if cell.ok else f"**{cell.text}**"
    return f"{text} ({cell.want})" if cell.want else text
