"""Token sources of the callers' own, and the errors that they raise."""

from __future__ import annotations

import asyncio

import pytest

from clarus_async import AuthenticationError, ClarusClient, ClarusError, NewIntegration, RetryPolicy, Timeouts
from clarus_async.simulator import Simulator


class VaultError(ClarusError):
    def __init__(self, vault, *, code):
        super().__init__(f"vault {vault} said {code}")
        self.code = code


class SealedError(AuthenticationError):
    def __init__(self, message, vault):
        super().__init__(message)
        self.message = message
        self.vault = vault


class DownError(ClarusError):
    def __init__(self, code):
        self.code = code


class SlowError(ClarusError):
    def __init__(self, seconds):
        super().__init__("the vault is slow", retryable=True, retry_after=seconds)
        self.code = seconds


RAISED = {
    "a signature": lambda: VaultError("kv", code=403),
    "a message": lambda: SealedError("sealed", vault="kv"),
    "no call of ours": lambda: DownError(503),
    "retry_after": lambda: SlowError(3600.0),
}


class Source:
    def __init__(self, make):
        self._make = make

    async def fetch(self):
        error = self._make()
        error.add_note("ask the vault's team")
        raise error


@pytest.mark.parametrize("make", RAISED.values(), ids=RAISED)
async def test_what_a_source_raises_is_what_every_call_raises(make):
    async with Simulator() as simulator:
        source = Source(make)
        async with ClarusClient(
            "acme", source, base_url=simulator.url, timeouts=Timeouts(deadline=2.0), retry=RetryPolicy(max_attempts=1)
        ) as clarus:
            calls = [clarus.ping, clarus.ping, lambda: clarus.integrations.create(new())]
            errors = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
            errors += await asyncio.gather(*(call() for call in calls), return_exceptions=True)

    expected = make()
    for error in errors:
        assert type(error) is type(expected)
        assert getattr(error, "code", None) == getattr(expected, "code", None)
        assert str(expected) in str(error)
        assert error.__notes__ == ["ask the vault's team"]
    assert len(set(map(id, errors))) == len(errors)
    assert simulator.requests == []


async def test_it_is_what_the_outcome_of_a_record_says():
    async with Simulator() as simulator:
        async with ClarusClient("acme", Source(RAISED["a signature"]), base_url=simulator.url) as clarus:
            async with clarus.integrations.provision([new()], existing="ignore") as run:
                [outcome] = [outcome async for outcome in run]

    assert outcome.error.type == "VaultError"
    assert "vault kv said 403" in outcome.error.message


def new():
    return NewIntegration(name="Shop", integration_type="shopify")
