"""Under a virtual clock hours pass at once, and everything the simulator says of time agrees."""

import asyncio
import json
from datetime import timedelta
from email.utils import parsedate_to_datetime

import async_solipsism
import pytest

from clarus_async.simulator import Endpoint, Fault, Quota, Simulator
from tests.simulator.test_lifecycle import FORM


async def exchange(simulator, request):
    """Send bytes on a raw connection; return what comes until it ends."""
    reader, writer = await asyncio.open_connection(host="127.0.0.1", port=simulator.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer.decode()


def raw(method, path, body, *headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", body]).encode()


async def login(simulator):
    """Return the answer to a login, and the headers of requests after it."""
    form = "&".join(f"{name}={value}" for name, value in FORM.items())
    request = raw("POST", "/oauth/token", form, "Content-Type: application/x-www-form-urlencoded")
    answer = await exchange(simulator, request)
    token = json.loads(answer.partition("\r\n\r\n")[2])["access_token"]
    return answer, [f"Authorization: Bearer {token}", "X-Clarus-Subdomain: acme", "Content-Type: application/json"]


async def in_virtual_time():
    loop = asyncio.get_running_loop()
    async with Simulator(seed=1) as simulator:
        answer, sent = await login(simulator)
        date = parsedate_to_datetime(answer.partition("Date: ")[2].partition("\r\n")[0])

        simulator.script(Endpoint.CREATE, Fault("late_apply", delay=1800.0))
        document = {"data": {"type": "integrations", "attributes": {"name": "Late", "integration_type": "shopify"}}}
        assert await exchange(simulator, raw("POST", "/api/integrations", json.dumps(document), *sent)) == ""
        await simulator.refuse()
        await simulator.accept()
        assert simulator.integrations("acme") == []

        await asyncio.sleep(1800.0 - loop.time())
        await asyncio.sleep(10.0)
        [late] = simulator.integrations("acme")
        assert late.created_at - date < timedelta(seconds=1810)
        assert late.created_at - date >= timedelta(seconds=1799)
        assert simulator.requests[-1].applied_at == pytest.approx(1800.0, abs=5)
        assert simulator.requests[-1].status is None

        # The token was issued an hour ago by now.
        await asyncio.sleep(1800.0)
        answer = await exchange(simulator, raw("POST", "/api/integrations", json.dumps(document), *sent))
        assert answer.startswith("HTTP/1.1 401")


def virtually(coroutine):
    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        return runner.run(coroutine)


async def asked(quota, *, at, latency=0.0):
    """Ask at each of these times; return the statuses, and how long each answer took."""
    loop = asyncio.get_running_loop()
    async with Simulator(quota=quota, latency=latency) as simulator:
        _, sent = await login(simulator)

        async def ask(after):
            await asyncio.sleep(after)
            began = loop.time()
            answer = await exchange(simulator, raw("POST", "/graphql", "{}", *sent))
            return int(answer.split()[1]), round(loop.time() - began, 2)

        return await asyncio.gather(*(ask(after) for after in at))


def test_a_limiter_holds_what_waits_for_its_slot():
    took = virtually(asked(Quota(limit=10, kind="nginx", burst=2, delay=0), at=[0.0, 0.0, 0.0, 0.0]))

    assert took == [(200, 0.0), (200, 0.1), (200, 0.2), (429, 0.0)]


def test_a_limiter_counts_what_is_under_way_until_it_is_answered():
    took = virtually(asked(Quota(limit=1, kind="connections"), at=[0.0, 0.5, 1.5], latency=1.0))

    assert took == [(200, 1.0), (429, 1.0), (200, 1.0)]


async def times(seed):
    began, waits = asyncio.get_running_loop().time(), []
    async with Simulator(seed=seed, latency=(1.0, 5.0)) as simulator:
        for _ in range(20):
            await exchange(simulator, raw("POST", "/graphql", "{}"))
            waits.append(asyncio.get_running_loop().time() - began - sum(waits))
    return waits


def test_latency_is_drawn_from_the_seed():
    first, again, other = (virtually(times(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert 1.0 <= min(first) < 2.0 < 4.0 < max(first) <= 5.1


def test_time_is_the_loop_s_even_when_it_is_virtual():
    virtually(in_virtual_time())
