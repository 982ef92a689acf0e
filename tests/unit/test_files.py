from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest

import clarus_async
from clarus_async.provisioning.csv_records import MAX_RECORD
from clarus_async.provisioning.files import BadRow, Format, NumberedIntegration, format_of, read_records
from clarus_async.records import NewIntegration

SECRET = "canary-3f9c"


def read(text: str | bytes, form: Format | None = None) -> list:
    return list(read_records(io.BytesIO(text.encode() if isinstance(text, str) else text), form))


def only_problem(text: str | bytes, form: Format | None = None) -> tuple[int, str, str]:
    bad = [row for row in read(text, form) if isinstance(row, BadRow)]
    assert len(bad) == 1
    assert len(bad[0].problems) == 1
    problem = bad[0].problems[0]
    return bad[0].line, problem.field, problem.reason


class TestFormat:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("shops.csv", Format.CSV),
            ("SHOPS.CSV", Format.CSV),
            ("a/b.jsonl", Format.JSON_LINES),
            ("b.ndjson", Format.JSON_LINES),
            ("b.json", None),
            ("csv", None),
            ("-", None),
        ],
    )
    def test_is_told_by_the_suffix(self, name, expected):
        assert format_of(name) is expected

    @pytest.mark.parametrize("text", ['{"name": "A", "integration_type": "t"}\n', "name,integration_type\nA,t\n"])
    @pytest.mark.parametrize("before", ["", "\n", "  \r\n\n", "\ufeff", "\ufeff\n"])
    def test_is_told_by_the_first_character(self, before, text):
        [row] = read(before + text)

        assert row.new == NewIntegration(name="A", integration_type="t")
        assert row.line == before.count("\n") + (1 if text.startswith("{") else 2)

    def test_an_array_is_taken_for_json(self):
        assert only_problem('[{"name": "A"}]') == (1, "", "must be a JSON object, not an array")

    @pytest.mark.parametrize("form", [None, Format.JSON_LINES])
    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_an_empty_input_has_no_records(self, text, form):
        assert read(text, form) == []


class TestJsonLines:
    def test_blank_lines_are_skipped_and_counted(self):
        first, second = read(
            '\n{"name": "A", "integration_type": "t"}\n\n  \n{"name": "B", "integration_type": "t"}', Format.JSON_LINES
        )

        assert (first.line, first.new.name) == (2, "A")
        assert (second.line, second.new.name) == (5, "B")

    def test_null_is_left_out_and_the_configuration_is_nested(self):
        [row] = read('{"name": "A", "integration_type": "t", "provider": null, "configuration": {"a": {"b": 1}}}')

        assert row.new.provider is None
        assert row.new.configuration == {"a": {"b": 1}}

    @pytest.mark.parametrize(
        ("line", "field", "reason"),
        [
            (f'{{"name": "{SECRET}"', "", "is not JSON (at column "),
            (f'"{SECRET}"', "", "must be a JSON object, not a string"),
            ("17", "", "must be a JSON object, not a number"),
            ("null", "", "must be a JSON object, not null"),
            ("true", "", "must be a JSON object, not a boolean"),
            (f'{{"name": "A", "integration_type": "t", "account_id": "{SECRET}"}}', "account_id", "must be an integer"),
            ('{"name": "A", "integration_type": "t", "account_id": 17.0}', "account_id", "must be an integer"),
            ('{"name": "A", "integration_type": "t", "is_active": "true"}', "is_active", "must be true or false"),
            ('{"name": "A", "integration_type": "t", "is_active": 1}', "is_active", "must be true or false"),
            (f'{{"name": "A", "integration_type": "t", "nmae": "{SECRET}"}}', "nmae", "did you mean name?"),
            ('{"name": "A"}', "integration_type", "is required"),
            ('{"name": " ", "integration_type": "t"}', "name", "must not be empty"),
            (f'{{"name": "A", "integration_type": "t", "configuration": "{SECRET}"}}', "configuration", "mapping"),
        ],
    )
    def test_a_bad_line_is_named_by_field_and_the_next_is_read(self, line, field, reason):
        good = '{"name": "B", "integration_type": "t"}'
        bad, row = read(f"{line}\n{good}\n", Format.JSON_LINES)

        assert isinstance(row, NumberedIntegration)
        assert bad.line == 1
        assert [problem.field for problem in bad.problems] == [field]
        assert reason in bad.problems[0].reason
        assert SECRET not in repr(bad)

    def test_every_problem_of_a_line_is_named(self):
        [bad] = read('{"name": "", "acount_id": 1, "is_active": 0}')

        assert {problem.field for problem in bad.problems} == {"name", "integration_type", "acount_id", "is_active"}

    def test_a_line_that_is_not_utf8_is_named(self):
        good = b'{"name": "B", "integration_type": "t"}'
        bad, row = read(b'{"name": "caf\xe9", "integration_type": "t"}\n' + good)

        assert isinstance(row, NumberedIntegration)
        assert bad.problems[0].reason == "is not UTF-8 (at byte 14)"

    def test_a_line_that_is_too_long_is_named_and_the_next_is_read(self):
        good = '{"name": "B", "integration_type": "t"}\n'
        long = '{"name": "' + "x" * MAX_RECORD + '", "integration_type": "t"}\n'
        bad, row = read(long + good)

        assert (bad.line, bad.problems[0].reason) == (1, "is longer than 1,048,576 bytes")
        assert row.line == 2


class TestCsv:
    def test_dotted_headers_nest_and_empty_cells_are_left_out(self):
        [row] = read(
            "name,integration_type,provider,is_active,account_id,configuration.key,configuration.a.b,configuration.c\n"
            "A,t,,TRUE,017,1,true,\n"
        )

        assert row.new == NewIntegration(
            name="A",
            integration_type="t",
            is_active=True,
            account_id=17,
            configuration={"key": "1", "a": {"b": "true"}},
        )

    def test_a_configuration_without_values_is_left_out(self):
        [row] = read("name,integration_type,configuration.key\nA,t,\n")

        assert row.new.configuration is None

    def test_a_quoted_cell_may_hold_commas_quotes_and_line_ends(self):
        first, second = read('name,integration_type,string1\r\n"A, B",t,"say ""hi""\r\n\r\nthere"\r\nC,t,\r\n')

        assert (first.line, first.new.name, first.new.string1) == (2, "A, B", 'say "hi"\r\n\r\nthere')
        assert (second.line, second.new.name) == (5, "C")

    def test_text_is_never_trimmed(self):
        [row] = read("name,integration_type\n A ,t\n")

        assert row.new.name == " A "

    @pytest.mark.parametrize(
        ("name", "cell", "reason"),
        [
            ("is_active", "yes", "must be true or false"),
            ("is_active", "1", "must be true or false"),
            ("is_active", " true", "must be true or false"),
            ("account_id", "1.0", "must be an integer in digits"),
            ("account_id", "-1", "must be an integer in digits"),
            ("account_id", "1_000", "must be an integer in digits"),
            ("account_id", "\u0663", "must be an integer in digits"),
            ("warehouse_id", "9" * 19, "must be an integer of at most 64 bits"),
            ("warehouse_id", "9" * 5000, "must be an integer in digits"),
        ],
    )
    def test_typed_cells_are_read_strictly(self, name, cell, reason):
        assert only_problem(f"name,integration_type,{name}\nA,t,{cell}\n") == (2, name, reason)

    def test_every_problem_of_every_row_is_named(self):
        rows = read("name,integration_type,is_active,account_id\n,t,no,x\nA,t,true,1\nB,,,\n")

        assert [(row.line, [p.field for p in row.problems]) for row in rows if isinstance(row, BadRow)] == [
            (2, ["is_active", "account_id", "name"]),
            (4, ["integration_type"]),
        ]
        assert isinstance(rows[1], NumberedIntegration)

    def test_more_cells_than_columns_are_an_error(self):
        text = f"name,integration_type\nA,t,{SECRET},x\n"

        assert only_problem(text) == (2, "column 3", "the row has 4 cells, the header 2")

    def test_fewer_cells_than_columns_are_an_error(self):
        text = "name,integration_type,string1,string2\nA,t,x\n"

        assert only_problem(text) == (2, "string2", "the row has 3 cells, the header 4")

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (f'A,"{SECRET}', "is not CSV: unexpected end of data"),
            (f'A,"t"{SECRET}', "is not CSV: ',' expected after '\"'"),
            ('A,"t" ', "is not CSV: ',' expected after '\"'"),
            ('A "B,t', "has a quote inside a cell that is not quoted, or a bare carriage return"),
            ('A,t,"x', "is not CSV: unexpected end of data"),
        ],
    )
    def test_nothing_is_read_after_quotes_that_do_not_match(self, row, reason):
        text = f"name,integration_type\n{row}\nB,t\nC,t\n"

        assert only_problem(text) == (2, "", f"{reason}; nothing after it was read")
        assert len(read(text)) == 1
        assert SECRET not in repr(read(text))

    def test_a_bare_carriage_return_is_refused(self):
        line, _, reason = only_problem("name,integration_type\nA,t\rB,t\nC,t\n")

        assert line == 2
        assert "carriage return" in reason
        assert "nothing after it was read" in reason

    def test_quotes_are_found_wanting_where_the_record_starts(self):
        text = 'name,integration_type\nA,t\n"B\n' + "x,y\n" * 1000

        assert only_problem(text) == (3, "", "is not CSV: unexpected end of data; nothing after it was read")

    def test_a_row_that_is_not_utf8_is_named_and_the_next_is_read(self):
        rows = read(b"name,integration_type\ncaf\xe9,t\nB,t\n")

        assert [type(row) for row in rows] == [BadRow, NumberedIntegration]
        assert rows[0].line == 2
        assert rows[0].problems[0].reason == "is not UTF-8 (at byte 4)"

    def test_utf16_is_recognised(self):
        line, field, reason = only_problem("name,integration_type\nA,t\n".encode("utf-16"), Format.CSV)

        assert (line, field) == (1, "")
        assert "UTF-16" in reason

    def test_an_empty_file_names_no_columns(self):
        line, field, reason = only_problem("", Format.CSV)

        assert (line, field) == (1, "")
        assert reason.startswith("must name the columns")

    def test_a_header_alone_has_no_records(self):
        assert read("name,integration_type\n") == []

    def test_a_line_that_is_too_long_ends_the_reading(self):
        text = "name,integration_type\n" + "x" * (MAX_RECORD + 1) + ",t\nB,t\n"

        assert only_problem(text) == (2, "", "is longer than 1,048,576 bytes; nothing after it was read")

    def test_a_record_that_never_closes_its_quote_is_too_long(self):
        text = 'name,integration_type\nA,"' + "x\n" * MAX_RECORD

        line, _, reason = only_problem(text)
        assert line == 2
        assert reason.startswith("is longer than 1,048,576 bytes")

    def test_a_cell_that_the_csv_module_finds_too_long_is_refused(self):
        line, _, reason = only_problem(f"name,integration_type,string1\nA,t,{'x' * 200_000}\n")

        assert line == 2
        assert "field larger than field limit" in reason


class TestHeader:
    @pytest.mark.parametrize(
        ("header", "field", "reason"),
        [
            ("name,integration_type,provder", "provder", "is no attribute of an integration; did you mean provider?"),
            (
                "name,integration_type, provider",
                " provider",
                "is no attribute of an integration; did you mean provider?",
            ),
            ("name,integration_type,Provider", "Provider", "is no attribute of an integration; did you mean provider?"),
            ("name,integration_type,name.first", "name.first", "is no attribute of an integration"),
            ("name,provider", "integration_type", "is required"),
            ("name,integration_type,name", "name", "is there twice: as columns 1 and 3"),
            ("name,integration_type,", "column 3", "must have a name"),
            (
                "name,integration_type,configuration",
                "configuration",
                "must go on with a key, as in configuration.api_key",
            ),
            ("name,integration_type,configuration.", "configuration.", "must have a name at each dot"),
            ("name,integration_type,configuration..a", "configuration..a", "must have a name at each dot"),
            (
                "name,integration_type,configuration.a.b,configuration.a",
                "configuration.a",
                "can't hold a value and configuration.a.b too",
            ),
            ("name,integration_type,configuration" + ".a" * 64, "configuration" + ".a" * 64, "more than 64 parts"),
            ('name,integration_type,"x', "", "is not CSV: unexpected end of data"),
        ],
    )
    def test_one_that_can_not_be_used_ends_the_reading(self, header, field, reason):
        line, named, said = only_problem(f"{header}\nA,t,x,y\n")

        assert (line, named) == (1, field)
        assert reason in said

    def test_a_value_and_a_parent_are_refused_in_either_order(self):
        [bad] = read("configuration,configuration.key,name,integration_type\n")

        assert {problem.field for problem in bad.problems} == {"configuration"}

    def test_more_than_a_thousand_columns_are_refused(self):
        columns = ",".join(f"configuration.k{n}" for n in range(999))

        assert only_problem(f"name,integration_type,{columns}\n")[2] == "has 1,001 columns, and may have 1,000"

    def test_a_header_is_never_repeated_where_it_may_be_a_record(self):
        [bad] = read(f"My Shop,shopify,{SECRET}\n")

        assert SECRET not in repr(bad)
        assert "must name the columns" in bad.problems[0].reason

    def test_another_separator_is_an_error(self):
        assert "must name the columns" in only_problem("name;integration_type\nA;t\n")[2]


class _Endless:
    """A big file that is nowhere."""

    def __init__(self, first: bytes, line: bytes, times: int) -> None:
        self._first = first
        self._line = line
        self._times = times

    def readline(self, size: int, /) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        self._times -= 1
        return self._line[:size] if self._times >= 0 else b""


@pytest.mark.parametrize(
    ("first", "line", "times", "form", "limit"),
    [
        pytest.param(b"\n", b'{"name": "A", "integration_type": "t"}\n', 5_000, Format.JSON_LINES, 2**20, id="records"),
        pytest.param(b"{", b"x" * 2**16, 3_000, Format.JSON_LINES, 2**24, id="a line of 200 MB"),
        pytest.param(b'name,"x\n', b"x" * 1000 + b"\n", 200_000, Format.CSV, 2**24, id="an open quote"),
        pytest.param(b"name,", b"," * 2**16, 3_000, Format.CSV, 2**24, id="a header of 200 MB"),
        pytest.param(b"name,integration_type\n", b"x" * 2**16, 500, Format.CSV, 2**21, id="a row of 32 MB"),
    ],
)
def test_memory_is_bounded_whatever_the_size(first, line, times, form, limit):
    tracemalloc.start()
    try:
        for _ in read_records(_Endless(first, line, times), form):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < limit


def test_an_error_of_the_stream_is_not_hidden():
    class Broken:
        def readline(self, size: int, /) -> bytes:
            raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        list(read_records(Broken()))


def test_the_sample_is_good_and_its_keys_are_its_own():
    sample = Path(clarus_async.__file__).parent / "cli" / "sample.csv"
    with sample.open("rb") as stream:
        rows = list(read_records(stream, format_of(sample.name)))

    assert all(isinstance(row, NumberedIntegration) for row in rows)
    assert len({row.new.key for row in rows}) == len({row.new.name for row in rows}) == len(rows) == 200
    assert all(row.new.configuration["api_key"].startswith("demo-key-") for row in rows)
