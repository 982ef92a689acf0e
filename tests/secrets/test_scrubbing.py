"""What a server echoes of a configuration does not show in the error (contract §2, Credentials)."""

import json

import pytest

from clarus_async import IntegrationChanges, NewIntegration, OutcomeUnknownError, ValidationError
from tests.support.vendor import COLLECTION

CANARY = "canary-secret"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"


def new(**configuration):
    return NewIntegration(name="A", integration_type="x", configuration=configuration)


async def refused(mocked, clarus, record, status=422, **answer):
    mocked.post(COLLECTION, status=status, **answer)
    with pytest.raises((ValidationError, OutcomeUnknownError)) as caught:
        await clarus.integrations.create(record, on_unknown="raise")
    error = caught.value
    return f"{error} {error!r} {getattr(error, 'errors', None)} {error.__cause__!r}"


@pytest.mark.parametrize(
    "entry",
    [
        {"code": 1, "symbol": "bad", "details": f"is not acceptable: {CANARY}", "source": None, "context": None},
        {"code": 1, "symbol": "bad", "details": "x", "source": CANARY, "context": None},
        {"code": 1, "symbol": CANARY, "details": "x", "source": None, "context": None},
        {"code": CANARY, "symbol": "bad", "details": "x"},
        {"code": 1, "symbol": "bad", "details": "x", "context": {"configuration": {"api_key": CANARY}}},
        {"code": 1, "symbol": "bad", "details": "x", "context": {CANARY: [{"deep": f"<{CANARY}>"}]}},
        {"status": "422", "title": "Bad", "detail": f"got {CANARY}", "source": {"pointer": f"/{CANARY}"}},
    ],
)
async def test_in_an_entry_of_an_error_body(mocked, clarus, entry):
    assert CANARY not in await refused(mocked, clarus, new(api_key=CANARY), payload={"errors": [entry]})


@pytest.mark.parametrize(
    "body",
    [
        f"<html><title>422 {CANARY}</title></html>",
        f"could not use {CANARY}",
        json.dumps({"error": CANARY}),
        json.dumps({"errors": {"api_key": [CANARY]}}),
        json.dumps([CANARY]),
    ],
)
async def test_in_any_other_body(mocked, clarus, body):
    assert CANARY not in await refused(mocked, clarus, new(api_key=CANARY), body=body)


@pytest.mark.parametrize("status", [408, 500, 502])
async def test_in_the_cause_of_an_unknown_outcome(mocked, clarus, status):
    assert CANARY not in await refused(mocked, clarus, new(api_key=CANARY), status, payload={"error": CANARY})


@pytest.mark.parametrize(
    "configuration",
    [{"deep": {"er": {"api_key": CANARY}}}, {"list": ["a", [CANARY]]}, {"a": "canary", "b": CANARY}],
)
async def test_however_deep_it_was(mocked, clarus, configuration):
    assert "secret" not in await refused(mocked, clarus, new(**configuration), payload={"error": f"got {CANARY}"})


async def test_a_number_too(mocked, clarus):
    context = {"pin": 987654}
    payload = {"errors": [{"details": "987654 is no good", "context": context}]}
    assert "987654" not in await refused(mocked, clarus, new(pin=987654), payload=payload)


async def test_in_the_error_of_an_update(mocked, clarus):
    mocked.patch(f"{COLLECTION}/1", status=422, payload={"error": f"bad {CANARY}"})
    with pytest.raises(ValidationError) as caught:
        await clarus.integrations.update(1, IntegrationChanges(configuration={"api_key": CANARY}))
    assert CANARY not in f"{caught.value} {caught.value.errors}"


async def test_the_token_too(mocked, clarus):
    shown = await refused(mocked, clarus, new(), payload={"error": "Bearer token-1 is not allowed"})
    assert "token-1" not in shown


async def test_what_is_no_secret_stays_readable(mocked, clarus):
    record = new(test_mode=True, retries=1, region="eu")
    shown = await refused(mocked, clarus, record, payload={"error": "True is not allowed in 11 regions of europe"})
    assert "True is not allowed in 11 regions of europe" in shown


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"error": f"bad key: {PEM}"}),
        json.dumps({"errors": [{"details": f"bad key: {PEM}"}]}),
        f"bad key: {PEM}",
    ],
    ids=["401", "vendor", "prose"],
)
async def test_a_secret_of_several_lines(mocked, clarus, body):
    assert "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" not in await refused(mocked, clarus, new(key=PEM), body=body)


@pytest.mark.parametrize("before", [470, 480, 490])
async def test_a_secret_where_the_text_is_cut(mocked, clarus, before):
    secret = "canary-" + "s3cr3t" * 10
    shown = await refused(mocked, clarus, new(key=secret), payload={"error": "x" * before + " " + secret})
    assert "canary" not in shown
