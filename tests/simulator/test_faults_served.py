"""Each fault: what a bare client sees, and what the ledger says of it."""

import asyncio
import contextlib
import errno
import gzip
import json
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from clarus_async.simulator import Endpoint, Fault, FaultKind, Quota, Simulator
from tests.simulator.test_lifecycle import FORM, Api, until


@pytest.fixture
async def api(api):
    await api.login()
    return api


def seconds():
    return asyncio.get_running_loop().time()


# uvloop's clock ticks in milliseconds.
TICK = 1.1e-3


def last(simulator):
    """What the log says of the latest request: its fault, its status, and whether it was applied."""
    entry = simulator.requests[-1]
    return entry.fault, entry.status, entry.applied_at is not None


async def is_reset(awaitable):
    with pytest.raises(aiohttp.ClientOSError) as caught:
        await awaitable
    return caught.value.errno == errno.ECONNRESET


@pytest.mark.parametrize(
    ("fault", "applied"),
    [
        (Fault(FaultKind.RESET_BEFORE), False),
        (Fault(FaultKind.RESET_AFTER), True),
        (Fault(FaultKind.STALL_BEFORE, delay=0.05), False),
        (Fault(FaultKind.STALL_AFTER, delay=0.05), True),
    ],
)
async def test_a_reset_comes_instead_of_an_answer_at_once_or_after_a_stall(simulator, api, fault, applied):
    simulator.script(Endpoint.CREATE, fault)
    began = seconds()

    assert await is_reset(api.create("there"))
    assert seconds() - began >= fault.delay - TICK
    assert [record.name for record in simulator.integrations("acme")] == ["there"] * applied
    assert last(simulator) == (fault.kind, None, applied)
    assert simulator.requests[-1].record_id == (1 if applied else None)


async def test_a_stalled_write_is_applied_at_once(simulator, api):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.STALL_AFTER, delay=999.0))
    stalled = asyncio.create_task(api.create())
    await until(lambda: simulator.created("acme"))
    stalled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stalled


async def test_late_apply(simulator, api):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=0.8))

    assert await is_reset(api.create(key="k"))
    assert simulator.created("acme") == []
    assert (await api.create(key="k")).status == 200
    await until(lambda: len(simulator.created("acme")) == 2)

    late = next(entry for entry in simulator.requests if entry.fault)
    assert late.status is None
    assert late.applied_at - late.at >= 0.8 - TICK
    # The first send is applied after the second: the ledger says which is which.
    assert [(record.id, record.send) for record in simulator.created("acme")] == [(1, 2), (2, 1)]
    assert late.record_id == 2


@pytest.mark.parametrize(
    ("endpoint", "method", "path"),
    [
        (Endpoint.UPDATE, "PATCH", "/api/integrations/1"),
        (Endpoint.DELETE, "DELETE", "/api/integrations/1"),
        (Endpoint.SYNCHRONIZE, "POST", "/api/integrations/1/synchronize"),
    ],
)
async def test_every_write_can_be_late(simulator, api, endpoint, method, path):
    await api.create()
    simulator.script(endpoint, Fault(FaultKind.LATE_APPLY, delay=0.01))
    document = {"data": {"type": "integrations", "attributes": {"name": "new"}}} if method == "PATCH" else None

    assert await is_reset(api.call(method, path, document))
    await until(lambda: simulator.requests[-1].applied_at)
    assert simulator.requests[-1].applied_at - simulator.requests[-1].at >= 0.01 - TICK


async def test_what_is_refused_on_arrival_is_not_applied_late(simulator, api):
    simulator.set_quota(Quota(limit=1, window=1e9))
    await api.create()
    simulator.script(Endpoint.CREATE, Fault(FaultKind.LATE_APPLY, delay=0.01))

    assert await is_reset(api.create())
    await asyncio.sleep(0.03)
    assert len(simulator.created("acme")) == 1


@pytest.mark.parametrize(("status", "answered"), [(None, 503), (504, 504)])
async def test_a_gateway_that_did_not_wait_says_so_and_the_write_is_applied_later(simulator, api, status, answered):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.GATEWAY_TIMEOUT, status=status, retry_after=5.0, delay=0.5))

    answer = await api.create()
    assert (answer.status, answer.headers["Retry-After"]) == (answered, "5")
    assert simulator.created("acme") == []
    await until(lambda: len(simulator.created("acme")) == 1)


async def test_refuse_closes_the_port_for_a_while(simulator, api):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.REFUSE, delay=0.5))
    began = seconds()

    assert await is_reset(api.create())
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await api.create()
    assert caught.value.errno == errno.ECONNREFUSED
    assert last(simulator) == (FaultKind.REFUSE, None, False)

    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                assert (await api.create()).status == 200
                break
    assert seconds() - began >= 0.5 - TICK


async def test_a_longer_refusal_outlasts_a_shorter_one(simulator, api):
    _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(b"POST /api/integrations HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{")
    await until(lambda: simulator.count(Endpoint.CREATE) == 1)
    simulator.script(Endpoint.CREATE, Fault(FaultKind.REFUSE, delay=0.05), Fault(FaultKind.REFUSE, delay=999.0))
    assert await is_reset(api.create())
    writer.write(b"}")
    await until(lambda: simulator.requests[-2].fault)
    writer.close()
    await asyncio.sleep(0.06)
    with pytest.raises(aiohttp.ClientConnectorError):
        await api.create()

    await simulator.accept()
    assert (await api.create()).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "applied"),
    [
        (FaultKind.ERROR_BEFORE, 500, False),
        (Fault(FaultKind.ERROR_BEFORE, status=408), 408, False),
        (FaultKind.ERROR_AFTER, 500, True),
        (Fault(FaultKind.ERROR_AFTER, status=504), 504, True),
        (FaultKind.HTML_502, 502, False),
        (FaultKind.UNAVAILABLE, 503, False),
        (FaultKind.RATE_LIMITED, 429, False),
        (FaultKind.NOT_JSON, 200, True),
        (FaultKind.REDIRECT, 302, False),
        (Fault(FaultKind.REDIRECT, status=307), 307, False),
        (FaultKind.UNAUTHORIZED, 401, False),
        (FaultKind.FORBIDDEN, 403, False),
        (FaultKind.JSON_API_ERROR, 422, False),
    ],
)
async def test_a_wrong_answer_comes_with_or_without_the_write(simulator, api, fault, status, applied):
    simulator.script(Endpoint.CREATE, fault)
    answer = await api.create()

    assert answer.status == status
    assert (answer.body == b"OK, that is done.") == (fault is FaultKind.NOT_JSON)
    assert last(simulator) == (fault.kind if isinstance(fault, Fault) else fault, status, applied)
    assert len(simulator.created("acme")) == applied
    assert (await api.create()).status == 200


@pytest.mark.parametrize("kind", [FaultKind.HTML_502, FaultKind.UNAVAILABLE, FaultKind.RATE_LIMITED])
async def test_a_proxy_answers_html(simulator, api, kind):
    simulator.script(Endpoint.CREATE, kind)
    answer = await api.create()

    assert answer.headers["Content-Type"] == "text/html"
    assert answer.body.startswith(b"<html>")
    assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("kind", [FaultKind.UNAVAILABLE, FaultKind.RATE_LIMITED])
async def test_retry_after_in_seconds_whole_or_not(simulator, api, kind):
    simulator.script(Endpoint.CREATE, Fault(kind, retry_after=120.0), Fault(kind, retry_after=0.25))

    assert [(await api.create()).headers["Retry-After"] for _ in range(2)] == ["120", "0.25"]


async def test_retry_after_as_a_date_is_never_too_soon(simulator, api):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.UNAVAILABLE, retry_after=0.5, retry_after_date=True))
    answer = await api.create()
    told = parsedate_to_datetime(answer.headers["Retry-After"])

    assert told - parsedate_to_datetime(answer.headers["Date"]) >= timedelta(seconds=0.5)
    assert told - datetime.now(UTC) <= timedelta(seconds=2)


async def test_a_redirect_points_where_it_is_told(simulator, api):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.REDIRECT, location="https://evil.example/x"))

    assert (await api.create()).headers["Location"] == "https://evil.example/x"


async def test_401_and_403_have_their_documented_forms(simulator, api):
    simulator.script(Endpoint.CREATE, FaultKind.UNAUTHORIZED, FaultKind.FORBIDDEN)

    assert list((await api.create()).json) == ["error"]
    assert (await api.create()).symbols == ["forbidden"]


async def test_a_json_api_error_quotes_what_was_sent(simulator, api):
    simulator.script(Endpoint.CREATE, FaultKind.JSON_API_ERROR, FaultKind.JSON_API_ERROR)
    [error] = (await api.create(configuration={"api_key": "canary"})).json["errors"]
    assert error == {
        "status": "422",
        "title": "Invalid Attribute",
        "detail": "is not acceptable: canary",
        "source": {"pointer": "/data/attributes/configuration/api_key"},
    }

    [error] = (await api.create()).json["errors"]
    assert error["source"] == {"pointer": "/data/attributes/name"}


@pytest.mark.parametrize("kind", [FaultKind.NOT_JSON, FaultKind.OVERSIZED])
async def test_a_refusal_that_can_not_be_read_is_still_one(simulator, api, kind):
    simulator.script(Endpoint.SYNCHRONIZE, kind)
    answer = await api.call("POST", "/api/integrations/999/synchronize")

    assert answer.status == 404


@pytest.mark.parametrize(("kind", "applied"), [(FaultKind.ERROR_BEFORE, 0), (FaultKind.ERROR_AFTER, 1)])
async def test_a_503_says_when_to_come_back_whether_it_did_the_write_or_not(simulator, api, kind, applied):
    simulator.script(Endpoint.CREATE, Fault(kind, status=503, retry_after=2.0))
    answer = await api.create()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert len(simulator.created("acme")) == applied


async def test_truncated_promises_more_than_it_sends(simulator, api):
    simulator.script(Endpoint.CREATE, FaultKind.TRUNCATED)

    with pytest.raises(aiohttp.ClientPayloadError):
        await api.create()
    assert last(simulator) == (FaultKind.TRUNCATED, 200, True)


async def test_an_answer_without_a_body_is_truncated_in_its_headers(simulator, api):
    await api.create()
    simulator.script(Endpoint.DELETE, FaultKind.TRUNCATED)

    with pytest.raises(aiohttp.ClientError):
        await api.call("DELETE", "/api/integrations/1")
    assert last(simulator) == (FaultKind.TRUNCATED, 204, True)
    assert simulator.integrations("acme") == []


@pytest.mark.parametrize("packed", [False, True])
async def test_oversized_is_as_large_as_told(simulator, api, packed):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.OVERSIZED, size=3_000_000, gzip=packed))
    async with aiohttp.ClientSession(simulator.url, auto_decompress=False) as plain:
        api.session, opened = plain, api.session
        answer = await api.create("there")
        await opened.close()

    assert answer.status == 200
    assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
    assert (len(answer.body) < 10_000) == packed
    body = gzip.decompress(answer.body) if packed else answer.body
    assert len(body) == 3_000_000
    assert json.loads(body)["data"]["attributes"]["name"] == "there"
    assert last(simulator) == (FaultKind.OVERSIZED, 200, True)


async def test_who_has_seen_enough_of_an_oversized_answer_may_leave(simulator, api):
    simulator.script(Endpoint.CREATE, Fault(FaultKind.OVERSIZED, size=2**40))
    sent = {"Authorization": f"Bearer {api.token}", "X-Clarus-Subdomain": "acme"}
    document = {"data": {"type": "integrations", "attributes": {"name": "x", "integration_type": "y"}}}
    async with api.session.post("/api/integrations", json=document, headers=sent) as response:
        assert len(await response.content.readexactly(2**20)) == 2**20

    await until(lambda: simulator.open_connections == 0)
    assert (await api.create()).status == 200


async def test_the_token_endpoint_can_fail_too(simulator, api):
    simulator.script(
        Endpoint.TOKEN, FaultKind.RESET_BEFORE, FaultKind.NOT_JSON, Fault("unauthorized", endpoint="token")
    )

    assert await is_reset(api.send("POST", "/oauth/token", data=FORM))
    assert (await api.send("POST", "/oauth/token", data=FORM)).body == b"OK, that is done."
    assert (await api.send("POST", "/oauth/token", data=FORM)).status == 401
    assert (await api.send("POST", "/oauth/token", data=FORM)).status == 200


async def test_a_refusal_can_be_lost_like_any_answer(simulator, api):
    simulator.script(Endpoint.CREATE, FaultKind.RESET_AFTER)

    assert await is_reset(api.create(name=""))
    assert simulator.created("acme") == []
    assert last(simulator) == (FaultKind.RESET_AFTER, None, False)


async def test_faults_come_with_their_probability_and_the_same_in_every_run():
    faults = [Fault(FaultKind.ERROR_BEFORE, probability=0.3, endpoint=Endpoint.CREATE)]

    async def run(seed):
        async with Simulator(faults=faults, seed=seed) as simulator, Api(simulator, keep_alive=True) as api:
            statuses = [(await api.create()).status for _ in range(60)]
            assert len(simulator.integrations("acme")) == statuses.count(200)
            return statuses

    first = await run(5)
    assert 5 < first.count(500) < 40
    assert first == await run(5)
    assert first != await run(6)


async def test_faults_can_be_set_on_the_way(simulator, api):
    simulator.set_faults([Fault(FaultKind.HTML_502)])
    assert (await api.create()).status == 502
    simulator.set_faults([])
    assert (await api.create()).status == 200


async def test_odd_rows_keep_their_ids_and_take_no_other_along(simulator, api):
    for name in ("a", "b", "c"):
        await api.create(name=name)
    simulator.script(Endpoint.GRAPHQL, FaultKind.ODD_ROWS)

    answer = await api.graphql("{ integrations { all { edges { node { id name enabled created_at } } } } }")
    first, middle, last = (edge["node"] for edge in answer["data"]["integrations"]["all"]["edges"])
    assert [first["id"], middle["id"], last["id"]] == ["1", "2", "3"]
    assert (first["created_at"], first["enabled"], first["name"]) == (None, 1, "a")
    assert (last["name"], last["created_at"]) == (None, "2026-01-10")
    assert (middle["name"], middle["enabled"]) == ("b", True)
