"""Records as pydantic and FastAPI read and write them."""

import asyncio
import contextlib
import socket
from datetime import UTC, datetime
from typing import Annotated

import aiohttp
import attrs
import pytest
import uvicorn
from fastapi import Body, FastAPI
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from clarus_async import (
    AccessToken,
    Applied,
    ClientCredentials,
    ErrorDetail,
    ExternalEntity,
    ExternalEntityChanges,
    ExternalEntityFilter,
    ExternalEntityRow,
    Integration,
    IntegrationChanges,
    IntegrationFilter,
    IntegrationRow,
    NewExternalEntity,
    NewIntegration,
    Outcome,
    OutcomeStatus,
    PaceState,
    PacingPolicy,
    Problem,
    Progress,
    RefreshToken,
    Report,
    RetryPolicy,
    ShopifyConfiguration,
    Timeouts,
    Token,
)
from clarus_async.fleet.redis import RedisPacing

CANARY = "canary-secret"
RECORDS = [
    NewIntegration(name="Shop", integration_type="shopify", configuration={"a": [1, None]}, is_active=True),
    NewIntegration(name="Shop", integration_type="shopify"),
    IntegrationChanges(is_active=None, string1="x"),
    IntegrationFilter(name=["a", "b"], is_active=False),
    ShopifyConfiguration(api_key="k", shop_domain="d"),
    Integration(id=7, name="Shop", configuration={"a": 1}, extra={"colour": "red"}),
    IntegrationRow(id=7, created_at=datetime(2026, 1, 1, tzinfo=UTC), extra={"a": [1]}),
    NewExternalEntity(entity_type="product", code="SKU-1", external_system_reference1="p-1", integration_id=7),
    ExternalEntityChanges(code="SKU-2", description=None),
    ExternalEntityFilter(integration_id=[1, 2], code="SKU-1"),
    ExternalEntity(id=5, code="SKU-1", integration_id=7, extra={"colour": "red"}),
    ExternalEntityRow(id=5, integration_id=7, integration_name="Shop"),
    Outcome(
        index=0,
        key="k",
        status=OutcomeStatus.CREATED,
        id=7,
        resource="integrations",
        others=(1, 2),
        unpatched=("provider",),
    ),
    Outcome(
        index=0,
        key="k",
        status=OutcomeStatus.FAILED,
        resource="integrations",
        error=Problem(type="ServerError", message="500", applied=Applied.NO, retryable=True, status=500),
    ),
    Report(attempts=3),
    ErrorDetail(code="taken", context={"a": 1}),
    Timeouts(deadline=5),
    RetryPolicy(max_attempts=1),
    PacingPolicy(rate=10, burst=2, scope="client"),
]
every = pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)


@every
def test_a_record_is_what_was_written_of_it(record):
    adapter = TypeAdapter(type(record))

    assert adapter.validate_json(adapter.dump_json(record)) == record
    assert adapter.validate_python(adapter.dump_python(record, mode="json")) == record
    assert adapter.validate_python(adapter.dump_python(record)) == record
    assert adapter.validate_python(record) is record


@every
def test_a_record_is_a_dict_by_attrs_too(record):
    assert attrs.evolve(record) == record
    assert set(attrs.asdict(record)) == {field.name for field in attrs.fields(type(record))}


@every
def test_a_record_has_a_json_schema(record):
    adapter = TypeAdapter(type(record))
    required = {field.name for field in attrs.fields(type(record)) if field.default is attrs.NOTHING}

    for mode in ("validation", "serialization"):
        schema = adapter.json_schema(mode=mode)
        schema = schema["$defs"][type(record).__name__] if "$ref" in schema else schema
        assert schema["type"] == "object"
        assert set(schema["properties"]) == {field.name for field in attrs.fields(type(record))}
        assert set(schema.get("required", ())) == required


@pytest.mark.parametrize("kind", [Progress, PaceState, Token, AccessToken, ClientCredentials])
def test_what_is_no_record_can_be_described(kind):
    assert TypeAdapter(kind).json_schema()["type"] in {"object", "array"}


def refused(kind, value):
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.errors()}"
    return {(problem["loc"], problem["type"]) for problem in caught.value.errors()}


NEW = {"name": "Shop", "integration_type": "shopify", "configuration": {"api_key": CANARY}}


@pytest.mark.parametrize(
    ("kind", "value", "problems"),
    [
        (NewIntegration, NEW | {"name": 1}, {(("name",), "string_type")}),
        (NewIntegration, NEW | {"name": " "}, {(("name",), "invalid_input")}),
        (NewIntegration, NEW | {"is_active": "yes"}, {(("is_active",), "bool_type")}),
        (NewIntegration, NEW | {"colour": CANARY}, {(("colour",), "extra_forbidden")}),
        (NewIntegration, {"configuration": CANARY}, {
            (("name",), "missing"), (("integration_type",), "missing"), (("configuration",), "dict_type"),
        }),
        (NewIntegration, CANARY, {((), "dict_type")}),
        (NewIntegration, NEW | {"configuration": {"a": {CANARY}}}, {(("configuration.a",), "invalid_input")}),
        (IntegrationChanges, {}, {(("changes",), "invalid_input")}),
        (IntegrationChanges, {"name": None}, {(("name",), "string_type")}),
        (Timeouts, {"settle": 1.0}, {(("settle",), "invalid_input")}),
        (RetryPolicy, {"max_attempts": "2"}, {(("max_attempts",), "int_type")}),
        (PacingPolicy, {"scope": CANARY}, {(("scope",), "literal_error")}),
        (ClientCredentials, {"client_id": "", "client_secret": CANARY}, {(("client_id",), "invalid_input")}),
        (AccessToken, {"token": CANARY + "\n"}, {(("token",), "invalid_input")}),
        (ClientCredentials, {"client_id": "i", "secret": CANARY}, {
            (("client_secret",), "missing"), (("secret",), "extra_forbidden"),
        }),
        (Outcome, {"index": 0, "key": "k", "resource": "r", "status": "lost"}, {(("status",), "enum")}),
    ],
)  # fmt: skip
def test_what_is_refused_is_named_and_not_shown(kind, value, problems):
    assert refused(kind, value) == problems


def test_what_a_server_adds_later_takes_nothing_away():
    assert TypeAdapter(Integration).validate_json('{"id": 7, "colour": "red"}') == Integration(id=7)


class Settings(BaseModel):
    credentials: ClientCredentials | RefreshToken | AccessToken
    timeouts: Timeouts = Timeouts()
    pacing: PacingPolicy | None = None


def test_settings_hold_options_and_credentials():
    settings = Settings.model_validate({
        "credentials": {"client_id": "id", "client_secret": CANARY, "scopes": ["a"]},
        "timeouts": {"deadline": 5},
    })  # fmt: skip

    assert settings.credentials == ClientCredentials("id", CANARY, ("a",))
    assert settings.timeouts == Timeouts(deadline=5)
    assert settings.model_copy(deep=True) == settings
    assert settings.model_dump()["credentials"] is settings.credentials
    assert CANARY not in f"{settings} {settings!r}"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Settings, Settings(credentials=AccessToken(CANARY))),
        (ClientCredentials, ClientCredentials("id", CANARY)),
        (Token, Token(CANARY)),
        (PacingPolicy, RedisPacing(url=f"redis://:{CANARY}@127.0.0.1:6379/0")),
        (RedisPacing, RedisPacing(url=f"redis://:{CANARY}@127.0.0.1:6379/0")),
    ],
)
def test_what_holds_a_secret_refuses_to_be_written(kind, value):
    with pytest.raises(PydanticSerializationError) as caught:
        TypeAdapter(kind).dump_json(value)

    assert CANARY not in str(caught.value)


def test_what_a_class_of_the_callers_own_raises_is_pydantics_to_tell():
    class Short(Timeouts):
        def __attrs_post_init__(self):
            raise ValueError("too long for us")

    with pytest.raises(ValidationError, match="too long for us"):
        TypeAdapter(Short).validate_python({})


app = FastAPI()


@app.post("/shops")
async def create(new: Annotated[NewIntegration, Body()]) -> Integration:
    return Integration(id=7, name=new.name, configuration=new.configuration)


@app.patch("/shops")
async def update(changes: Annotated[IntegrationChanges, Body()]) -> IntegrationChanges:
    return changes


@app.get("/shops")
async def rows() -> list[IntegrationRow]:
    return [IntegrationRow(id=7, created_at=datetime(2026, 1, 1, tzinfo=UTC))]


@app.get("/outcome")
async def outcome() -> Outcome:
    return Outcome(index=0, key="k", status=OutcomeStatus.CREATED, resource="integrations", others=(1,))


@contextlib.asynccontextmanager
async def served():
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_level="critical"))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{listener.getsockname()[1]}") as session:
            yield session
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def test_a_service_takes_and_answers_records():
    async with served() as http:
        async with http.post("/shops", json=NEW) as answer:
            created = await answer.json()
        async with http.patch("/shops", json={"string1": None}) as answer:
            changed = await answer.json()
        async with http.get("/shops") as answer:
            listed = await answer.json()
        async with http.get("/outcome") as answer:
            told = await answer.text()

    assert (created["id"], created["name"], created["configuration"]) == (7, "Shop", {"api_key": CANARY})
    assert changed == {"string1": None}
    assert listed[0]["created_at"] == "2026-01-01T00:00:00Z"
    assert Outcome.from_json(told).others == (1,)


async def test_a_service_says_where_a_body_is_wrong_and_repeats_none_of_it():
    async with served() as http, http.post("/shops", json=NEW | {"name": "", "string1": CANARY}) as answer:
        body = await answer.text()
        [problem] = (await answer.json())["detail"]

    assert answer.status == 422
    assert (problem["loc"], problem["msg"]) == (["body", "name"], "must not be empty")
    assert CANARY not in body


def test_a_services_schema_names_the_records():
    document = app.openapi()
    [body] = document["paths"]["/shops"]["post"]["requestBody"]["content"].values()

    assert body["schema"] == {"$ref": "#/components/schemas/NewIntegration"}
    assert {"NewIntegration", "Integration", "IntegrationRow", "Outcome"} <= set(document["components"]["schemas"])
