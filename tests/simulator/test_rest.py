"""The REST endpoints, as CLARUS_API.md has them."""

import json

import pytest

from clarus_async.simulator import Endpoint, Simulator
from tests.simulator.test_lifecycle import Api

SHOWN = {
    "name", "is_active", "account_id", "warehouse_id", "configuration",
    "external_system_reference1", "external_system_reference2", "external_system_reference3",
    "string1", "string2", "string3", "string4", "string5",
}  # fmt: skip


async def test_create_answers_200_with_the_vendor_s_attributes_and_no_integration_type(api):
    given = {
        "is_active": False,
        "configuration": {"api_key": "k", "shop_domain": "x"},
        "external_system_reference1": "shop-1",
        "warehouse_id": 7,
    }
    answer = await api.create("Shopify Store", **given)

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json["data"].keys() == {"id", "type", "attributes"}
    assert (answer.json["data"]["id"], answer.json["data"]["type"]) == (1, "integrations")
    shown = answer.json["data"]["attributes"]
    assert shown.keys() == SHOWN
    assert {name: value for name, value in shown.items() if value is not None} == {"name": "Shopify Store"} | given


async def test_a_record_is_active_and_unconfigured_unless_told(api):
    shown = (await api.create()).json["data"]["attributes"]

    assert (shown["is_active"], shown["configuration"], shown["string1"]) == (True, {}, None)


async def test_the_ledger_tells_what_was_stored_in_what_order_and_how_often(simulator, api):
    await api.create("a", key="k1")
    await api.create("a", key="k1")
    await api.create("b")
    records = simulator.created("acme")

    assert [(r.id, r.sequence, r.name, r.idempotency_key, r.send) for r in records] == [
        (1, 0, "a", "k1", 1),
        (2, 1, "a", "k1", 2),
        (3, 2, "b", None, 1),
    ]
    creates = [entry for entry in simulator.requests if entry.endpoint is Endpoint.CREATE]
    assert [entry.record_id for entry in creates] == [1, 2, 3]
    assert [entry.request_id for entry in creates] == [record.request_id for record in records]
    assert [entry.status for entry in creates] == [200, 200, 200]
    assert all(entry.at <= entry.applied_at for entry in creates)
    assert json.loads(creates[0].body)["data"]["attributes"]["name"] == "a"
    assert creates[0].headers["idempotency-key"] == "k1"


@pytest.mark.parametrize(
    ("given", "symbols"),
    [
        ({"name": ""}, ["name_blank"]),
        ({"name": None}, ["name_blank"]),
        ({"integration_type": None}, ["integration_type_blank"]),
        ({"name": None, "integration_type": ""}, ["name_blank", "integration_type_blank"]),
        ({"name": 7}, ["name_invalid"]),
        ({"is_active": "yes"}, ["is_active_invalid"]),
        ({"account_id": "7"}, ["account_id_invalid"]),
        ({"account_id": True}, ["account_id_invalid"]),
        ({"configuration": []}, ["configuration_invalid"]),
        ({"string3": ""}, ["string3_blank"]),
        ({"colour": "red"}, ["attribute_unknown"]),
    ],
)
async def test_create_refuses_bad_attributes_in_the_documented_form(simulator, api, given, symbols):
    answer = await api.create(**given)

    assert (answer.status, answer.symbols) == (422, symbols)
    for error in answer.json["errors"]:
        assert error.keys() == {"code", "symbol", "details", "source", "context"}
        assert isinstance(error["code"], int)
        assert isinstance(error["details"], str)
    assert simulator.created("acme") == []


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"data": {}}, {"data": {"type": "shops", "attributes": {}}}, {"name": "x"}],
)
async def test_create_refuses_what_is_no_envelope(api, document):
    answer = await api.call(
        "POST", "/api/integrations", headers={"Content-Type": "application/json"}, document=document
    )

    assert (answer.status, answer.symbols) == (400, ["malformed_body"])


async def test_a_body_must_say_that_it_is_json(api):
    await api.login()
    sent = {"Authorization": f"Bearer {api.token}", "X-Clarus-Subdomain": "acme", "Content-Type": "text/plain"}
    answer = await api.send("POST", "/api/integrations", data=b"{}", headers=sent)

    assert (answer.status, answer.symbols) == (415, ["unsupported_media_type"])


async def test_references_must_be_unique_if_asked():
    async with Simulator(unique_references=True) as simulator, Api(simulator) as api:
        first = await api.create(external_system_reference1="r")
        taken = await api.create(external_system_reference1="r", configuration={"api_key": "echoed"})
        assert (taken.status, taken.symbols) == (422, ["external_system_reference1_exists"])
        assert taken.json["errors"][0]["source"] == "external_system_reference1"
        assert b"echoed" in taken.body

        await api.call("DELETE", f"/api/integrations/{first.json['data']['id']}")
        assert (await api.create(external_system_reference1="r")).status == 200


async def test_update_changes_what_it_names_and_null_clears(api):
    created = await api.create(string1="one", string2="two", configuration={"a": 1, "b": 2})
    answer = await api.update(1, name="New", string1=None, configuration={"a": 3})

    assert answer.status == 200
    expected = created.json
    expected["data"]["attributes"] |= {"name": "New", "string1": None, "configuration": {"a": 3}}
    assert answer.json == expected


async def test_null_clears_a_configuration(api):
    await api.create(configuration={"a": 1})

    assert (await api.update(1, configuration=None)).json["data"]["attributes"]["configuration"] == {}


@pytest.mark.parametrize(
    ("changes", "symbol"),
    [
        ({"name": None}, "name_blank"),
        ({"name": ""}, "name_blank"),
        ({"is_active": 1}, "is_active_invalid"),
        ({"integration_type": "erp"}, "attribute_not_permitted"),
        ({"provider": "xero"}, "attribute_not_permitted"),
        ({"warehouse_id": 1}, "attribute_not_permitted"),
        ({"external_system_reference1": "r"}, "attribute_not_permitted"),
        ({"colour": "red"}, "attribute_unknown"),
    ],
)
async def test_update_refuses_what_can_t_be_patched(simulator, api, changes, symbol):
    await api.create()
    answer = await api.update(1, string1="x", **changes)

    assert (answer.status, answer.symbols) == (422, [symbol])
    assert simulator.integrations("acme")[0].updated_at is None


async def test_delete_answers_204_without_a_body_and_the_ledger_remembers(simulator, api):
    await api.create()
    answer = await api.call("DELETE", "/api/integrations/1")

    assert (answer.status, answer.body) == (204, b"")
    assert simulator.integrations("acme") == []
    assert simulator.created("acme")[0].deleted_at is not None


async def test_synchronize_answers_the_record_s_id(simulator, api):
    await api.create()
    answer = await api.call("POST", "/api/integrations/1/synchronize")

    assert answer.status == 200
    assert answer.json == {"data": {"id": 1, "type": "integrations", "attributes": {}}}
    [(record, at)] = simulator.syncs("acme")
    assert (record, at) == (1, simulator.requests[-1].applied_at)


@pytest.mark.parametrize("record", ["2", "abc", "1e3", "9" * 40])
@pytest.mark.parametrize(("method", "action"), [("PATCH", ""), ("DELETE", ""), ("POST", "/synchronize")])
async def test_a_record_that_is_not_there_is_a_404(api, method, action, record):
    await api.create()
    document = {"data": {"type": "integrations", "attributes": {"name": "x"}}} if method == "PATCH" else None
    answer = await api.call(method, f"/api/integrations/{record}{action}", document)

    assert (answer.status, answer.symbols) == (404, ["not_found"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/integrations"),
        ("GET", "/api/integrations/1"),
        ("PUT", "/api/integrations/1"),
        ("GET", "/graphql"),
        ("POST", "/api/integrations/1/explode"),
        ("GET", "/"),
    ],
)
async def test_what_the_vendor_does_not_have_does_not_exist(simulator, api, method, path):
    await api.create()
    answer = await api.call(method, path)

    assert (answer.status, answer.symbols) == (404, ["not_found"])
    assert simulator.requests[-1].endpoint is None
