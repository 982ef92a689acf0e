import aiohttp
import pytest
from aioresponses import aioresponses


async def test_aioresponses_still_needs_the_shim():
    """Fails once aioresponses passes what aiohttp wants: then delete ShimmedResponse from conftest.py, and this."""
    with aioresponses() as plain:
        plain.get("http://x.test/", body=b"{}")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.get("http://x.test/")


async def test_the_shim_is_enough(mocked):
    mocked.get("http://x.test/", payload={"a": 1})
    async with aiohttp.ClientSession() as session, session.get("http://x.test/") as response:
        assert await response.json() == {"a": 1}
