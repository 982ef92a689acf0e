"""The JSON:API envelope, as the vendor shows it (CLARUS_API.md §1)."""

import orjson
import pytest

from clarus_async.resources.integrations import (
    INTEGRATIONS,
    Integration,
    IntegrationChanges,
    NewIntegration,
    ShopifyConfiguration,
)
from clarus_async.wire.envelope import changes_body, create_body, read_changed, read_created
from clarus_async.wire.reading import Unreadable


def new(**attributes):
    return NewIntegration(**{"name": "Shopify Store", "integration_type": "shopify"} | attributes)


def attributes_of(body):
    return orjson.loads(body)["data"]["attributes"]


def read(document):
    return read_created(INTEGRATIONS, orjson.dumps(document))


def test_create_writes_the_vendors_example():
    record = new(
        is_active=True,
        configuration=ShopifyConfiguration(api_key="your-api-key", shop_domain="mystore.myshopify.com"),
    )

    assert orjson.loads(create_body(INTEGRATIONS, record)) == {
        "data": {
            "type": "integrations",
            "attributes": {
                "name": "Shopify Store",
                "integration_type": "shopify",
                "is_active": True,
                "configuration": {"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"},
            },
        }
    }


def test_create_leaves_out_what_was_not_given():
    assert attributes_of(create_body(INTEGRATIONS, new())) == {"name": "Shopify Store", "integration_type": "shopify"}


@pytest.mark.parametrize(
    ("field", "value"), [("is_active", False), ("account_id", 0), ("configuration", {}), ("configuration", {"a": None})]
)
def test_create_keeps_what_was_given_and_only_looks_empty(field, value):
    assert attributes_of(create_body(INTEGRATIONS, new(**{field: value})))[field] == value


@pytest.mark.parametrize(("identifier", "sent"), [(123, "123"), (0, "0"), (2**63 - 1, "9223372036854775807")])
def test_a_patch_carries_its_id_as_a_string(identifier, sent):
    assert orjson.loads(changes_body(INTEGRATIONS, identifier, IntegrationChanges(name="Other"))) == {
        "data": {"id": sent, "type": "integrations", "attributes": {"name": "Other"}}
    }


def test_a_patch_sends_null_for_none_and_nothing_for_unset():
    assert attributes_of(changes_body(INTEGRATIONS, 1, IntegrationChanges(is_active=False, string1=None))) == {
        "is_active": False,
        "string1": None,
    }


def test_the_vendors_answer_is_read():
    attributes = {
        "name": "Shopify Store", "is_active": True, "account_id": 123, "warehouse_id": 124, "configuration": {},
        "external_system_reference1": "a", "external_system_reference2": "b", "external_system_reference3": "c",
        "string1": "1", "string2": "2", "string3": "3", "string4": "4", "string5": "5",
    }  # fmt: skip

    assert read({"data": {"id": 123, "type": "integrations", "attributes": attributes}}) == Integration(
        id=123, **attributes
    )


def test_a_bare_object_is_read_too():
    assert read({"id": "7", "name": "x"}) == Integration(id=7, name="x")


@pytest.mark.parametrize("identifier", [123, "123"])
def test_an_id_is_an_integer_or_a_string(identifier):
    assert read({"data": {"id": identifier, "attributes": {"name": "x"}}}).id == 123


def test_the_id_may_stand_among_the_attributes():
    assert read({"data": {"type": "integrations", "attributes": {"id": 5, "name": "x"}}}).id == 5


def test_the_resources_own_id_wins():
    assert read({"data": {"id": 1, "attributes": {"id": 5, "name": "x"}}}).id == 1


def test_what_the_server_adds_is_kept():
    assert read({"data": {"id": 1, "attributes": {"name": "x", "colour": "red"}}}).extra == {"colour": "red"}


@pytest.mark.parametrize(
    ("document", "pointer", "expected"),
    [
        ([], "", "an object"),
        (None, "", "an object"),
        ("text", "", "an object"),
        ({}, "/id", "to be there"),
        ({"data": None}, "/data", "an object"),
        ({"data": []}, "/data", "an object"),
        ({"data": {}}, "/data/id", "to be there"),
        ({"data": {"attributes": None}}, "/data/id", "to be there"),
        (
            {"data": {"id": "x", "attributes": {"name": "x"}}},
            "/data/id",
            "an integer id, or one as a string of digits",
        ),
    ],
)
def test_what_can_not_be_read_is_named_with_its_place(document, pointer, expected):
    assert read(document) == Unreadable(pointer, expected)


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"data": {"id": 1, "attr'])
def test_a_body_that_is_no_json_is_said_to_be_none(body):
    assert read_created(INTEGRATIONS, body) == Unreadable("", "JSON")


def test_an_id_among_the_attributes_that_is_wrong_is_named_where_it_stands():
    assert read({"data": {"attributes": {"id": [], "name": "x"}}}).pointer == "/data/attributes/id"


def test_what_the_server_adds_beside_the_attributes_is_kept():
    record = read({"data": {"id": 1, "attributes": {"name": "x"}, "relationships": {"account": {"data": None}}}})

    assert record.extra == {"relationships": {"account": {"data": None}}}


def test_an_id_that_is_nowhere_is_missed_where_the_vendor_puts_it():
    assert read({"data": {"attributes": {"name": "x"}}}) == Unreadable("/data/id", "to be there")


def test_what_stands_beside_the_attributes_does_not_displace_one():
    record = read({"data": {"id": 1, "name": "beside", "attributes": {"name": "x"}}})

    assert record.name == "x"


SENT = new(provider="shopify", string1="x")


@pytest.mark.parametrize(
    "document",
    [
        {"id": 5},
        {"id": "5", "name": None},
        {"data": {"id": 5}},
        {"data": {"id": "5", "attributes": None}},
        {"data": {"id": 5, "type": "integrations", "attributes": {}}},
    ],
)
def test_what_an_answer_to_a_create_leaves_out_is_as_it_was_sent(document):
    assert read_created(INTEGRATIONS, orjson.dumps(document), SENT) == Integration(
        id=5, name="Shopify Store", integration_type="shopify", provider="shopify", string1="x"
    )


def test_what_an_answer_to_a_create_says_counts_more_than_what_was_sent():
    told = read_created(INTEGRATIONS, b'{"id": 5, "string1": null, "provider": 7, "string2": "y"}', SENT)

    assert (told.string1, told.provider, told.string2) == (None, None, "y")
    assert told.extra == {"provider": 7}


def test_an_answer_that_names_the_record_is_taken_as_it_is():
    assert read_created(INTEGRATIONS, b'{"id": 5, "name": "x"}', SENT) == Integration(id=5, name="x")


CHANGES = IntegrationChanges(is_active=False, string1=None, string2="y", configuration={"a": 1})


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (b"", {}),
        (b"{}", {}),
        (b"[]", {}),
        (b"null", {}),
        (b"<html>", {}),
        (b'{"data": {"id": 9, "attr', {}),
        (b'{"data": null}', {}),
        (b'{"data": []}', {}),
        (b'{"data": {"id": null, "attributes": null}}', {}),
        (b'{"meta": {"took": 3}}', {"extra": {"meta": {"took": 3}}}),
        (b'{"id": 9}', {}),
        (b'{"data": {"id": "9"}}', {}),
        (b'{"data": {"attributes": {"string2": "z", "string5": "w"}}}', {"string2": "z", "string5": "w"}),
        (b'{"data": {"id": [], "attributes": {"string2": "z"}}}', {"string2": "z"}),
        (
            b'{"id": 9, "string2": null, "is_active": 0}',
            {"string2": None, "is_active": None, "extra": {"is_active": 0}},
        ),
    ],
)
def test_whatever_an_update_is_answered_it_was_done(body, more):
    expected = {"id": 9, "is_active": False, "string2": "y", "configuration": {"a": 1}} | more

    assert read_changed(INTEGRATIONS, body, 9, CHANGES) == Integration(**expected)


def test_an_update_whose_answer_names_the_record_is_taken_as_it_is():
    assert read_changed(INTEGRATIONS, b'{"data": {"id": "9", "attributes": {"name": "x"}}}', 9, CHANGES) == Integration(
        id=9, name="x"
    )


def test_the_name_that_was_sent_stands_for_one_that_is_not_told():
    assert read_changed(INTEGRATIONS, b"", 9, IntegrationChanges(name="x")).name == "x"
    assert read_changed(INTEGRATIONS, b"", 9, CHANGES).name is None
