"""``create``: the vendor's envelope goes out byte for byte, and each form of the answer comes back as a record."""

import re
import uuid
from datetime import timedelta

import attrs
import pytest

from clarus_async import Applied, Integration, InvalidInputError, NewIntegration, OutcomeUnknownError
from tests.support.vendor import ATTRIBUTES, COLLECTION, HEADERS, SHOP, only, sent, times, wrapped

EVERYTHING = {
    "name": "Shopify Store",
    "integration_type": "ecommerce",
    "provider": "shopify",
    "is_active": False,
    "account_id": 7,
    "warehouse_id": 8,
    "configuration": {"api_key": "k", "nested": {"list": [1, None, 2.5, "x"]}},
    "external_system_reference1": "r1",
    "external_system_reference2": "r2",
    "external_system_reference3": "r3",
    "string1": "s1",
    "string2": "s2",
    "string3": "s3",
    "string4": "s4",
    "string5": "s5",
}


async def test_it_sends_exactly_the_vendors_example(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped())
    await clarus.integrations.create(
        NewIntegration(
            name="Shopify Store",
            integration_type="shopify",
            is_active=True,
            configuration={"api_key": "your-api-key", "shop_domain": "mystore.myshopify.com"},
        )
    )

    assert only(mocked, "POST", COLLECTION).body == (
        b'{"data":{"type":"integrations","attributes":{"name":"Shopify Store","integration_type":"shopify",'
        b'"is_active":true,"configuration":{"api_key":"your-api-key","shop_domain":"mystore.myshopify.com"}}}}'
    )


async def test_what_is_left_out_is_not_sent(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped())
    await clarus.integrations.create(SHOP)

    assert only(mocked, "POST", COLLECTION).body == (
        b'{"data":{"type":"integrations","attributes":{"name":"Shopify Store","integration_type":"shopify"}}}'
    )


async def test_every_attribute_goes_out_under_the_vendors_name(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped())
    await clarus.integrations.create(NewIntegration(**EVERYTHING))

    assert only(mocked, "POST", COLLECTION).json == {"data": {"type": "integrations", "attributes": EVERYTHING}}


async def test_text_goes_out_as_utf_8(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped())
    await clarus.integrations.create(NewIntegration(name="Lädchen 🛒", integration_type="shopify"))

    assert '"name":"Lädchen 🛒"'.encode() in only(mocked, "POST", COLLECTION).body


async def test_it_sends_the_three_documented_headers_and_an_idempotency_key(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped())
    await clarus.integrations.create(SHOP)

    headers = only(mocked, "POST", COLLECTION).headers
    key = headers.pop("Idempotency-Key")
    assert headers == HEADERS
    assert str(uuid.UUID(key, version=4)) == key


async def test_each_create_has_a_key_of_its_own(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped(), repeat=True)
    await clarus.integrations.create(SHOP)
    await clarus.integrations.create(SHOP)

    assert len({request.headers["Idempotency-Key"] for request in sent(mocked, "POST", COLLECTION)}) == 2


async def test_a_create_that_is_sent_again_keeps_its_key_and_its_body(mocked, clarus):
    mocked.post(COLLECTION, status=429, headers={"Retry-After": "0.01"})
    mocked.post(COLLECTION, payload=wrapped())
    await clarus.integrations.create(SHOP)

    first, second = sent(mocked, "POST", COLLECTION)
    assert first.headers == second.headers
    assert first.body == second.body


async def test_redirects_and_status_errors_are_not_left_to_aiohttp(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped())
    await clarus.integrations.create(SHOP)

    options = only(mocked, "POST", COLLECTION).options
    assert options["allow_redirects"] is False
    assert options["raise_for_status"] is False


@attrs.frozen(kw_only=True)
class _Settings:
    api_key: str
    region: str | None = None


async def test_an_attrs_configuration_is_sent_as_an_object(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped())
    new = NewIntegration(name="A", integration_type="x", configuration=_Settings(api_key="k"))
    await clarus.integrations.create(new)

    attributes = only(mocked, "POST", COLLECTION).json["data"]["attributes"]
    assert attributes == {"name": "A", "integration_type": "x", "configuration": {"api_key": "k"}}


async def test_an_empty_configuration_is_sent(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped())
    await clarus.integrations.create(NewIntegration(name="A", integration_type="x", configuration={}))

    assert only(mocked, "POST", COLLECTION).json["data"]["attributes"]["configuration"] == {}


@pytest.mark.parametrize("status", [200, 201])
async def test_the_vendors_sample_answer_is_read(mocked, clarus, status):
    mocked.post(COLLECTION, status=status, payload=wrapped(123))

    assert await clarus.integrations.create(SHOP) == Integration(id=123, **ATTRIBUTES)


async def test_a_bare_answer_is_read(mocked, clarus):
    mocked.post(COLLECTION, payload={"id": 501, **ATTRIBUTES})

    assert await clarus.integrations.create(SHOP) == Integration(id=501, **ATTRIBUTES)


@pytest.mark.parametrize("answer", [wrapped("123"), {"id": "123", **ATTRIBUTES}], ids=["wrapped", "bare"])
async def test_a_string_id_is_read_as_an_integer(mocked, clarus, answer):
    mocked.post(COLLECTION, payload=answer)

    assert (await clarus.integrations.create(SHOP)).id == 123


async def test_missing_optional_attributes_are_none(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped(1, name="A"))

    assert await clarus.integrations.create(SHOP) == Integration(id=1, name="A")


async def test_null_attributes_are_none(mocked, clarus):
    nulls = dict.fromkeys(a.name for a in attrs.fields(Integration) if a.name not in {"id", "name", "extra"})
    mocked.post(COLLECTION, payload=wrapped(1, name="A", **nulls))

    assert await clarus.integrations.create(SHOP) == Integration(id=1, name="A")


async def test_attributes_that_are_new_to_us_are_kept(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped(1, name="A", colour="red", tags=[{"a": 1}]))

    assert (await clarus.integrations.create(SHOP)).extra == {"colour": "red", "tags": [{"a": 1}]}


async def test_members_beside_the_attributes_are_no_error(mocked, clarus):
    answer = wrapped(1, name="A")
    answer["data"]["links"] = {"self": "/api/integrations/1"}
    answer["meta"] = {"took": 3}
    mocked.post(COLLECTION, payload=answer)

    assert (await clarus.integrations.create(SHOP)).id == 1


async def test_an_answer_with_a_byte_less_than_json_is_not_read_as_something_else(mocked, clarus):
    mocked.post(COLLECTION, body=b'{"data": {"id": 1, "type": "integrations", "attributes": {"name": "A"}}')

    with pytest.raises(OutcomeUnknownError):
        await clarus.integrations.create(SHOP, on_unknown="raise")


@pytest.mark.parametrize(
    ("answer", "pointer", "expected"),
    [
        ([], "", "an object"),
        ({"data": None}, "/data", "an object"),
        ({"data": [wrapped()["data"]]}, "/data", "an object"),
        ({"data": {"type": "integrations"}}, "/data/id", "to be there"),
        ({"data": {"attributes": {"name": "A"}}}, "/data/id", "to be there"),
        (wrapped(None, name="A"), "/data/id", "an integer id, or one as a string of digits"),
        (wrapped(True, name="A"), "/data/id", "an integer id, or one as a string of digits"),
        (wrapped(1.0, name="A"), "/data/id", "an integer id, or one as a string of digits"),
        (wrapped("1a", name="A"), "/data/id", "an integer id, or one as a string of digits"),
        (wrapped("", name="A"), "/data/id", "an integer id, or one as a string of digits"),
        ({"name": "A"}, "/id", "to be there"),
    ],
)
async def test_an_answer_that_cannot_be_read_says_where_and_is_not_sent_again(
    mocked, clarus, answer, pointer, expected
):
    mocked.post(COLLECTION, payload=answer)

    with pytest.raises(OutcomeUnknownError) as caught:
        await clarus.integrations.create(SHOP, on_unknown="raise")
    cause = caught.value.__cause__
    assert (cause.pointer, cause.expected) == (pointer, expected)
    assert caught.value.applied is Applied.YES
    assert times(mocked) == 1


@pytest.mark.parametrize(
    "answer", [{"id": 1}, wrapped(1, is_active=True), wrapped(1, name=7), {"data": {"id": "1"}}, wrapped(1, name=None)]
)
async def test_an_answer_with_an_id_is_enough(mocked, clarus, answer):
    mocked.post(COLLECTION, payload=answer)

    created = await clarus.integrations.create(SHOP)
    assert (created.id, created.name, created.integration_type) == (1, "Shopify Store", "shopify")
    assert times(mocked) == 1


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("is_active", "true"), ("account_id", "7"), ("warehouse_id", True), ("configuration", []), ("string3", 3)],
)
async def test_an_odd_attribute_is_kept_as_it_came(mocked, clarus, attribute, value):
    mocked.post(COLLECTION, payload=wrapped(1, name="A", **{attribute: value}))

    assert await clarus.integrations.create(SHOP) == Integration(id=1, name="A", extra={attribute: value})


async def test_the_error_never_shows_the_value_it_could_not_read(mocked, clarus):
    mocked.post(COLLECTION, payload=wrapped("canary-secret", name="A"))

    with pytest.raises(OutcomeUnknownError) as caught:
        await clarus.integrations.create(SHOP, on_unknown="raise")
    assert "canary-secret" not in f"{caught.value} {caught.value.__cause__}"


async def test_an_unknown_outcome_says_what_would_settle_it(mocked, clarus):
    mocked.post(COLLECTION, status=500)

    with pytest.raises(OutcomeUnknownError) as caught:
        await clarus.integrations.create(
            NewIntegration(name="A", integration_type="x", external_system_reference1="r1"), on_unknown="raise"
        )
    error = caught.value
    assert error.key == "r1"
    assert "key" in error.settled_by
    assert error.sent_at.tzinfo is not None
    assert error.sent_at <= error.pending.first_sent_at + timedelta(seconds=1)
    assert error.settles_at - error.pending.first_sent_at == pytest.approx(
        timedelta(seconds=60), abs=timedelta(seconds=5)
    )
    assert re.search(r"500.*settled by", str(error))


async def test_the_key_of_a_record_without_a_reference_is_its_name(mocked, clarus):
    mocked.post(COLLECTION, status=500)

    with pytest.raises(OutcomeUnknownError) as caught:
        await clarus.integrations.create(SHOP, on_unknown="raise")
    assert caught.value.key == "Shopify Store"


@pytest.mark.parametrize("new", [None, {"name": "A", "integration_type": "x"}, Integration(id=1, name="A")])
async def test_anything_but_a_new_integration_is_refused_before_it_is_sent(mocked, clarus, new):
    with pytest.raises(InvalidInputError, match="NewIntegration"):
        await clarus.integrations.create(new)
    assert times(mocked) == 0
