"""Excel workbooks (.xlsx) to rows of cells, by calamine, which is given nothing that would grow without bound.

It holds a sheet as a rectangle from the first cell to the last, so a file of a few bytes whose cells stand far apart
could take all memory, as could one that decompresses to far more than it says. So all parts are decompressed here
first, whatever sizes they declare, and the places of their cells are read off.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from clarus_async.errors import ConfigurationError
from clarus_async.provisioning.files.attribute_types import Unfit
from clarus_async.provisioning.files.columns import Cell
from clarus_async.provisioning.files.numbered import Found, UnreadableError

MAX_CELLS: Final = 4_000_000
"""Rows times columns of a sheet: they take some 400 MB while it is read."""

MAX_DECODED: Final = 2**29
"""Bytes of all parts of a workbook; a sheet of so many cells has fewer."""

_PART: Final = 2**20
_TOO_EXACT: Final = 10**15  # a spreadsheet keeps fifteen digits of a number
_NEXT: Final = "save the sheet as CSV UTF-8"
# A tag, what it says of its place and its type, and whether it is a formula whose value nobody has stored.
_TAG: Final = re.compile(
    rb"<(?:\w+:)?(row|c)(?=[\s/>])([^<]*)(<f\b[^<]*(?:</f>)?\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>)?", re.ASCII
)
_PLACE: Final = re.compile(rb"""(?:^|\s)r\s*=\s*["']([A-Za-z]*)([0-9]+)""")
_TYPE: Final = re.compile(rb"""\st\s*=\s*["'](e|str)["']""")


class _Places:
    """Where the cells of a part of a workbook are, by its raw bytes, as calamine reads them."""

    def __init__(self) -> None:
        self.rows = self.columns = 0
        self.broken: dict[tuple[int, int], str] = {}  # cells without a value that could be sent, and why
        self._row = self._column = 0
        self._tail = b""

    def feed(self, part: bytes, *, is_last: bool) -> None:
        text = self._tail + part
        # The last tag, and what may follow it, is looked at once it is whole.
        start = max(text.rfind(mark) for mark in (b"<c", b"<row", b":c", b":row"))
        end = len(text) if is_last else max(0, text.rfind(b"<", 0, start + 1) if start >= 0 else len(text) - 16)
        if len(text) - end > _PART:
            if text.find(b"<", end + 1) < 0:
                raise UnreadableError(f"has a tag of more than {_PART:,} bytes: {_NEXT}")
            end = len(text)
        for found in _TAG.finditer(text, 0, end):
            self._note(*found.groups())
        self._tail = text[end:]

    def _note(self, name: bytes, attributes: bytes, without_value: bytes | None) -> None:
        place = _PLACE.search(attributes)
        if name == b"row":
            self._row, self._column = int(place[2][:9]) if place else self._row + 1, 0
        elif place:
            self._column = sum((byte & 31) * 26**n for n, byte in enumerate(reversed(place[1][:6])))
            self._row = int(place[2][:9])
        else:
            self._column += 1
        self.rows, self.columns = max(self.rows, self._row), max(self.columns, self._column)
        kind = _TYPE.search(attributes)
        if kind and kind[1] == b"e":
            self.broken[self._row, self._column] = "holds an error, such as #N/A: correct its formula"
        elif without_value and not kind:
            self.broken[self._row, self._column] = "holds a formula without its value: open and save the file in Excel"


def _inspect(file: zipfile.ZipFile, stream: BinaryIO) -> dict[str, _Places]:
    """Decompress every part, and return where its cells are."""
    decoded = 0
    places: dict[str, _Places] = {}
    for member in file.infolist():
        part = places[member.filename] = _Places()
        stream.seek(member.header_offset)
        head = stream.read(30)
        if member.flag_bits & 1 or member.compress_type not in {0, 8} or len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise UnreadableError(f"is a workbook that is encrypted or damaged: {_NEXT}")
        stream.seek(int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"), 1)
        left, inflate = member.compress_size, zlib.decompressobj(-15)
        while left > 0 and (packed := stream.read(min(left, 2**16))):
            left -= len(packed)
            while packed:
                text = inflate.decompress(packed, _PART) if member.compress_type else packed
                packed = inflate.unconsumed_tail
                decoded += len(text)
                if decoded > MAX_DECODED:
                    raise UnreadableError(f"is a workbook of more than {MAX_DECODED >> 20} MiB, decompressed: {_NEXT}")
                part.feed(text, is_last=False)
        part.feed(b"", is_last=True)
        if part.rows * part.columns > MAX_CELLS:
            raise UnreadableError(
                f"is a workbook with cells up to row {part.rows:,} and column {part.columns:,}, and may have"
                f" {MAX_CELLS:,} cells: delete what stands apart, or {_NEXT}"
            )
    return places


_ATTRIBUTE: Final = re.compile(r"""\s(?:\w+:)?(name|id|Id|Target)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def _part_of(file: zipfile.ZipFile, sheet: str) -> str:
    """Return the part of a workbook that is a sheet."""
    from html import unescape  # noqa: PLC0415  only a workbook pays for it

    def tags(part: str, tag: str) -> Iterator[dict[str, str]]:
        for found in re.findall(rf"<(?:\w+:)?{tag}\s[^<]*", file.read(part).decode(errors="replace")):
            yield {name: unescape(one or other) for name, one, other in _ATTRIBUTE.findall(found)}

    ids = {tag.get("name"): tag.get("id") for tag in tags("xl/workbook.xml", "sheet")}
    targets = {tag.get("Id"): tag.get("Target", "") for tag in tags("xl/_rels/workbook.xml.rels", "Relationship")}
    target = targets.get(ids.get(sheet), "")
    return target[1:] if target.startswith("/") else f"xl/{target}"


def letters(position: int) -> str:
    """Return how a spreadsheet calls a column, counted from 1."""
    text = ""
    while position:
        position, place = divmod(position - 1, 26)
        text = chr(65 + place) + text
    return text


def read_workbook(stream: BinaryIO, found: Found) -> Iterator[tuple[int, list[Cell]]]:
    """Read the rows of the first sheet that is shown, each with its number; each begins with column A.

    Raises:
        UnreadableError: there is none, or the file is not what it should be.
    """
    try:
        import python_calamine as calamine  # noqa: PLC0415  an extra
    except ImportError:
        raise ConfigurationError("a workbook needs python-calamine: pip install 'clarus-async[cli]'") from None
    try:
        with zipfile.ZipFile(stream) as file:
            names = set(file.namelist())
            # Of other archives calamine knows formats that are not looked at here.
            if "xl/workbook.xml" not in names or names & {"content.xml", "xl/workbook.bin"}:
                raise UnreadableError(f"is a zip archive, and no .xlsx workbook: {_NEXT}")
            places = _inspect(file, stream)
            stream.seek(0)
            book = calamine.CalamineWorkbook.from_filelike(stream)
            shown = [
                sheet.name
                for sheet in book.sheets_metadata
                if sheet.typ == calamine.SheetTypeEnum.WorkSheet and sheet.visible == calamine.SheetVisibleEnum.Visible
            ]
            if not shown:
                raise UnreadableError("is a workbook without a sheet that is shown")
            sheet = book.get_sheet_by_name(shown[0])
            broken = places.get(_part_of(file, shown[0]), _Places()).broken
    except (zipfile.BadZipFile, zlib.error, calamine.CalamineError, KeyError, ValueError, NotImplementedError):
        raise UnreadableError(f"is a workbook that is damaged: open it, and {_NEXT}") from None
    found.kind = f"sheet {shown[0]}" + (f", the first of {len(shown)}" if len(shown) > 1 else "")
    if sheet.start is None:
        raise UnreadableError(f"has nothing in its first sheet, {shown[0]}: move the one with the records to the front")
    indent: list[Cell] = [""] * sheet.start[1]
    merged = _Merged(sheet.merged_cell_ranges or [])
    for number, values in enumerate(sheet.iter_rows(), 1):
        cells = indent + [_cell(value) for value in values]
        for column in range(1, len(cells) + 1):
            if reason := broken.get((number, column)):
                cells[column - 1] = Unfit(reason)
        merged.mark(number - 1, cells)
        yield number, cells


class _Merged:
    """Cells that are merged with another one: they have its value on the screen, and none in the file."""

    def __init__(self, ranges: list[tuple[tuple[int, int], tuple[int, int]]]) -> None:
        self._ahead = sorted(ranges, reverse=True)
        self._here: list[tuple[int, int, int, Unfit]] = []

    def mark(self, row: int, cells: list[Cell]) -> None:
        while self._ahead and self._ahead[-1][0][0] == row:
            (_, first), (last_row, last) = self._ahead.pop()
            if first < len(cells) and cells[first]:
                place = f"{letters(first + 1)}{row + 1}"
                reason = Unfit(f"is merged with {place}: unmerge them, and give each row its own value")
                self._here.append((first, last, last_row, reason))
                cells[first + 1 : last + 1] = [reason] * (min(last + 1, len(cells)) - first - 1)
        self._here = [entry for entry in self._here if entry[2] >= row]
        for first, last, _, reason in self._here:
            for column in range(first, min(last + 1, len(cells))):
                cells[column] = cells[column] or reason


def _cell(value: Any) -> Cell:  # noqa: ANN401  calamine's types of values
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) >= _TOO_EXACT:
            return Unfit("has more digits than Excel keeps of a number: format the column as text, and enter it again")
        return str(int(value)) if value == int(value) else format(value, ".15g")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
