"""``update``: ``None`` goes out as null, ``UNSET`` not at all."""

import pytest

from clarus_async import (
    UNSET,
    Integration,
    IntegrationChanges,
    InvalidInputError,
    ShopifyConfiguration,
)
from tests.support.vendor import ATTRIBUTES, COLLECTION, HEADERS, only, sent, times, wrapped

URL = f"{COLLECTION}/123"


async def test_none_is_sent_as_null_and_unset_not_at_all(mocked, clarus):
    mocked.patch(URL, payload=wrapped())
    await clarus.integrations.update(123, IntegrationChanges(is_active=None, string1=None, string2="x", string3=UNSET))

    assert only(mocked, "PATCH", URL).body == (
        b'{"data":{"id":"123","type":"integrations","attributes":{"is_active":null,"string1":null,"string2":"x"}}}'
    )


async def test_every_attribute_goes_out_under_the_vendors_name(mocked, clarus):
    changes = {
        "name": "New",
        "is_active": False,
        "configuration": {"api_key": "k"},
        "string1": "s1",
        "string2": "s2",
        "string3": "s3",
        "string4": "s4",
        "string5": "s5",
    }
    mocked.patch(URL, payload=wrapped())
    await clarus.integrations.update(123, IntegrationChanges(**changes))

    assert only(mocked, "PATCH", URL).json["data"]["attributes"] == changes


async def test_false_is_sent(mocked, clarus):
    mocked.patch(URL, payload=wrapped())
    await clarus.integrations.update(123, IntegrationChanges(is_active=False))

    assert only(mocked, "PATCH", URL).json["data"]["attributes"] == {"is_active": False}


async def test_an_attrs_configuration_is_sent_as_an_object(mocked, clarus):
    mocked.patch(URL, payload=wrapped())
    configuration = ShopifyConfiguration(api_key="k", shop_domain="d")
    await clarus.integrations.update(123, IntegrationChanges(configuration=configuration))

    assert only(mocked, "PATCH", URL).json["data"]["attributes"] == {
        "configuration": {"api_key": "k", "shop_domain": "d"}
    }


async def test_it_sends_the_documented_headers_and_no_idempotency_key(mocked, clarus):
    mocked.patch(URL, payload=wrapped())
    await clarus.integrations.update(123, IntegrationChanges(name="A"))

    assert only(mocked, "PATCH", URL).headers == HEADERS


@pytest.mark.parametrize(
    "answer", [wrapped(123), wrapped("123"), {"id": 123, **ATTRIBUTES}, {"id": "123", **ATTRIBUTES}]
)
async def test_each_form_of_the_answer_is_read(mocked, clarus, answer):
    mocked.patch(URL, payload=answer)

    assert await clarus.integrations.update(123, IntegrationChanges(name="A")) == Integration(id=123, **ATTRIBUTES)


async def test_it_is_sent_again_unchanged_where_the_outcome_is_unknown(mocked, clarus):
    mocked.patch(URL, status=500)
    mocked.patch(URL, payload=wrapped())
    await clarus.integrations.update(123, IntegrationChanges(string1=None))

    first, second = sent(mocked, "PATCH", URL)
    assert first.body == second.body


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (204, b""),
        (200, b""),
        (202, b"{}"),
        (200, b'{"data": null}'),
        (200, b'{"meta": {}}'),
        (200, b'{"id": 123}'),
        (200, b'{"id": "123", "name": 7}'),
        (200, b"<html>OK</html>"),
        (200, b'{"data": {"id": 123, "attr'),
    ],
)
async def test_a_success_is_one_whatever_is_answered(mocked, clarus, status, body):
    mocked.patch(URL, status=status, body=body)

    changed = await clarus.integrations.update(123, IntegrationChanges(string1="x"))
    assert (changed.id, changed.name, changed.string1) == (123, None, "x")
    assert times(mocked) == 1


@pytest.mark.parametrize("integration_id", ["1", 1.0, True, None, -1, 2**63])
async def test_an_id_that_is_none_is_refused_before_it_is_sent(mocked, clarus, integration_id):
    with pytest.raises(InvalidInputError, match="integer"):
        await clarus.integrations.update(integration_id, IntegrationChanges(name="A"))
    assert times(mocked) == 0


async def test_anything_but_changes_is_refused_before_it_is_sent(mocked, clarus):
    with pytest.raises(InvalidInputError, match="IntegrationChanges"):
        await clarus.integrations.update(1, {"name": "A"})
    assert times(mocked) == 0
