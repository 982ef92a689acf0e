"""How results are written: a table for people, JSON Lines for programs, CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import orjson

from clarus_async.cli.streams import is_terminal, printable
from clarus_async.provisioning.files.columns import FORMULA

Record: TypeAlias = Mapping[str, Any]

# The columns that come first, and how wide their values are; what is cut is shorter than that.
_WIDTHS: Final[Mapping[str, int]] = {
    "line": 6, "id": 7, "name": 26, "status": 12, "key": 22, "is_active": 9, "created_at": 16, "error": 100,
}  # fmt: skip
_WIDTH: Final = 16  # of others
_NARROWEST: Final = 8  # that the last one may be cut to
_GAP: Final = 2
_HIDDEN: Final = frozenset({"resource", "index", "changes"})
"""What is no column of a table: it is the same in each row, says what the line says, or has lines of its own."""


def format_of(chosen: str | None, stream: Any, *, single: bool = False) -> Callable[[Record], bytes]:  # noqa: ANN401
    """Return what writes a record as ``--output`` says, or as suits a stream: a table for people, else JSON Lines."""
    chosen = chosen or ("table" if is_terminal(stream) else "jsonl")
    if chosen == "csv":
        return _Csv()
    if chosen == "jsonl":
        return lambda record: orjson.dumps(record) + b"\n"
    return _sheet if single else _Table()


class _Csv:
    """Rows below a header; whatever a spreadsheet would take for a formula is made text."""

    def __init__(self) -> None:
        self._columns: Sequence[str] = ()

    def __call__(self, record: Record) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if not self._columns:
            self._columns = tuple(record)
            writer.writerow(self._columns)
        writer.writerow([self._cell(record.get(name)) for name in self._columns])
        return text.getvalue().encode()

    def _cell(self, value: object) -> object:
        text = value.isoformat() if isinstance(value, datetime) else _plain(value)
        return f"'{text}" if isinstance(value, str) and text.startswith(FORMULA) else text


class _Table:
    """Rows below a header, one at a time: how wide a column is stands before the rows are known."""

    def __init__(self) -> None:
        from rich.cells import set_cell_size

        self._fit = set_cell_size
        self._columns: dict[str, int] = {}

    def __call__(self, record: Record) -> bytes:
        lines = []
        if not self._columns:
            self._columns = _columns([name for name in record if name not in _HIDDEN])
            lines.append([name.upper().replace("_", " ") for name in self._columns])
        lines.append([printable(_for_people(record.get(name))) for name in self._columns])
        changes = (f"  {_plain(change)}" for change in record.get("changes", ()))
        room = shutil.get_terminal_size().columns
        return "".join(
            [*map(self._line, lines), *(self._fit(printable(change), room).rstrip() + "\n" for change in changes)]
        ).encode()

    def _line(self, cells: Sequence[str]) -> str:
        fitted = []
        for cell, width in zip(cells, self._columns.values(), strict=True):
            whole = self._fit(cell, width)
            fitted.append(whole if whole.rstrip() == cell.rstrip() else self._fit(cell, width - 1) + "…")
        return (" " * _GAP).join(fitted).rstrip() + "\n"


def _columns(names: Sequence[str]) -> dict[str, int]:
    """Choose the columns that a terminal has room for; the last takes what is left, up to what it needs."""
    room = shutil.get_terminal_size().columns
    columns: dict[str, int] = {}
    for name in sorted(names, key=lambda name: [*_WIDTHS, name].index(name)):
        width = _WIDTHS.get(name, _WIDTH)
        if width > room and room < _NARROWEST:
            break
        columns[name] = min(width, room)
        room -= columns[name] + _GAP
    return columns


def _sheet(record: Record) -> bytes:
    """Write one record, a line for each attribute that it has."""
    shown = {name: text for name, value in record.items() if (text := printable(_for_people(value)))}
    widest = max(map(len, shown), default=0)
    return "".join(f"{name:<{widest}}  {text}\n" for name, text in shown.items()).encode()


def _for_people(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value.astimezone():%Y-%m-%d %H:%M}" if isinstance(value, datetime) else _plain(value)


def _change(change: Record) -> str:
    """Say what a dry run would change; where before is not known, or it may be a secret, only that it would."""
    before, after = _plain(change.get("before")), _plain(change.get("after", "(not shown)"))
    return f"{change['attribute']}: {before} → {after}" if before else f"{change['attribute']}: {after}"


def _plain(value: object) -> str:
    """Write a value as one text: of an error its message, of several values all."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return _change(value) if "attribute" in value else str(value["message"])
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    return str(value)
