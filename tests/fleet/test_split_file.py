"""A file split into shards: every record is in one of them, and what belongs together is."""

from __future__ import annotations

import gzip
import io
import tracemalloc

import attrs
import orjson
import pytest

from clarus_async.errors import InvalidInputError
from clarus_async.fleet.shards import Shard
from clarus_async.fleet.split_file import split_file
from clarus_async.provisioning.files.numbered import NumberedRecord
from clarus_async.provisioning.files.options import Format, ReadOptions
from clarus_async.provisioning.files.reader import read_rows
from clarus_async.provisioning.files.target import new_records
from clarus_async.resources.integrations import INTEGRATIONS

SECRET = "c4n4ry"
QUOTED = "name,integration_type,external_system_reference1,configuration.api_key\n" + "".join(
    f'"Shop ""{n}""\nof two lines",shopify,ref-{n},"{SECRET}\n\n{n}"\n' + ("\n \n" if n % 3 == 0 else "")
    for n in range(17)
)


def line(n, **more):
    return orjson.dumps(
        {"name": f"Shop {n}", "integration_type": "shopify", "external_system_reference1": f"ref-{n}"} | more
    )


def lines(records):
    return b"\n".join(records) + b"\n"


def split_of(tmp_path, content, *, size=4, references=True, name="records.jsonl", **more):
    path = tmp_path / name
    path.write_bytes(content)
    return split_file(
        str(path), INTEGRATIONS, tenant="acme", base_url="https://c", references=references, size=size, **more
    )


FILES = {
    "json lines": ("r.jsonl", lines(line(n) for n in range(17))),
    "no last line end": ("r.jsonl", lines(line(n) for n in range(17)).rstrip()),
    "blank lines and a byte order mark": ("r.jsonl", b"\xef\xbb\xbf\n \n" + b"\n\n".join(line(n) for n in range(9))),
    "line ends of Windows": ("r.jsonl", lines(line(n) for n in range(9)).replace(b"\n", b"\r\n")),
    "an unknown suffix": ("r.txt", lines(line(n) for n in range(9))),
    "csv with quoted line ends": ("r.csv", QUOTED.encode()),
    "csv with a byte order mark": ("r.csv", b"\xef\xbb\xbf" + QUOTED.encode()),
    "csv of an unknown suffix": ("r.txt", b"\n" + QUOTED.encode()),
    "a header alone": ("r.csv", b"name,integration_type"),
    "nothing": ("r.jsonl", b""),
}


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("kind", FILES)
def test_shards_hold_what_the_file_holds(kind, size, tmp_path):
    name, content = FILES[kind]
    rows = list(
        read_rows(
            io.BytesIO(content),
            new_records(INTEGRATIONS),
            ReadOptions(format=None if name == "r.txt" else Format(name.partition(".")[2])),
        )
    )
    assert all(isinstance(row, NumberedRecord) for row in rows)
    split = split_of(tmp_path, content, size=size, name=name)
    read = [record for shard in split.shards for record in shard.read()]
    assert read == [(index, row.new) for index, row in enumerate(rows)]
    assert list(split.lines) == [row.line for row in rows]
    assert [shard.records for shard in split.shards] == [
        min(size, len(rows) - start) for start in range(0, len(rows), size)
    ]
    assert all(len(shard.ranges) == 1 for shard in split.shards)


def test_a_shard_travels_as_json_and_holds_no_secret(tmp_path):
    split = split_of(tmp_path, QUOTED.encode(), name="r.csv")
    for shard in split.shards:
        message = orjson.dumps(shard.as_dict())
        assert Shard.from_dict(orjson.loads(message)) == shard
        assert SECRET.encode() not in message
        assert b"Shop" not in message
    assert SECRET not in repr(split)


def test_a_shard_of_a_resource_that_this_version_does_not_know_is_refused(tmp_path):
    [shard] = split_of(tmp_path, lines([line(0)])).shards
    stranger = attrs.evolve(shard, resource="moons")
    for read in (stranger.verify, lambda: list(stranger.read())):
        with pytest.raises(InvalidInputError, match="the shard is of moons, and this version of clarus_async knows"):
            read()


def test_a_shard_that_another_version_made_is_refused(tmp_path):
    [shard] = split_of(tmp_path, lines([line(0)])).shards
    message = shard.as_dict()
    for other in (message | {"further": 1}, message | {"format": "xml"}, {"run": "r.1"}):
        with pytest.raises(InvalidInputError, match="made by another version"):
            Shard.from_dict(other)


def test_a_key_that_is_there_twice_is_a_bad_row_for_the_second(tmp_path):
    told = []
    records = [line(n) for n in range(6)] + [line(9, external_system_reference1="ref-1"), line(7), line(7)]
    split = split_of(tmp_path, lines(records), size=3, report=told.append)
    assert (split.bad, split.shards) == (2, ())
    assert [(row.line, str(row.problems[0])) for row in told] == [
        (7, "external_system_reference1: is the same as on line 2"),
        (9, "external_system_reference1: is the same as on line 8"),
    ]


def test_records_of_one_name_are_together_where_they_are_looked_up_by_it(tmp_path):
    records = [line(n, name=["Shop A", "shop a ", f"Shop {n}"][n % 3]) for n in range(12)]
    apart = split_of(tmp_path, lines(records), size=3)
    assert [[i for i, _ in shard.read()] for shard in apart.shards] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    together = split_of(tmp_path, lines(records), size=3, references=False)
    assert [[i for i, _ in shard.read()] for shard in together.shards] == [[0, 1, 3, 4, 6, 7, 9, 10], [2, 5, 8], [11]]
    for shard in together.shards:
        shard.verify()


@pytest.mark.parametrize("first", [True, False])
def test_a_record_without_a_reference_is_together_with_those_of_its_name(first, tmp_path):
    alone = line(1, name="Shop A", external_system_reference1=None)
    others = [line(n) for n in range(2, 5)]
    named = line(9, name="Shop A")
    records = [alone, *others, named] if first else [named, *others, alone]
    split = split_of(tmp_path, lines(records), size=1)
    assert [[i for i, _ in shard.read()] for shard in split.shards] == [[0, 4], [1], [2], [3]]


def test_names_that_belong_together_are_spread_over_shards(tmp_path):
    records = [line(n, name=f"Shop {n // 2}") for n in range(12)]
    split = split_of(tmp_path, lines(records), size=4, references=False)
    assert [[i for i, _ in shard.read()] for shard in split.shards] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert all(len(shard.ranges) == 1 for shard in split.shards)


def test_every_bad_row_is_told_and_there_are_no_shards(tmp_path):
    told = []
    content = lines([line(0), b"{}", line(1), b"17"])
    split = split_of(tmp_path, content, report=told.append)
    assert ([row.line for row in told], split.bad, split.shards) == ([2, 4], 2, ())


@pytest.mark.parametrize(
    "content", [b"[%s,\n%s]\n", b"[%s, %s]", b"%s\n[\n%s\n]\n", b'{\n"name":"A","integration_type":"t"}%s%s']
)
def test_records_that_share_their_lines_with_others_are_refused(tmp_path, content):
    told = []
    split = split_of(tmp_path, content % (line(0).strip(), line(1).strip()), report=told.append)

    assert (split.bad, split.shards) == (1, ())
    assert "must be one JSON object a line, as jq -c '.[]' writes an array" in told[-1].problems[0].reason


def test_an_object_over_several_lines_is_a_record_of_its_own(tmp_path):
    spread = [record.replace(b",", b",\n\t") for record in (line(0), line(1), line(2))]
    split = split_of(tmp_path, lines(spread), size=2)

    assert [[new.name for _, new in shard.read()] for shard in split.shards] == [["Shop 0", "Shop 1"], ["Shop 2"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"ref-5", b"ref-9"),
        lambda content: content + line(10) + b"\n",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b'{"name":"Shop 5"', b'{"name":}Shop 5"'),
        lambda content: b"",
    ],
    ids=["another key", "longer", "shorter", "no JSON", "empty"],
)
def test_a_file_that_was_changed_is_refused(change, tmp_path):
    content = lines(line(n) for n in range(8))
    split = split_of(tmp_path, content)
    split.shards[1].verify()
    (tmp_path / "records.jsonl").write_bytes(change(content))
    with pytest.raises(InvalidInputError, match="has changed since it was split"):
        split.shards[1].verify()


def test_a_file_that_is_not_there_is_named(tmp_path):
    shard = split_of(tmp_path, lines([line(0)])).shards[0]
    (tmp_path / "records.jsonl").unlink()
    with pytest.raises(InvalidInputError, match=r"records\.jsonl: No such file"):
        shard.verify()
    with pytest.raises(InvalidInputError, match=r"records\.jsonl: No such file"):
        split_file(shard.path, INTEGRATIONS, tenant="acme", base_url="https://c", references=True)


def test_a_run_is_named_by_what_it_is(tmp_path):
    content = lines(line(n) for n in range(8))
    first, again = split_of(tmp_path, content), split_of(tmp_path, content)
    assert first.run == again.run
    changed = split_of(tmp_path, content.replace(b"ref-5", b"ref-9"))
    smaller = split_of(tmp_path, content, size=3)
    assert len({first.run, changed.run, smaller.run}) == 3
    assert {run.partition(".")[0] for run in (changed.run, smaller.run)} == {first.run.partition(".")[0]}


@pytest.mark.parametrize("name", ["records.jsonl", "records.csv"])
def test_a_row_that_was_corrected_in_its_place_makes_another_run(tmp_path, name):
    content = (
        b"name,integration_type,string1\nShop,shopify,one\n"
        if name.endswith("csv")
        else lines([line(1, string1="one")])
    )
    first, corrected = (split_of(tmp_path, text, name=name) for text in (content, content.replace(b"one", b"two")))
    assert first.run != corrected.run
    assert first.run.partition(".")[0] == corrected.run.partition(".")[0]


def test_a_large_file_is_cut_in_little_memory(tmp_path):
    path = tmp_path / "records.jsonl"
    with path.open("wb") as file:
        for n in range(100):
            file.write(line(n, configuration={"api_key": "x" * 200_000}) + b"\n")
    tracemalloc.start()
    try:
        split = split_file(str(path), INTEGRATIONS, tenant="acme", base_url="https://c", references=False)
        split.shards[0].verify()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(shard.records for shard in split.shards) == 100
    # 20 MB, of which a few records are there at a time.
    assert peak < 5_000_000


def test_shards_are_read_as_the_file_was_split(tmp_path):
    content = "sep=;\nShop name;Typ;x\n" + "".join(f"Shop {n};t;{n}\n" for n in range(5))
    options = ReadOptions(map={"Shop name": "name", "Typ": "integration_type"}, ignore=("x",))
    split = split_of(tmp_path, content.encode(), size=2, name="r.csv", options=options)

    shards = [Shard.from_dict(orjson.loads(orjson.dumps(shard.as_dict()))) for shard in split.shards]
    assert shards == list(split.shards)
    assert [new.name for shard in shards for _, new in shard.read()] == [f"Shop {n}" for n in range(5)]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (gzip.compress(b"name"), ReadOptions(), "is compressed by gzip: decompress it first"),
        (b"PK\x03\x04", ReadOptions(), "is a zip archive, as Excel's .xlsx is"),
        (b"\xff\xfen\0", ReadOptions(), "looks like UTF-16"),
        (b"name", ReadOptions(encoding="cp1252"), "only in UTF-8"),
    ],
    ids=["gzip", "a workbook", "UTF-16", "an encoding"],
)
def test_what_can_not_be_read_by_its_parts_is_refused(content, options, said, tmp_path):
    with pytest.raises(InvalidInputError, match=said):
        split_of(tmp_path, content, name="r.csv", options=options)
