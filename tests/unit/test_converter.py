"""JSON to records: strict primitives, unknown fields kept, errors that name the place and not the value."""

from datetime import UTC, datetime, timedelta

import pytest

from clarus_async.records import Integration, IntegrationRow
from clarus_async.wire.reading import Unreadable, encode, parse, prepare, read_record

CREATED = "2026-01-10T12:00:00Z"


def read(cls=Integration, **data):
    return read_record({"id": 1, "name": "Shop"} | data, cls, "/at")


def row(**data):
    return read(IntegrationRow, **{"created_at": CREATED} | data)


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"\xff", b"NaN", b"{'a': 1}", b'"\\ud800"', b"[" * 2_000])
def test_what_is_no_json_is_said_to_be_none(body):
    assert parse(body) == Unreadable("", "JSON")


@pytest.mark.parametrize(("body", "value"), [(b"1", 1), (b" {} ", {}), (b"null", None), (b'"a"', "a")])
def test_json_is_parsed(body, value):
    assert parse(body) == value


def test_what_is_encoded_is_compact_utf_8():
    assert encode({"a": ["ä"]}) == '{"a":["ä"]}'.encode()


def test_preparing_twice_is_preparing_once():
    prepare()
    prepare()


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


@pytest.mark.parametrize("value", [None, 1, True, ["x"], {"x": 1}])
def test_a_name_is_a_string(value):
    assert read(name=value) == Unreadable("/at/name", "a string")


@pytest.mark.parametrize("field", ["integration_type", "provider", "external_system_reference2", "string5"])
@pytest.mark.parametrize("value", [1, 1.5, False, [], {}])
def test_a_text_is_not_coerced(field, value):
    assert read(**{field: value}) == Unreadable(f"/at/{field}", "a string")


@pytest.mark.parametrize("value", [0, 1, "true", "", []])
def test_a_flag_is_not_coerced(value):
    assert read(is_active=value) == Unreadable("/at/is_active", "true or false")


@pytest.mark.parametrize("value", ["1", 1.0, True, []])
def test_a_number_is_not_coerced(value):
    assert read(account_id=value) == Unreadable("/at/account_id", "an integer")


@pytest.mark.parametrize("value", ["{}", 1, [], True])
def test_a_configuration_is_an_object(value):
    assert read(configuration=value) == Unreadable("/at/configuration", "an object")


@pytest.mark.parametrize("field", ["integration_type", "is_active", "account_id", "configuration", "string1"])
def test_an_attribute_may_be_null(field):
    assert getattr(read(**{field: None}), field) is None


@pytest.mark.parametrize("field", ["id", "name"])
def test_what_must_be_there_is_missed_by_name(field):
    data = {"id": 1, "name": "Shop"}
    del data[field]

    assert read_record(data, Integration, "/at") == Unreadable(f"/at/{field}", "to be there")


@pytest.mark.parametrize("data", [None, 1, "x", [], [["id", 1]]])
@pytest.mark.parametrize("cls", [Integration, IntegrationRow])
def test_what_is_no_object_is_no_record(data, cls):
    assert read_record(data, cls, "/at") == Unreadable("/at", "an object")


def test_the_first_of_several_wrong_attributes_is_named():
    assert read(name=1, is_active=1).pointer == "/at/name"


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


@pytest.mark.parametrize("field", ["provider", "is_active"])
def test_what_a_row_calls_otherwise_is_unknown_to_it(field):
    assert row(**{field: "x"}).extra == {field: "x"}


@pytest.mark.parametrize(
    ("field", "expected"), [("integration_provider", "a string"), ("enabled", "true or false"), ("status", "a string")]
)
def test_a_wrong_field_of_a_row_is_named_as_the_server_calls_it(field, expected):
    assert row(**{field: 1}) == Unreadable(f"/at/{field}", expected)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (CREATED, datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("2026-01-10T12:00:00+00:00", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("2026-01-10T14:00:00+02:00", datetime(2026, 1, 10, 12, tzinfo=UTC)),
        ("2026-01-10T12:00:00.250Z", datetime(2026, 1, 10, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-01-10 12:00:00Z", datetime(2026, 1, 10, 12, tzinfo=UTC)),
    ],
)
def test_a_time_is_iso_8601_with_a_timezone(text, moment):
    created_at = row(created_at=text).created_at

    assert created_at == moment
    assert created_at.utcoffset() in {timedelta(0), timedelta(hours=2)}


@pytest.mark.parametrize(
    "value", ["2026-01-10T12:00:00", "2026-01-10", "10 Jan 2026", "", "9999-99-99T00:00:00Z", 1768046400, None, True]
)
def test_nothing_else_is_a_time(value):
    assert row(created_at=value) == Unreadable("/at/created_at", "an ISO 8601 time with a timezone")


def test_a_row_without_its_time_is_unreadable():
    assert read(IntegrationRow) == Unreadable("/at/created_at", "to be there")
