from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

import clarus_async
from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.provisioning.files.json_records import Element
from clarus_async.provisioning.files.numbered import MAX_RECORD, BadRow, Found, NumberedRecord
from clarus_async.provisioning.files.options import Format, ReadOptions
from clarus_async.provisioning.files.reader import format_of, read_rows
from clarus_async.provisioning.files.target import new_records
from clarus_async.provisioning.report import Outcome, OutcomeStatus
from clarus_async.resources.integrations import INTEGRATIONS, NewIntegration
from clarus_async.resources.spec import NaturalKey

SECRET = "canary-3f9c"


def read(text: str | bytes, form: Format | None = None) -> list:
    return list(
        read_rows(
            io.BytesIO(text.encode() if isinstance(text, str) else text),
            new_records(INTEGRATIONS),
            ReadOptions(format=form),
        )
    )


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

    @pytest.mark.parametrize("form", [None, *Format])
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"PK\x03\x04\x14\x00\x06\x00", "is a zip archive, as Excel's .xlsx is: save the sheet as CSV UTF-8"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an Office document, as Excel's .xls is: save the sheet as CSV UTF-8"),
            (b"\x1f\x8b\x08\x00", "is compressed by gzip: decompress it first, as with gzip -dc"),
            (b"SQLite format 3\x00\x10", "is an SQLite database, as a journal is: give the file of records"),
            (b"<!DOCTYPE html>\n<html>", "is XML or HTML: give the records as CSV or JSON"),
            ("name,a\nA,t\n".encode("utf-16"), "is not UTF-8 (it looks like UTF-16): save the file as UTF-8"),
            ("name,a\nA,t\n".encode("utf-16-le"), "is not UTF-8 (it looks like UTF-16): save the file as UTF-8"),
            ('{"name": "A"}'.encode("utf-16-be"), "is not UTF-8 (it looks like UTF-16): save the file as UTF-8"),
        ],
    )
    def test_another_file_is_called_what_it_is(self, form, content, said):
        assert only_problem(content + b"\n\n", form) == (1, "", said)

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

        assert isinstance(row, NumberedRecord)
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

        assert isinstance(row, NumberedRecord)
        assert bad.problems[0].reason == "is not UTF-8 (at byte 14): save the file as UTF-8"

    def test_a_line_that_is_too_long_is_named_and_the_next_is_read(self):
        good = '{"name": "B", "integration_type": "t"}\n'
        long = '{"name": "' + "x" * MAX_RECORD + '", "integration_type": "t"}\n'
        bad, row = read(long + good)

        assert (bad.line, bad.problems[0].reason) == (1, "is longer than 1,048,576 bytes")
        assert row.line == 2

    @pytest.mark.parametrize(
        ("attributes", "field", "reason"),
        [
            ('"string1": "a", "string1": "b"', "string1", "is given twice"),
            ('"string1": "a", "string\\u0031": "a"', "string1", "is given twice"),
            ('"name": "B"', "name", "is given twice"),
            ('"configuration": {"a": 1, "a": 1}', "configuration.a", "is given twice"),
            ('"configuration": {"a": [{}, {"k": 1, "k": null}]}', "configuration.a[1].k", "is given twice"),
            ('"account_id": 147573952589676412928', "account_id", "must be an integer of at most 64 bits"),
            ('"account_id": 9223372036854775808', "account_id", "must be an integer of at most 64 bits"),
            (
                '"configuration": {"n": -9223372036854775809}',
                "configuration.n",
                "must be an integer of at most 64 bits",
            ),
            ('"configuration": {"n": 1' + "0" * 5000 + "}", "configuration.n", "must be an integer of at most 64 bits"),
            ('"configuration": {"n": 0.1234567890123456789}', "configuration.n", "must be a number that 64 bits hold"),
            ('"configuration": {"n": [1e-400]}', "configuration.n[0]", "must be a number that 64 bits hold"),
            ('"configuration": {"n": 9007199254740993.0}', "configuration.n", "must be a number that 64 bits hold"),
            ('"configuration": {"n": 0.1' + "0" * 500 + "1}", "configuration.n", "must be a number that 64 bits hold"),
            ('"configuration": {"n": 1e400}', "configuration.n", "must be a finite number"),
            ('"configuration": {"n": NaN}', "configuration.n", "must be a finite number"),
            ('"configuration": {"n": -Infinity}', "configuration.n", "must be a finite number"),
            ('"string1": "\\ud800"', "string1", "must be valid Unicode (it holds a lone surrogate)"),
            ('"configuration": {"n": "\\udc00x"}', "configuration.n", "must be valid Unicode"),
            ('"configuration": {"\\ud800": 1}', "configuration.\\ud800", "must be valid Unicode"),
            ('"\\ud800": 1', "\\ud800", "must be valid Unicode"),
            ('"configuration": ' + '{"a":' * 65 + "1" + "}" * 65, "configuration" + ".a" * 64, "must not nest deeper"),
            ('"configuration": ' + "[" * 100_000 + "]" * 100_000, "", "must not nest deeper than 64 levels"),
        ],
    )
    def test_what_would_not_be_sent_as_it_is_written_is_refused_by_name(self, attributes, field, reason):
        line = f'{{"name": "A", "integration_type": "t", {attributes}}}'
        bad, row = read(f'{line}\n{{"name": "B", "integration_type": "t"}}\n')

        assert [problem.field for problem in bad.problems] == [field]
        assert bad.problems[0].reason.startswith(reason)
        assert row.new.name == "B"

    @pytest.mark.parametrize("number", ["0.1", "1e2", "1.50", "-0.0", "1E-7", "5e-324", "1.7976931348623157e308"])
    def test_a_number_that_is_written_in_another_way_is_read(self, number):
        [row] = read(f'{{"name": "A", "integration_type": "t", "configuration": {{"n": {number}}}}}')

        assert row.new.configuration == {"n": float(number)}

    def test_every_other_problem_is_named_as_well(self):
        [bad] = read('{"name": "A", "name": "B", "is_active": 1, "x": 1e-400}')

        assert {(p.field, p.reason) for p in bad.problems} >= {
            ("name", "is given twice"),
            ("integration_type", "is required"),
        }
        assert [p.field for p in bad.problems].count("name") == 1


A = '{"name": "A", "integration_type": "t"}'
B = '{"name": "B", "integration_type": "t", "configuration": {"a": ["x]", {"b": "\\"}{"}]}}'


class TestDocuments:
    """JSON that is not one object a line."""

    @pytest.mark.parametrize("form", [None, Format.JSON_LINES])
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            (f"[{A}, {B}]", [1, 1]),
            (f"\ufeff[{A}, {B}]\n", [1, 1]),
            (f"[\n{A},\n{B}\n]\n", [2, 3]),
            (f"[\r\n{A}\r\n,\r\n{B}\r\n]\r\n", [2, 4]),
            (f"[{A},\n {B}]", [1, 2]),
            (f"[{A}]\n\n[]\n[{B}]", [1, 4]),
            (f"[{A}][{B}]", [1, 1]),
            (f"{A}\n[{B}]\n", [1, 2]),
            (f"[{A}]\n{B}\n", [1, 2]),
            (json.dumps([json.loads(A), json.loads(B)], indent=2), [2, 6]),
            (json.dumps(json.loads(A), indent=2) + "\n" + json.dumps(json.loads(B), indent="\t"), [1, 5]),
            (json.dumps(json.loads(A), indent=2) + json.dumps(json.loads(B), indent=2), [1, 4]),
            (A.replace(", ", ",\n") + "\n" + B, [1, 3]),
        ],
    )
    def test_are_read(self, form, text, lines):
        rows = read(text, form)

        assert [row.new for row in rows] == [NewIntegration(**json.loads(record)) for record in (A, B)]
        assert [row.line for row in rows] == lines

    def test_are_read_whatever_the_length_of_their_lines(self):
        names = [f'{n} "\\]' * 30_000 for n in range(12)]
        rows = read(json.dumps([{"name": name, "integration_type": "t"} for name in names]))

        assert [row.new.name for row in rows] == names
        assert [row.place for row in rows] == list(range(1, 13))

    def test_an_element_that_is_wrong_is_named_by_its_place_and_the_next_is_read(self):
        long = json.dumps({"name": "x" * MAX_RECORD, "integration_type": "t"})
        rows = read(f'[{A}, {{"name": "A", "name": "A"}}, 17, [{A}], {long}, {B}]')

        assert [(row.place, row.problems[0].reason) for row in rows[1:-1]] == [
            (2, "is given twice"),
            (3, "must be a JSON object, not a number"),
            (4, "must be a JSON object, not an array"),
            (5, "is longer than 1,048,576 bytes"),
        ]
        assert (rows[0].new.name, rows[-1].new.name, rows[-1].place) == ("A", "B", 6)

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            (f"[{A},", 1),
            (f'[{A}, {{"name": }}, {B}]', 1),
            (f"[{A},\n{A} {B}\n]", 2),
            (f"[{A},\n,{B}]", 2),
            (f"[{A},\n]\n{B}", 2),
            (f"[{A},\n}}\n{B}", 2),
            (f"[{A}],\n{B}", 1),
            (f"[{A}] x\n{B}", 1),
            (f'[{A}, {{"name": "B\n", "integration_type": "t"}}, {B}]', 1),
            (f'[{A},\n{{"name": "B\\\n", "integration_type": "t"}}, {B}]', 2),
        ],
    )
    def test_nothing_is_read_after_what_is_not_json(self, text, line):
        first, last = read(text)

        assert first.new.name == "A"
        assert (last.line, last.problems[0].field) == (line, "")
        assert last.problems[0].reason.startswith("is not JSON")
        assert last.problems[0].reason.endswith("; nothing after it was read")

    def test_the_line_of_a_mistake_is_named(self):
        [bad] = read('[\n  {\n    "name": "A",\n    "name"\n  }\n]')

        assert (bad.line, bad.problems[0].reason) == (
            2,
            "is not JSON (at column 3 of line 5); nothing after it was read",
        )

    def test_a_line_of_json_lines_that_is_cut_short_takes_no_other_with_it(self):
        bad, row = read(A[:-6] + "\n" + B)

        assert (bad.line, row.new.name) == (1, "B")

    def test_lines_that_end_in_commas_are_not_taken_for_an_array(self):
        rows = read(f"{A},\n{A},\n{B}\n")

        assert [(row.line, type(row)) for row in rows] == [(1, BadRow), (2, BadRow), (3, NumberedRecord)]


class TestOutput:
    """What the command line itself writes."""

    def test_a_list_is_called_what_it_is_once(self):
        line = (
            '{"id": 1, "name": "A", "provider": null, "integration_type": "t", "status": "active", "is_active": true}\n'
        )
        number, field, reason = only_problem(line * 3)

        assert (number, field) == (1, "")
        assert reason.startswith("is an integration that is there already, as clarus list writes it")
        assert only_problem(f"[{line},{line}]")[2] == reason

    def test_outcomes_are_called_what_they_are_once(self):
        outcome = Outcome(index=0, key="A", status=OutcomeStatus.CREATED, resource="integrations")
        line = outcome.to_json() + b"\n"

        assert only_problem(line * 3)[2].startswith("is an outcome, as clarus provision writes it")


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
        ("name", "cells", "value"),
        [
            ("is_active", "true TRUE yes 1 on WAHR ja VRAI oui sí", True),
            ("is_active", "false no 0 off FALSCH nein FAUX non", False),
            ("account_id", "1234567 1234567.0 1234567,00 1,234,567 1.234.567 1'234'567 1\u202f234\u202f567", 1234567),
            ("account_id", "-1 -1.0", -1),
            ("account_id", "007", 7),
        ],
    )
    def test_typed_cells_are_read_by_a_table(self, name, cells, value):
        lines = (f'{n},t," {cell} "\n' for n, cell in enumerate(cells.split(" ")))
        rows = read(f"name,integration_type,{name}\n" + "".join(lines))

        assert [getattr(row.new, name) for row in rows] == [value] * len(rows)

    @pytest.mark.parametrize(
        ("name", "cell", "reason"),
        [
            ("is_active", "perhaps", "'perhaps' is neither true nor false"),
            ("is_active", "2", "'2' is neither true nor false"),
            ("is_active", SECRET, "what stands here is neither true nor false"),
            ("account_id", "1.5", "'1.5' is no integer in digits"),
            ("account_id", '"1,234"', "'1,234' is no integer in digits"),
            ("account_id", "1.234", "'1.234' is no integer in digits"),
            ("account_id", "1_000", "what stands here is no integer in digits"),
            ("account_id", "\u0663", "what stands here is no integer in digits"),
            ("account_id", '"4,00717E+12"', "is a number that a spreadsheet has shortened: format the column as text,"),
            ("external_system_reference1", "4.00717E+12", "is a number that a spreadsheet has shortened: format the"),
            ("warehouse_id", "9" * 19, "must be an integer of at most 64 bits"),
            ("warehouse_id", "9" * 5000, "what stands here is no integer in digits"),
        ],
    )
    def test_other_cells_of_typed_columns_are_refused(self, name, cell, reason):
        line, field, said = only_problem(f"name,integration_type,{name}\nA,t,{cell}\n")

        assert (line, field) == (2, name)
        assert said.startswith(reason)

    def test_every_problem_of_every_row_is_named(self):
        rows = read("name,integration_type,is_active,account_id\n,t,maybe,x\nA,t,true,1\nB,,,\n")

        assert [(row.line, [p.field for p in row.problems]) for row in rows if isinstance(row, BadRow)] == [
            (2, ["is_active", "account_id", "name"]),
            (4, ["integration_type"]),
        ]
        assert isinstance(rows[1], NumberedRecord)

    @pytest.mark.parametrize(
        ("header", "row", "field", "cells"),
        [("", f"A,t,{SECRET},x", "column 3", (4, 2)), (",string1,string2", "A,t,x", "string2", (3, 4))],
    )
    def test_more_or_fewer_cells_than_columns_are_an_error(self, header, row, field, cells):
        said = "the row has {} cells, the header {}".format(*cells)

        assert only_problem(f"name,integration_type{header}\n{row}\n") == (2, field, said)

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            (f'A,"{SECRET}', "is not CSV: a quoted cell is not closed"),
            (f'A,"t"{SECRET}', "is not CSV: text follows a closing quote"),
            ('A,"t" ', "is not CSV: text follows a closing quote"),
            ('A "B,t', "has a quote inside a cell that is not quoted, or a bare carriage return"),
            ('A,t,"x', "is not CSV: a quoted cell is not closed"),
            ("A,t\rB,t", "has a quote inside a cell that is not quoted, or a bare carriage return"),
        ],
    )
    def test_nothing_is_read_after_quotes_that_do_not_match(self, row, reason):
        text = f"name,integration_type\n{row}\nB,t\nC,t\n"

        assert only_problem(text) == (2, "", f"{reason}; nothing after it was read")
        assert len(read(text)) == 1
        assert SECRET not in repr(read(text))

    def test_quotes_are_found_wanting_where_the_record_starts(self):
        text = 'name,integration_type\nA,t\n"B\n' + "x,y\n" * 1000

        assert only_problem(text) == (3, "", "is not CSV: a quoted cell is not closed; nothing after it was read")

    def test_a_row_that_is_not_utf8_is_named_and_the_next_is_read(self):
        rows = read(b"name,integration_type\ncaf\xe9,t\nB,t\n")

        assert [type(row) for row in rows] == [BadRow, NumberedRecord]
        assert rows[0].line == 2
        assert rows[0].problems[0].reason == "is not UTF-8 (at byte 4): save the file as UTF-8"

    def test_an_empty_file_names_no_columns(self):
        line, field, reason = only_problem("", Format.CSV)

        assert (line, field) == (1, "")
        assert reason.startswith("must name the columns")

    def test_a_header_alone_has_no_records(self):
        assert read("name,integration_type\n") == []

    @pytest.mark.parametrize(
        ("long", "lines"),
        [
            pytest.param("x" * (MAX_RECORD + 1), 1, id="plain"),
            pytest.param('"' + "x" * 3 * MAX_RECORD + '"', 1, id="quoted"),
            pytest.param('"' + ("x" * 999 + '""\n') * 2000 + '"', 2001, id="of several lines"),
            pytest.param('"' + '""' * MAX_RECORD + '"', 1, id="quotes"),
            pytest.param('"' + "x" * (MAX_RECORD - 12) + '""' * 9 + '"', 1, id="a quote where it is cut"),
        ],
    )
    def test_a_row_that_is_too_long_is_named_and_the_next_is_read(self, long, lines):
        bad, row = read(f"name,integration_type\n{long},t\nB,t\n")

        assert (bad.line, bad.problems[0].reason) == (2, "is longer than 1,048,576 bytes")
        assert (row.line, row.new.name) == (2 + lines, "B")

    @pytest.mark.parametrize("stray", ['A,5" x', 'A,"t', '"A', '"A" x'])
    def test_nothing_is_read_after_a_long_row_whose_quotes_do_not_match(self, stray):
        inside = 'B,"t, t"\n"x\nC,t\ny",t\n'
        *_, last = rows = read("name,integration_type\n" + stray + "," + "x" * MAX_RECORD + "\n" + inside)

        assert all(isinstance(row, BadRow) for row in rows)
        assert last.problems[0].reason.endswith("; nothing after it was read")

    def test_a_record_that_never_closes_its_quote_is_too_long(self):
        text = 'name,integration_type\nA,"' + ("x" * 999 + "\n") * 2000

        long, last = read(text)
        assert (long.line, long.problems[0].reason) == (2, "is longer than 1,048,576 bytes")
        assert last.problems[0].reason == "is not CSV: a quoted cell is not closed; nothing after it was read"

    @pytest.mark.parametrize("limit", [1, 2**17, 2**30])
    def test_what_an_application_set_for_the_csv_module_does_not_matter(self, limit):
        before = csv.field_size_limit(limit)
        try:
            first, second = read(f'name,integration_type,string1\nA,t,{"x" * 1_000_000}\nB,t,"{"y" * 1_000_000}"\n')
        finally:
            csv.field_size_limit(before)

        assert (first.new.string1, second.new.string1) == ("x" * 1_000_000, "y" * 1_000_000)

    @pytest.mark.parametrize(
        "again", ["name,integration_type\n", "\ufeffname,integration_type\r\n", '"name",integration_type\n']
    )
    def test_the_header_of_a_file_that_was_appended_is_named(self, again):
        first, header, second = read("name,integration_type\nA,t\n" + again + "B,t\n")

        assert (first.new.name, second.new.name) == ("A", "B")
        assert (header.line, header.problems[0].reason) == (3, "is a header again: join files without their headers")

    @pytest.mark.parametrize(
        "again", ["integration_type,name\n", "Name,Integration_Type\n", "name,provider,integration_type\n"]
    )
    def test_nothing_is_read_after_a_header_of_other_columns(self, again):
        first, header = read("name,integration_type\nA,t\n" + again + "B,t\n")

        assert first.new.name == "A"
        assert header.line == 3
        assert header.problems[0].reason.endswith("where their columns are the same; nothing after it was read")

    def test_a_row_of_a_file_that_was_appended_is_named_by_its_byte_order_mark(self):
        first, bad, second = read("name,integration_type\nA,t\n\ufeffB,t\nC,t\n")

        assert (first.new.name, second.new.name) == ("A", "C")
        assert "begins with a byte order mark" in bad.problems[0].reason

    def test_a_last_line_without_its_end_is_told_from_the_header_that_follows_it(self):
        text = "name,integration_type\nA,t" + "name,integration_type\nB,t\n"

        assert only_problem(text) == (2, "column 3", "the row has 3 cells, the header 2")


class TestHeader:
    @pytest.mark.parametrize(
        ("header", "field", "reason"),
        [
            ("name,integration_type,provder", "provder", "is no attribute of an integration; did you mean provider?"),
            ("name,integration_type,name.first", "name.first", "is no attribute of an integration"),
            ("name,provider", "integration_type", "is required"),
            ("name,integration_type,name", "name", "is there twice: as columns 1 and 3"),
            ("name,integration_type,configuration.", "configuration.", "must have a name at each dot"),
            ("name,integration_type,configuration..a", "configuration..a", "must have a name at each dot"),
            (
                "name,integration_type,configuration.a.b,configuration.a",
                "configuration.a",
                "can't hold a value and configuration.a.b too",
            ),
            ("name,integration_type,configuration" + ".a" * 64, "configuration" + ".a" * 64, "more than 64 parts"),
            ('name,integration_type,"x', "", "is not CSV: a quoted cell is not closed"),
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

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("name;integration_type;string1\nA;t;a,b\n", "CSV separated by semicolons"),
            ('"Name";"configuration.a,b";Integration Type;string1\n"A";;t;a,b\n', "CSV separated by semicolons"),
            ("name\tintegration_type\tstring1\r\nA\tt\ta,b\r\n", "CSV separated by tabs"),
            ("name|integration_type|string1\nA|t|a,b\n", "CSV separated by bars"),
            ("sep=;\nname;integration_type;string1\nA;t;a,b\n", "CSV separated by semicolons"),
            ('"sep=,"\nname,integration_type,string1\nA,t,"a,b"\n', ""),
            ('name,integration_type,string1\nA,t,"a,b"\n', ""),
        ],
    )
    def test_the_delimiter_is_found(self, text, what):
        found = Found()
        [row] = read_rows(io.BytesIO(text.encode()), new_records(INTEGRATIONS), found=found)

        assert (row.new.name, row.new.string1, found.what) == ("A", "a,b", what)

    @pytest.mark.parametrize(
        "header",
        ["Name,Integration Type", "NAME,integration-type", "name ,IntegrationType", "\xa0Name*,INTEGRATION_TYPE,,"],
    )
    def test_the_spelling_of_names_is_forgiven(self, header):
        [row] = read(f"{header}\nA,t\n")

        assert row.new == NewIntegration(name="A", integration_type="t")


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
        pytest.param(b"[", b'{"name": "A", "integration_type": "t"},', 5_000, None, 2**22, id="an array on one line"),
        pytest.param(b"[", b'{"name": "x', 20_000, None, 2**24, id="an array that is never closed"),
        pytest.param(b'name,"x\n', b"x" * 1000 + b"\n", 200_000, Format.CSV, 2**24, id="an open quote"),
        pytest.param(b"name,", b"," * 2**16, 3_000, Format.CSV, 2**24, id="a header of 200 MB"),
        pytest.param(b"name,integration_type\n", b"x" * 2**16, 500, Format.CSV, 2**22, id="a row of 32 MB"),
    ],
)
def test_memory_is_bounded_whatever_the_size(first, line, times, form, limit):
    tracemalloc.start()
    try:
        for _ in read_rows(_Endless(first, line, times), new_records(INTEGRATIONS), ReadOptions(format=form)):
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
        list(read_rows(Broken(), new_records(INTEGRATIONS)))


def test_the_sample_is_good_and_its_keys_are_its_own():
    sample = Path(clarus_async.__file__).parent / "cli" / "sample.csv"
    with sample.open("rb") as stream:
        rows = list(read_rows(stream, new_records(INTEGRATIONS), ReadOptions(format=format_of(sample.name))))

    assert all(isinstance(row, NumberedRecord) for row in rows)
    assert len({row.new.key for row in rows}) == len({row.new.name for row in rows}) == len(rows) == 200
    assert all(row.new.configuration["api_key"].startswith("demo-key-") for row in rows)


@attrs.frozen(kw_only=True)
class NewMoon:
    noun: ClassVar[str] = "a moon"

    code: str
    planet_id: int
    label: str | None = None
    is_inner: bool | None = None
    orbit: Mapping[str, Any] | None = None

    @classmethod
    def from_mapping(cls, attributes):
        problems = [InputProblem(name, "is unknown") for name in attributes if not hasattr(cls, name)]
        problems += [InputProblem(name, "is required") for name in ("code", "planet_id") if name not in attributes]
        if problems:
            raise InvalidInputError.of("NewMoon", problems)
        return cls(**attributes)


@attrs.frozen(kw_only=True)
class MoonRow:
    id: int
    code: str | None = None
    is_inner: bool | None = None
    shape: str | None = None


MOONS = attrs.evolve(
    INTEGRATIONS,
    name="moons",
    new=NewMoon,
    record=MoonRow,
    listing=attrs.evolve(INTEGRATIONS.listing, row=MoonRow, optional=("shape",)),
    keys=(NaturalKey(field="code", called="code"),),
    secret=(),
)


class TestAnotherResource:
    """A reader knows of a resource what its declaration says, and nothing else."""

    def read(self, text):
        return list(read_rows(io.BytesIO(text.encode()), new_records(MOONS)))

    def test_cells_are_read_by_the_annotations(self):
        rows = self.read("code,planet_id,is_inner,orbit.days\n007,5,TRUE,7.1\n")

        assert rows == [NumberedRecord(2, NewMoon(code="007", planet_id=5, is_inner=True, orbit={"days": "7.1"}))]

    @pytest.mark.parametrize(
        ("text", "field", "reason"),
        [
            ("code,planet_id\nIo,five\n", "planet_id", "'five' is no integer in digits"),
            ("code,planet_id,is_inner\nIo,5,x\n", "is_inner", "'x' is neither true nor false"),
            ("code,planet_id\nIo,5\nIo,6\n", "code", "is the same as on line 2"),
            ("code,planet_id,account_id\nIo,5,x\n", "account_id", "is no attribute of a moon"),
            ("Io,5\n", "", "must name the columns, as in code,planet_id: no name in it is known"),
            ("code,planet_id\nIo,5\nCODE,planet_id\n", "", "is a header again: join files without their headers"),
            (
                '{"id": 1, "code": "Io", "is_inner": null}',
                "",
                "is a moon that is there already, as clarus list writes it:",
            ),
        ],
    )
    def test_problems_name_its_attributes(self, text, field, reason):
        [problem] = [problem for row in self.read(text) if isinstance(row, BadRow) for problem in row.problems]

        assert problem.field == field
        assert problem.reason.startswith(reason)


def test_what_is_being_read_shows_nothing_of_its_text():
    assert repr(Element(3, None, b'{"pin": "secret"}')) == "Element(line=3)"
