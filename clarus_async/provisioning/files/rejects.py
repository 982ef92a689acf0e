"""Rows that did not make it, as they stood, each with its reason: a file to correct and give again."""

from __future__ import annotations

import codecs
import csv
import filecmp
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias

from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.files.columns import UNREADABLE
from clarus_async.provisioning.files.csv_records import after_first_cell, join_lines
from clarus_async.provisioning.files.json_records import REASON, split_json
from clarus_async.provisioning.files.numbered import Found, LastRow
from clarus_async.provisioning.files.options import Format, ReadOptions
from clarus_async.provisioning.files.reader import BinaryLines, begin, delimited, is_workbook, open_content
from clarus_async.provisioning.files.target import Target
from clarus_async.provisioning.files.workbook import read_workbook

RowId: TypeAlias = tuple[int, int | None]
"""The line on which a row starts, and its place in a JSON array."""

_EARLIER: Final = re.compile(rf'\A\{{\s*"{REASON}"\s*:\s*"(?:[^"\\]|\\.)*"\s*,?')


def refuse_path(path: str, source: str) -> None:
    """Refuse a path at which something else than rejected rows would be lost.

    Raises:
        InvalidInputError: it is the input, or another file that is there.
    """
    try:
        if Path(path).exists():
            if not Path(path).is_file():
                raise InvalidInputError(f"--rejects: {path} is no file")
            with Path(path).open("rb") as file:
                is_ours = REASON.encode() in file.read(200).replace(b"\0", b"")
            if not is_ours or Path(path).samefile(source):
                raise InvalidInputError(f"--rejects: {path} is there already, and would be lost: give another name")
        elif not os.access(Path(path).absolute().parent, os.W_OK):
            raise InvalidInputError(f"--rejects: {path} can't be written")
    except OSError as error:
        raise InvalidInputError(f"--rejects: {path}: {error.strerror}") from None


def write_rejects(
    path: str, reasons: dict[RowId, str], source: str, target: Target, options: ReadOptions
) -> str | None:
    """Read a file once more, and write the rows that have a reason, below its header; without any, there is no file.

    CSV keeps its delimiter and its encoding; a workbook becomes CSV in UTF-8. Only its owner may read the file. Where
    another one was there, which somebody may have corrected, it gets another name, which is returned.

    Raises:
        OSError: it can't be written.
    """
    if not reasons:
        return _keep(path)
    found = Found()
    with Path(source).open("rb") as stream:

        def rewound() -> io.BufferedReader:
            stream.seek(0)
            return stream

        is_marked = stream.peek(3)[:3] == codecs.BOM_UTF8
        if is_workbook(stream):
            rows, is_marked = _of_workbook(stream, reasons), True
        else:
            rows = _of_lines(open_content(rewound, options, found), reasons, target, options)
        encoding = "utf-8-sig" if is_marked else found.encoding or "utf-8"
        descriptor, temporary = tempfile.mkstemp(dir=Path(path).absolute().parent, prefix=f"{Path(path).name}.")
        try:
            with os.fdopen(descriptor, "w", encoding=encoding, errors="surrogateescape", newline="") as file:
                for reason, text in rows:
                    file.write(reason.encode(encoding, "replace").decode(encoding) + text)
        except OSError as error:
            Path(temporary).unlink()
            error.filename = path
            raise
        kept = None if Path(path).exists() and filecmp.cmp(temporary, path, shallow=False) else _keep(path)
        Path(temporary).replace(path)
        return kept


def _keep(path: str) -> str | None:
    """Rename a file, if it is there, to the first name with a number that is free."""
    if not Path(path).exists():
        return None
    kept = next(name for n in count(1) if not Path(name := f"{path}.{n}").exists())
    Path(path).rename(kept)
    return kept


def _of_lines(
    content: BinaryLines, reasons: dict[RowId, str], target: Target, options: ReadOptions
) -> Iterator[tuple[str, str]]:
    lines, form = begin(content, options)
    if form is Format.JSON_LINES:
        for element in split_json(lines):
            if not isinstance(element, LastRow) and (reason := reasons.get((element.line, element.place))) is not None:
                # What ends a line in JSON stands between its values only.
                text = re.sub(r"[\r\n]+", " ", _text(element.content)).strip()
                if not text.startswith("{"):
                    yield "", f"{text}\n"
                    continue
                rest = _EARLIER.sub("{", text, count=1)[1:].lstrip()
                yield f'{{"{REASON}": {json.dumps(reason)}', f"{'' if rest.startswith('}') else ', '}{rest}\n"
        return
    lines, delimiter = delimited(lines, target, options)
    records = ((number, _text(record)) for number, record in join_lines(lines, delimiter) if isinstance(record, bytes))
    header = next((text for _, text in records if text.strip()), "")
    old = after_first_cell(header, delimiter) if header.lstrip('"').startswith(REASON) else None
    yield REASON, delimiter + (header if old is None else old)
    for number, text in records:
        if (reason := reasons.get((number, None))) is not None:
            rest = text if old is None else after_first_cell(text, delimiter)
            yield _quoted(reason), delimiter + (rest if rest.endswith("\n") else f"{rest}\n")


def _of_workbook(stream: io.BufferedReader, reasons: dict[RowId, str]) -> Iterator[tuple[str, str]]:
    reason: str | None = REASON
    for number, cells in read_workbook(stream, Found()):
        if reason is None:
            reason = reasons.get((number, None))
        if reason is not None and any(cells):
            line = io.StringIO()
            csv.writer(line).writerow([cell if isinstance(cell, str) else UNREADABLE for cell in cells])
            yield _quoted(reason), f",{line.getvalue()}"
            reason = None


def _text(record: bytes) -> str:
    return record.decode("utf-8", "surrogateescape")


def _quoted(reason: str) -> str:
    return '"' + reason.replace('"', '""') + '"'
