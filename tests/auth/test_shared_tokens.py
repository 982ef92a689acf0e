"""Who takes over a token, who gets the next, and who waits; with a store that does as it is told."""

from __future__ import annotations

import asyncio

import pytest

from clarus_async.auth.shared_tokens import Claim, SharedGrant
from clarus_async.credentials import ClientCredentials, Token
from clarus_async.errors import AuthenticationError
from tests.support.virtual import virtual

CREDENTIALS = ClientCredentials("id", "secret")
OURS = Claim("me", ours=True, token=None, left=0.0)
WAIT = Claim("me", ours=False, token=None, left=0.0)
ERROR = AuthenticationError("no")


class Store:
    def __init__(self, *claims):
        self.claims = list(claims)
        self.refused = []
        self.shared = []
        self.given_up = []

    async def tokens(self, credentials):
        assert credentials is CREDENTIALS
        return self

    async def claim(self, refused):
        self.refused.append(refused)
        return self.claims.pop(0)

    async def share(self, claim, token, life, age):
        self.shared.append((claim.owner, token, life, age))

    def give_up(self, claim):
        self.given_up.append(claim.owner)


def grant(store, answer, seconds=0.0):
    async def ask():
        await asyncio.sleep(seconds)
        if isinstance(answer, BaseException) and not isinstance(answer, AuthenticationError):
            raise answer
        return answer

    return SharedGrant(ask, CREDENTIALS, lambda: store)


@virtual
async def test_a_token_that_is_shared_is_taken_over():
    assert await grant(Store(Claim("me", ours=False, token="t", left=50.0)), ERROR)() == Token("t", 50.0)


@virtual
async def test_its_life_counts_from_when_it_was_asked_for():
    token = await grant(Store(WAIT, WAIT, Claim("me", ours=False, token="t", left=50.0)), ERROR)()
    # The two waits are no part of it: who holds it counts from before them.
    assert token.expires_in == pytest.approx(50.1)


@virtual
async def test_whoever_gets_it_shares_it():
    store = Store(OURS)
    assert await grant(store, Token("t", 100.0), seconds=2.0)() == Token("t", 100.0)
    assert store.shared == [("me", "t", 100.0, 2.0)]
    assert store.given_up == []


@virtual
async def test_whoever_fails_to_gives_way_to_another():
    store = Store(OURS)
    assert await grant(store, ERROR)() is ERROR
    assert (store.shared, store.given_up) == ([], ["me"])


@pytest.mark.parametrize("raised", [ValueError(), asyncio.CancelledError()], ids=repr)
@virtual
async def test_so_does_whoever_raises(raised):
    store = Store(OURS)
    with pytest.raises(type(raised)):
        await grant(store, raised)()
    assert store.given_up == ["me"]


@virtual
async def test_one_that_is_due_serves_while_there_is_no_other():
    assert await grant(Store(Claim("me", ours=True, token="t", left=5.0)), ERROR)() == Token("t", 5.0)


@virtual
async def test_one_that_is_over_by_then_does_not():
    assert await grant(Store(Claim("me", ours=True, token="t", left=5.0)), ERROR, seconds=4.5)() is ERROR


@virtual
async def test_where_nobody_can_be_asked_each_gets_its_own():
    store = Store(None)
    assert await grant(store, Token("t"))() == Token("t")
    assert (store.shared, store.given_up) == ([], [])
    assert await grant(None, Token("t"))() == Token("t")


@virtual
async def test_one_that_was_refused_is_named():
    store = Store(OURS, OURS)
    shared = grant(store, Token("t"))
    await shared()
    shared.refuse("t")
    await shared()
    assert store.refused == [None, "t"]


def test_a_claim_shows_nothing():
    assert "canary" not in repr(Claim("me", ours=False, token="canary", left=1.0))
