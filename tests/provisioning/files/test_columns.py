"""What columns mean, and what rows become."""

from __future__ import annotations

import io

import pytest

from clarus_async.provisioning.files.numbered import BadRow
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.reader import read_rows
from clarus_async.provisioning.files.target import changes_by_id, ids, new_records
from clarus_async.resources.integrations import INTEGRATIONS, IntegrationChanges

SECRET = "canary-3f9c"


def read(text, target=None, **options):
    return list(read_rows(io.BytesIO(text.encode()), target or new_records(INTEGRATIONS), ReadOptions(**options)))


def problems(rows):
    return [(row.line, str(problem)) for row in rows if isinstance(row, BadRow) for problem in row.problems]


def test_typed_headers_and_json_cells():
    header = "name,integration_type,configuration.port:int,configuration.on:bool,configuration.n:number"
    [row] = read(
        f'{header},configuration.a.b:json,configuration.t:text\nA,t,8080.0,ja,1.5,"[1, {{""k"": null}}]",007\n'
    )

    assert row.new.configuration == {"port": 8080, "on": True, "n": 1.5, "a": {"b": [1, {"k": None}]}, "t": "007"}
    [row] = read('name,integration_type,Configuration\nA,t,"{""port"": 1}"\n')
    assert row.new.configuration == {"port": 1}


@pytest.mark.parametrize(
    ("header", "cell", "said"),
    [
        ("configuration.port:int", "80a", "configuration.port:int: what stands here is no integer in digits"),
        ("configuration.pin:int", "perhaps", "configuration.pin:int: what stands here is no integer in digits"),
        ("configuration.n:number", '"1,5"', "configuration.n:number: is not JSON (at column 2)"),
        ("configuration.n:number", '"""1"""', "configuration.n:number: must be a number, with a decimal point"),
        ("configuration", '"{""a"": 1, ""a"": 2}"', "configuration: a is given twice"),
        ("configuration", f'"{{""a"": {SECRET}}}"', "configuration: is not JSON (at column 7)"),
        ("configuration", "[]", "configuration: must be a mapping"),
        ("name:int", "x", "name:int: is text, and not int"),
    ],
)
def test_cells_of_typed_headers_are_checked_and_not_shown(header, cell, said):
    rows = read(f"name,integration_type,{header}\nA,t,{cell}\n")

    assert problems(rows)[0][1].startswith(said)
    assert SECRET not in repr(rows)


def test_columns_are_mapped_and_left_out():
    rows = read(
        "Shop name;Typ;api;x;clarus_reason;\nA;t;k;9;bad;\n",
        map={"shop NAME": "name", "Typ": "integration_type", "api": "configuration.api_key"},
        ignore=("X",),
    )

    assert [(row.new.name, row.new.integration_type, row.new.configuration) for row in rows] == [
        ("A", "t", {"api_key": "k"})
    ]
    [row] = read('{"n": "A", "integration_type": "t", "x": 1, "clarus_reason": "r"}', map={"n": "name"}, ignore=("x",))
    assert row.new.name == "A"


@pytest.mark.parametrize(
    ("header", "options", "said"),
    [
        ("name,integration_type,nam e,Name", {}, "Name: is there twice: as columns 1 and 4 (name, Name)"),
        ("name,integration_type,provder", {}, "provder: is no attribute of an integration; did you mean provider?"),
        ("name,integration_type,x", {"map": {"y": "name"}}, "has no column y to map"),
        ("name,integration_type,x", {"map": {"x": "nmae"}}, "x: is no attribute of an integration; did you mean name?"),
        ("name,integration_type,configuration,configuration.a", {}, "configuration: can't hold a value and conf"),
    ],
)
def test_headers_that_can_not_be_used_are_named(header, options, said):
    found = [text for _, text in problems(read(f"{header}\n", **options))]

    assert any(text.removeprefix(": ").startswith(said) for text in found), found


def test_a_column_without_a_header_must_be_empty():
    rows = read("name,integration_type,,string1,,\nA,t,,x,,\nB,t,,x,9,\nC,t,9,x\n,,,,,\n")

    assert problems(rows) == [
        (3, "column 5: the row has 5 cells, the header 4"),
        (4, "column 3: has no header: name the column, or empty it"),
    ]


CHANGES = "id;Name;is_active;string1;configuration.a\n7;;nein;\\N;\n8;B;;;x\n9;;;;\n7;C;;;\n;D;;;\n1,0;E;;;\n"


def test_changes_are_read_by_id():
    rows = read(CHANGES, changes_by_id(INTEGRATIONS))

    assert [(row.new.id, row.new.changes) for row in rows if not isinstance(row, BadRow)] == [
        (7, IntegrationChanges(is_active=False, string1=None)),
        (8, IntegrationChanges(name="B", configuration={"a": "x"})),
        (1, IntegrationChanges(name="E")),
    ]
    assert problems(rows) == [
        (4, "changes: at least one attribute must be given"),
        (5, "id: is the same as on line 2"),
        (6, "id: is required"),
    ]


def test_changes_name_what_no_update_changes():
    [row] = read("id,provider\n1,x\n", changes_by_id(INTEGRATIONS))

    assert row.problems[0].reason.startswith("is nothing that can be changed of an integration")
    [row] = read('{"id": 1, "provider": "x", "name": "A"}', changes_by_id(INTEGRATIONS))
    assert problems([row]) == [(1, "provider: is nothing that can be changed of an integration")]
    [row] = read('{"id": 1, "string1": null}', changes_by_id(INTEGRATIONS))
    assert row.new.changes == IntegrationChanges(string1=None)


@pytest.mark.parametrize(
    "text",
    ["ID\n7\n8\n7\nx\n", '{"id": 7, "x": 1}\n{"id": 8}\n{"id": 7}\n{"id": "x"}\n', "name,id\na,7\nb,8\n,7\nid,x\n"],
)
def test_ids_are_read_whatever_else_is_there(text):
    rows = read(text, ids(INTEGRATIONS))

    assert [row.new.id for row in rows if not isinstance(row, BadRow)] == [7, 8]
    assert [text.partition(":")[0].lower() for _, text in problems(rows)] == ["id", "id"]


def test_what_was_made_text_for_spreadsheets_is_read_as_it_was():
    [row] = read("id,name,string1\n1,'=A1,'tis\n", changes_by_id(INTEGRATIONS))

    assert (row.new.changes.name, row.new.changes.string1) == ("=A1", "'tis")
