"""The aioresponses that is offered to users: theirs, whose answers this aiohttp accepts."""

import subprocess
import sys

import aiohttp
import pytest
from aioresponses import aioresponses as plain

from clarus_async import AccessToken, ClarusClient, ConfigurationError
from clarus_async.simulator.aioresponses import CallbackResult, Response, aioresponses
from tests.support.vendor import GRAPHQL

URL = "http://x.test/"


async def get(url=URL):
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def test_aioresponses_still_needs_it():
    """Fails once aioresponses passes what aiohttp wants: then delete clarus_async.simulator.aioresponses, and this."""
    with plain() as mock:
        mock.get(URL, body=b"{}")
        with pytest.raises(TypeError, match="stream_writer"):
            await get()


async def test_an_answer():
    with aioresponses() as mock:
        mock.get(URL, payload={"a": 1}, status=201, headers={"X-A": "b"}, repeat=2)
        assert [await get(), await get()] == [(201, {"a": 1})] * 2


async def test_an_exception_and_a_timeout():
    with aioresponses() as mock:
        mock.get(URL, exception=aiohttp.ClientConnectionError())
        mock.get(URL, timeout=True)
        with pytest.raises(aiohttp.ClientConnectionError):
            await get()
        with pytest.raises(TimeoutError):
            await get()


async def test_what_callbacks_return():
    async def later(url, **_):
        return CallbackResult(status=202, payload={"later": url.host})

    with aioresponses() as mock:
        mock.get(URL, callback=lambda url, **_: CallbackResult(payload={"now": url.host}))
        mock.get(URL, callback=later)
        mock.get(URL, callback=lambda url, **_: None, payload={"nothing": True})
        assert [await get() for _ in range(3)] == [
            (200, {"now": "x.test"}),
            (202, {"later": "x.test"}),
            (200, {"nothing": True}),
        ]


async def test_a_response_class_of_the_caller_s():
    class Theirs(Response):
        pass

    with aioresponses() as mock:
        mock.get(URL, body="{}", response_class=Theirs)
        async with aiohttp.ClientSession() as session, session.get(URL) as response:
            assert type(response) is Theirs


async def test_it_is_a_decorator_too():
    @aioresponses()
    async def decorated(mock):
        mock.get(URL, payload=[])
        return await get()

    assert await decorated() == (200, [])


async def test_without_it_the_client_says_what_the_matter_is():
    with plain() as mock:
        mock.post(GRAPHQL, payload={"data": {}})
        async with ClarusClient("acme", AccessToken("t")) as clarus:
            with pytest.raises(ConfigurationError, match=r"TypeError at .*/core\.py:\d+ in _build_response"):
                await clarus.ping()
        assert sum(map(len, mock.requests.values())) == 1


async def test_a_request_without_an_entry_is_told_with_its_place(mocked):
    async with ClarusClient("acme", AccessToken("t")) as clarus:
        with pytest.raises(Exception, match=r"ClientConnectionError at .*/core\.py:\d+ in _request_mock"):
            await clarus.ping()


def test_without_the_package_the_import_error_says_what_to_install():
    code = "import sys; sys.modules['aioresponses'] = None; import clarus_async.simulator.aioresponses"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: clarus_async.simulator.aioresponses needs aioresponses: pip install aioresponses"
    )
