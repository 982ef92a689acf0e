"""What a person gives: CSV and JSON Lines, and an input that is pulled."""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import openpyxl
import orjson
from hypothesis import strategies as st
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from clarus_async.provisioning.files.numbered import MAX_RECORD, BadRow, Found, NumberedRecord
from clarus_async.provisioning.files.options import FIND_OUT, Format, ReadOptions
from clarus_async.provisioning.files.reader import read_file, read_rows
from clarus_async.provisioning.files.target import changes_by_id, ids, new_records
from clarus_async.provisioning.input_buffer import InputBuffer
from clarus_async.resources.integrations import INTEGRATIONS, NewIntegration
from tests.fuzz.engine import Target
from tests.fuzz.fitting import assert_fits
from tests.fuzz.mutation import nested, spoilt
from tests.property.test_files_roundtrip import csv_records, flat, json_records


def printed_json(new: NewIntegration) -> bytes:
    return orjson.dumps({name: value for name, value in attrs.asdict(new).items() if value is not None})


def printed_csv(news: list[NewIntegration]) -> bytes:
    rows = [flat(new) for new in news]
    headers = {"name", "integration_type"}.union(*rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, sorted(headers), restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def check_rows(content: bytes, form: Format | None) -> list[NumberedRecord]:
    """Read, and hold what holds of any input."""
    rows = list(read_rows(io.BytesIO(content), new_records(INTEGRATIONS), ReadOptions(format=form)))
    lines = [row.line for row in rows]
    assert lines == sorted(lines)
    assert not lines or 1 <= lines[0] <= lines[-1] <= content.count(b"\n") + 1
    for row in rows:
        if isinstance(row, BadRow):
            assert row.problems
            for problem in row.problems:
                assert_fits(problem)
                assert problem.reason
        else:
            assert_fits(row.new)
            # What is read of what we print is the same record.
            [again] = read_rows(
                io.BytesIO(printed_json(row.new)), new_records(INTEGRATIONS), ReadOptions(format=Format.JSON_LINES)
            )
            assert isinstance(again, NumberedRecord), again
            assert again.new == row.new
    return [row for row in rows if isinstance(row, NumberedRecord)]


def check_csv(content: bytes) -> None:
    read = check_rows(content, Format.CSV)
    check_rows(content, None)
    text = content.removeprefix(b"\xef\xbb\xbf")
    try:
        # Where a record is read, the standard reader reads the same one.
        expected = list(csv.reader(io.StringIO(text.decode(errors="replace"), newline=""), strict=True))
    except csv.Error:
        return
    # Empty lines are no records, wherever they stand.
    header, *rows = [row for row in expected if len(row) > 1 or "".join(row).strip(" \t\n\r\v\f")] or [[]]
    named = [dict(zip(header, row, strict=False)) for row in rows]
    standard = {(row.get("name"), row.get("integration_type")) for row in named}
    for row in read:
        assert (row.new.name, row.new.integration_type) in standard


def check_any(content: bytes) -> None:
    """Whatever the bytes are, rows come, or a problem with its line; and of other targets, too."""
    for target in (new_records(INTEGRATIONS), changes_by_id(INTEGRATIONS), ids(INTEGRATIONS)):
        found = Found()
        for row in read_file(lambda: io.BufferedReader(io.BytesIO(content)), target, FIND_OUT, found):
            assert row.line >= 1
            assert not isinstance(row, BadRow) or row.problems
        assert isinstance(found.what, str)


def printed_sheet(news: list[NewIntegration]) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in csv.reader(io.StringIO(printed_csv(news).decode(), newline="")):
        sheet.append([ILLEGAL_CHARACTERS_RE.sub("", cell) for cell in row])
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def check_jsonl(content: bytes) -> None:
    check_rows(content, Format.JSON_LINES)
    check_rows(content, None)


def check_long(given: tuple[bytes, int, int, bytes]) -> None:
    """A record about as long as one may be, and one that never ends: read in bounded time, and no more kept of it."""
    head, unit, count, tail = given
    body = head[: unit % 8] * count
    content = b"name,integration_type\n" + body[: MAX_RECORD + 100] + tail
    for form in (None, Format.CSV, Format.JSON_LINES):
        check_rows(content, form)


_csv = st.lists(csv_records, max_size=3).map(printed_csv)
_jsonl = st.lists(json_records.map(printed_json), max_size=3).map(b"\n".join)
_arrays = st.builds(
    lambda records, between: b"[" + between + (between + b"," + between).join(records) + between + b"]",
    st.lists(json_records.map(printed_json), max_size=3),
    st.sampled_from([b"", b"\n", b" \r\n\t"]),
)
_pieces = st.lists(
    st.sampled_from([
        b"name", b"integration_type", b"configuration.a", b"configuration.a.b", b"is_active", b"account_id", b"true",
        b'"', b'""', b"\n", b"\r\n", b"\r", b"1", b"x", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b".", b" ",
        b",", b"{", b"}", b"string1", b"9" * 30, b"9223372036854775808", b"\xc3\xa9",
    ]),
    max_size=40,
).map(b"".join)  # fmt: skip
_headed = st.builds(lambda rest: b"name,integration_type,is_active,account_id,configuration.a\n" + rest, _pieces)


# --- an input that is pulled


def check_source(given: tuple[int, int, list[int], int | None, bool, int | None]) -> None:
    """Records come in their order, each once, whatever raises, ends or stops, and never far ahead."""
    asyncio.run(_check_source(*given))


async def _check_source(
    count: int, ahead: int, sizes: list[int], raises: int | None, is_async: bool, stops: int | None
) -> None:
    given: list[int] = []

    def plain() -> Iterator[Any]:
        for number in range(count):
            if number == raises:
                raise KeyError(number)
            given.append(number)
            yield number

    async def slow() -> AsyncIterator[Any]:
        for number in plain():
            await asyncio.sleep(0)
            yield number

    source = InputBuffer(slow() if is_async else plain(), ahead)
    source.start()
    taken: list[int] = []
    turn = 0
    while True:
        most = sizes[turn % len(sizes)]
        if turn == stops:
            source.stop()
        got = await source.take(most)
        assert len(got) <= most
        taken += [place for place, _ in got]
        assert all(place == record for place, record in got)
        assert len(given) - len(taken) <= ahead + 1
        if not got:
            break
        turn += 1
    await source.closed()
    assert taken == list(range(len(taken)))
    if stops is None or stops > turn:
        assert len(taken) == (count if raises is None else min(raises, count))
        assert (source.error is not None) == (raises is not None and raises < count)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left


_counts = st.integers(0, 200)
_inputs = st.tuples(
    _counts, st.integers(1, 80), st.lists(st.integers(1, 90), min_size=1, max_size=4), st.none() | _counts,
    st.booleans(), st.none() | st.integers(0, 8),
)  # fmt: skip

TARGETS = (
    Target("csv", spoilt(_csv) | _headed | _pieces | st.binary(max_size=400), check_csv),
    Target("jsonl", spoilt(_jsonl) | spoilt(_arrays) | nested | st.binary(max_size=400), check_jsonl),
    Target(
        "any",
        spoilt(_csv.map(gzip.compress) | st.lists(csv_records, max_size=2).map(printed_sheet))
        | st.tuples(_headed, st.sampled_from([b"sep=;", b"sep=\t", b"\xff\xfe", b"PK\x03\x04", b"\x1f\x8b"])).map(
            lambda parts: parts[1] + parts[0].replace(b",", b";")
        ),
        check_any,
    ),
    Target(
        "long",
        st.tuples(st.sampled_from([b'"a,\n"a,\n',
                   b"aaaaaaaa", b'""""""""', b"[[[[[[[[", b'{"a":{"a', b"\n\r\n\r\n\r\n\r"]),
                  st.integers(1, 7), st.sampled_from([1000, 150_000, 262_144, 1_048_576]),
                  st.sampled_from([b"", b'"', b"\n", b'"\na,b\n'])),
        check_long,
        most=20.0,  # a quarter of a million rows, read three times over
    ),
    Target("source", _inputs, check_source),
)  # fmt: skip
