"""What is written as JSON Lines or CSV is read back as it was."""

from __future__ import annotations

import csv
import io
import json

import attrs
import orjson
from hypothesis import assume, given
from hypothesis import strategies as st

from clarus_async.provisioning.files.numbered import NumberedRecord
from clarus_async.provisioning.files.options import Format, ReadOptions
from clarus_async.provisioning.files.reader import read_rows
from clarus_async.provisioning.files.target import new_records
from clarus_async.resources.integrations import INTEGRATIONS, NewIntegration
from tests.support.strategies import INT64, REFERENCES, STRINGS, json_objects, texts, thorough

TEXTS = ("provider", *REFERENCES, *STRINGS)

awkward = st.sampled_from(['"', '""', ",", "\n", "\r\n", '",\n"', "a\rb", "\ufeff", "\x00", "=1+1", "'", "\u2028"]).map(
    "a{}".format
)
values = texts | awkward
ids = st.integers(min_value=0, max_value=2**63 - 1)


def records(configurations, numbers):
    optional = {name: st.none() | values for name in TEXTS}
    return st.builds(
        NewIntegration,
        name=values,
        integration_type=values,
        is_active=st.none() | st.booleans(),
        account_id=st.none() | numbers,
        warehouse_id=st.none() | numbers,
        configuration=configurations,
        **optional,
    )


json_records = records(st.none() | json_objects, INT64)

# A key with a dot can't be told from two keys, one that ends in a blank from one that does not, and an empty cell is
# no value.
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=".:"), min_size=1, max_size=5).filter(
    lambda key: key == key.strip()
)
nested = st.recursive(values, lambda inner: st.dictionaries(keys, inner, min_size=1, max_size=3), max_leaves=5)
csv_records = records(st.none() | st.dictionaries(keys, nested, min_size=1, max_size=3), ids)


def key(new: NewIntegration) -> str:
    return new.key


def flat(new: NewIntegration) -> dict[str, str]:
    cells: dict[str, str] = {}

    def add(path: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{path}.{key}", inner)
        elif value is not None:
            cells[path] = str(value)

    for name, value in attrs.asdict(new).items():
        add(name, value)
    return cells


def conflicts(headers: set[str]) -> bool:
    return any(other.startswith(header + ".") for header in headers for other in headers)


def read(content: bytes, form: Format | None) -> list[NewIntegration]:
    rows = list(read_rows(io.BytesIO(content), new_records(INTEGRATIONS), ReadOptions(format=form)))
    assert all(isinstance(row, NumberedRecord) for row in rows), rows
    return [row.new for row in rows]


@given(
    st.lists(json_records, max_size=5, unique_by=key),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.booleans(),
)
@thorough
def test_json_lines(news, end, bom):
    lines = [
        orjson.dumps({name: value for name, value in attrs.asdict(new).items() if value is not None}) for new in news
    ]
    content = (b"\xef\xbb\xbf" if bom else b"") + end.join(lines)

    assert read(content, Format.JSON_LINES) == news
    if news:
        assert read(content, None) == news


@given(
    st.lists(json_records, max_size=5, unique_by=key),
    st.sampled_from([None, 0, 2, "\t"]),
    st.booleans(),
)
@thorough
def test_json_over_several_lines(news, indent, is_array):
    records = [{name: value for name, value in attrs.asdict(new).items() if value is not None} for new in news]
    each = [json.dumps(record, indent=indent, ensure_ascii=is_array) for record in records]
    content = json.dumps(records, indent=indent) if is_array else "\n".join(each)

    assert read(content.encode(), Format.JSON_LINES) == news


# The writer leaves a carriage return bare where its line end has none and it need not quote.
styles = st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_ALL, "\n")])


@given(st.lists(csv_records, max_size=4, unique_by=key), styles, st.booleans())
@thorough
def test_csv(news, style, bom):
    rows = [flat(new) for new in news]
    if conflicts({"name"}.union(*rows)):
        # Records that can't share a header have a file each: one of them will do.
        news, rows = news[:1], rows[:1]
    headers = {"name", "integration_type"}.union(*rows)
    quoting, end = style
    text = io.StringIO()
    writer = csv.DictWriter(text, sorted(headers), restval="", quoting=quoting, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    content = ("\ufeff" if bom else "").encode() + text.getvalue().encode()
    # A byte order mark that begins a row is that of a file that was appended.
    assume(not any(line.startswith(b"\xef\xbb\xbf") for line in content.removeprefix(b"\xef\xbb\xbf").splitlines()))

    assert read(content, Format.CSV) == news
