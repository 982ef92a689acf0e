"""JSON to records: nothing is coerced, and what is unknown or odd is kept; only an id has to be there."""

from datetime import UTC, datetime, timedelta

import pytest

from clarus_async.resources.external_entities import EXTERNAL_ENTITIES
from clarus_async.resources.integrations import INTEGRATIONS, Integration, IntegrationRow
from clarus_async.wire.reading import Unreadable, encode, parse, prepare, read_record

CREATED = "2026-01-10T12:00:00Z"


def read(**data):
    return read_record({"id": 1, "name": "Shop"} | data, Integration, "/at")


def row(**data):
    return read_record({"id": 1, "name": "Shop", "created_at": CREATED} | data, INTEGRATIONS.listing, "/at")


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"\xff", b"NaN", b"{'a': 1}", b'"\\ud800"', b"[" * 2_000])
def test_what_is_no_json_is_said_to_be_none(body):
    assert parse(body) == Unreadable("", "JSON")


@pytest.mark.parametrize(("body", "value"), [(b"1", 1), (b" {} ", {}), (b"null", None), (b'"a"', "a")])
def test_json_is_parsed(body, value):
    assert parse(body) == value


def test_what_is_encoded_is_compact_utf_8():
    assert encode({"a": ["ä"]}) == '{"a":["ä"]}'.encode()


def test_preparing_twice_is_preparing_once():
    prepare(INTEGRATIONS)
    prepare(INTEGRATIONS)


def test_what_is_there_is_read():
    assert read(is_active=False, account_id=7, configuration={"a": [1]}) == Integration(
        id=1, name="Shop", is_active=False, account_id=7, configuration={"a": [1]}
    )


@pytest.mark.parametrize("value", [1, 0, 10**18, "1", "0", "007", 2**63 - 1, "9223372036854775807"])
def test_an_id_is_an_integer_or_digits(value):
    assert read(id=value).id == int(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.0,
        "",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1_0",
        "1.0",
        "x",
        "\u0661",
        "²",
        -1,
        2**63,
        "9" * 19,
        "9" * 20,
        [1],
        {"id": 1},
    ],
)
def test_nothing_else_is_an_id(value):
    assert read(id=value) == Unreadable("/at/id", "an integer id, or one as a string of digits")


ODD = [
    *(("name", value) for value in (1, True, ["x"], {"x": 1})),
    *((field, value) for field in ("integration_type", "provider", "string5") for value in (1, 1.5, False, [], {})),
    *(("is_active", value) for value in (0, 1, "true", "", [])),
    *(("account_id", value) for value in ("1", 1.0, True, [])),
    *(("configuration", value) for value in ("{}", 1, [], True)),
]


@pytest.mark.parametrize(("field", "value"), ODD)
def test_what_is_odd_is_not_coerced_but_kept_as_it_came(field, value):
    record = read(**{field: value, "string1": "x", "colour": "red"})

    assert getattr(record, field) is None
    assert record.extra == {field: value, "colour": "red"}
    assert (record.id, record.string1) == (1, "x")


@pytest.mark.parametrize("field", ["integration_type", "is_active", "account_id", "configuration", "string1"])
def test_an_attribute_may_be_null(field):
    assert getattr(read(**{field: None}), field) is None


@pytest.mark.parametrize("of", [Integration, INTEGRATIONS.listing])
def test_an_id_is_missed_by_name(of):
    assert read_record({"name": "Shop"}, of, "/at") == Unreadable("/at/id", "to be there")


@pytest.mark.parametrize(("of", "cls"), [(Integration, Integration), (INTEGRATIONS.listing, IntegrationRow)])
def test_an_id_is_enough(of, cls):
    assert read_record({"id": 1}, of, "/at") == cls(id=1)


def test_what_is_odd_shows_in_no_repr():
    assert "canary" not in repr(read(name=["canary"], configuration="canary"))


@pytest.mark.parametrize("data", [None, 1, "x", [], [["id", 1]]])
@pytest.mark.parametrize("of", [Integration, INTEGRATIONS.listing])
def test_what_is_no_object_is_no_record(data, of):
    assert read_record(data, of, "/at") == Unreadable("/at", "an object")


def test_unknown_attributes_are_kept_as_they_came():
    assert read(colour="red", nested={"a": [None]}).extra == {"colour": "red", "nested": {"a": [None]}}


def test_an_attribute_called_extra_is_unknown_like_any_other():
    assert read(extra=1).extra == {"extra": 1}


def test_no_unknown_attribute_leaves_extra_empty():
    assert read().extra == {}


def test_a_row_speaks_the_vocabulary_of_rest():
    record = row(integration_provider="shopify", enabled=False, status="active")

    assert (record.provider, record.is_active, record.status) == ("shopify", False, "active")
    assert record.extra == {}


@pytest.mark.parametrize("node", [{"id": "7", "colour": "red"}, "7", ["7"]])
def test_a_nested_node_that_holds_more_than_is_lifted_is_kept_as_it_came(node):
    listing = EXTERNAL_ENTITIES.listing
    plain = read_record({"id": 1, "integration": {"id": "7"}}, listing, "/at")
    record = read_record({"id": 1, "integration": node}, listing, "/at")

    assert (plain.integration_id, plain.extra) == (7, {})
    assert record.integration_id == (7 if isinstance(node, dict) else None)
    assert record.extra == {"integration": node}


@pytest.mark.parametrize("field", ["provider", "is_active"])
def test_what_a_row_calls_otherwise_is_unknown_to_it(field):
    assert row(**{field: "x"}).extra == {field: "x"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", 7), ("integration_provider", 1), ("enabled", 1), ("enabled", "true"), ("status", {"x": 1})],
)
def test_what_is_odd_in_a_row_is_kept_under_the_servers_name(field, value):
    record = row(**{field: value})

    assert record == IntegrationRow(
        id=1, created_at=datetime(2026, 1, 10, 12, tzinfo=UTC), extra={field: value},
        name=None if field == "name" else "Shop",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (CREATED, datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("2026-01-10T12:00:00+00:00", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("2026-01-10T14:00:00+02:00", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("2026-01-10T12:00:00.250Z", datetime(2026, 1, 10, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-01-10 12:00:00Z", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("2026-01-10t12:00:00z", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("Sat, 10 Jan 2026 12:00:00 GMT", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("10 Jan 2026 14:00:00 +0200", datetime(2026, 1, 10, 12, tzinfo=UTC)),
    ],
)
def test_a_time_with_a_timezone_is_read(text, moment):
    created_at = row(created_at=text).created_at

    assert created_at == moment
    assert created_at.utcoffset() in {timedelta(0), timedelta(hours=2)}


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-10T12:00:00", "2026-01-10", "10 Jan 2026", "Sat, 10 Jan 2026 12:00:00", "10 Jan 2026 12:00:00 -0000",
        "", "9999-99-99T00:00:00Z", "Sat, 99 Jan 2026 12:00:00 GMT", "yesterday", 1768046400, 1.5, True, [],
        "0" * 10**6,
    ],
)  # fmt: skip
def test_what_says_nothing_about_what_came_first_is_no_time(value):
    record = row(created_at=value)

    assert record.created_at is None
    assert record.extra == {"created_at": value}


def test_a_time_that_is_null_or_missing_is_none():
    without = read_record({"id": 1, "name": "Shop"}, INTEGRATIONS.listing, "/at")
    assert row(created_at=None) == without == IntegrationRow(id=1, name="Shop")
