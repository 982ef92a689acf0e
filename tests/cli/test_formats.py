"""How results are written."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarus_async.cli.formats import format_of

ROW = {
    "id": 17, "name": "Shop", "is_active": True, "created_at": datetime(2026, 1, 10, 12, tzinfo=UTC), "provider": None,
}  # fmt: skip

FORMULAS = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")


def written(form, *records, **more):
    render = format_of(form, None, **more)
    return b"".join(map(render, records)).decode()


@pytest.fixture
def columns(monkeypatch):
    return lambda number: monkeypatch.setenv("COLUMNS", str(number))


def test_json_lines_are_one_object_a_line():
    lines = written(None, ROW, ROW).splitlines()

    assert [orjson.loads(line)["id"] for line in lines] == [17, 17]


class TestCsv:
    def test_a_header_comes_first_and_once(self):
        assert written("csv", ROW, ROW).splitlines() == [
            "id,name,is_active,created_at,provider",
            *["17,Shop,true,2026-01-10T12:00:00+00:00,"] * 2,
        ]

    @pytest.mark.parametrize("start", FORMULAS)
    def test_what_a_spreadsheet_would_take_for_a_formula_is_text(self, start):
        text = written("csv", {"name": f'{start}HYPERLINK("http://x")', "id": -1})

        assert list(csv.reader(io.StringIO(text, newline="")))[1] == [f'\'{start}HYPERLINK("http://x")', "-1"]

    def test_of_an_error_the_message_is_written_and_of_several_values_all(self):
        record = {"error": {"type": "NotFoundError", "message": "no such, record"}, "others": (1, 2)}

        assert written("csv", record).splitlines()[1] == '"no such, record",1 2'

    @given(st.lists(st.text().filter(lambda text: not text.startswith(FORMULAS)), min_size=1))
    def test_everything_else_is_read_as_it_was(self, values):
        text = written("csv", {str(n): value for n, value in enumerate(values)})

        assert list(csv.reader(io.StringIO(text, newline="")))[1] == values


class TestTable:
    @pytest.mark.parametrize("width", [20, 40, 80, 200])
    def test_no_line_is_longer_than_the_terminal(self, width, columns):
        columns(width)
        text = written("table", ROW | {"name": "x" * 300}, ROW)

        assert max(map(len, text.splitlines())) <= width
        assert "17" in text

    def test_what_is_cut_shows_it(self, columns):
        columns(80)
        header, row = written("table", {"id": 1, "name": "A name that is longer than its column is"}).splitlines()

        assert header == "ID       NAME"
        assert row == "1        A name that is longer tha…"

    def test_wide_characters_take_two_columns(self, columns):
        columns(80)
        first, second = written(
            "table", {"name": "店舗", "status": "active"}, {"name": "Shop", "status": "x"}
        ).splitlines()[1:]

        assert first.index("active") + 2 == second.index("x")

    def test_nothing_drives_the_terminal(self, columns):
        columns(80)
        assert "\x1b" not in written("table", {"name": "\x1b[2J\r\n"})

    def test_what_a_dry_run_would_change_has_lines_of_its_own(self, columns):
        columns(60)
        changes = [
            {"attribute": "name", "before": "Shop", "after": "Books"}, {"attribute": "configuration"},
            {"attribute": "string1", "before": None, "after": "x" * 80},
        ]  # fmt: skip
        lines = written("table", {"id": 1, "status": "would_update", "changes": changes}).splitlines()

        assert lines[2:4] == ["  name: Shop → Books", "  configuration: (not shown)"]
        assert len(lines[4]) == 60

    def test_one_record_is_a_line_for_each_attribute(self):
        assert written("table", ROW, single=True).splitlines()[:3] == [
            "id          17", "name        Shop", "is_active   yes",
        ]  # fmt: skip
