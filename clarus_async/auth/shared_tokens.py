"""Tokens that processes share: one process asks the token endpoint, and the others take its token over.

Where a server keeps one live token per client, each process's new token would end the others'. A ``TokenStore`` is
where a token is shared, such as ``clarus_async.auth.redis_token_store.RedisTokenStore``; ``SharedGrant``
uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from clarus_async.auth.token import life
from clarus_async.credentials import Credentials, Token
from clarus_async.errors import ClarusError

if TYPE_CHECKING:
    from clarus_async.auth.grants import Grant

# Seconds between two looks while another process asks for a token, which takes it about as long.
_POLL: Final = 0.05
# Seconds. A token with less to live than this may expire on its way.
_LEAST_LIFE: Final = 1.0


class Claim(NamedTuple):
    """What a process found in a token store.

    Args:
        owner: names the process.
        ours: this process is to get the next token; no other does meanwhile.
        token: the shared token, if any; beside ``ours``, one that is about to expire.
        left: seconds that it has left to live.
    """

    owner: str
    ours: bool
    token: str | None
    left: float

    def __repr__(self) -> str:
        """Show nothing of it, for it holds a secret."""
        return object.__repr__(self)


class TokenStore(Protocol):
    """Where the token of one set of credentials is shared."""

    async def claim(self, refused: str | None) -> Claim | None:
        """Look for a token; ``None`` where the store can't be asked.

        Args:
            refused: a token that was answered with 401; it is removed if it is the shared one.
        """
        ...

    async def share(self, claim: Claim, token: str, life: float, age: float) -> None:
        """Share the token that a claim was for.

        Args:
            claim: what ``claim`` returned.
            token: the bearer token.
            life: seconds that it lives in all.
            age: seconds since it was asked for.
        """
        ...

    def give_up(self, claim: Claim) -> None:
        """Let another process get the next token."""
        ...


class TokenStores(Protocol):
    """Where the tokens of all credentials of one client are shared."""

    async def tokens(self, credentials: Credentials) -> TokenStore | None:
        """Return the store of these credentials' token; ``None`` where it is not shared."""
        ...


class SharedGrant:
    """Takes over the shared token, or gets one and shares it; on its own where nothing can be shared.

    Args:
        grant: gets a token.
        credentials: whose.
        stores: returns where this process shares tokens now, if anywhere.
    """

    def __init__(self, grant: Grant, credentials: Credentials, stores: Callable[[], TokenStores | None]) -> None:
        self._grant = grant
        self._credentials = credentials
        self._stores = stores
        self._refused: str | None = None
        self._known: tuple[TokenStores | None, TokenStore | None] = None, None

    def refuse(self, token: str) -> None:
        """Note that the API answered 401 to a token, which is to be shared no further."""
        self._refused = token

    async def __call__(self) -> Token | ClarusError:
        """Return a token, or why there is none."""
        store = await self._store()
        if store is None:
            return await self._grant()
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            asked = loop.time()
            claim = await store.claim(self._refused)
            if claim is None:
                return await self._grant()
            if claim.ours:
                return await self._get(store, claim)
            if claim.token is not None:
                # The life of what is returned counts from when this was called.
                return Token(claim.token, claim.left + asked - began)
            await asyncio.sleep(_POLL)

    async def _store(self) -> TokenStore | None:
        stores = self._stores()
        if stores is not self._known[0]:
            store = None if stores is None else await stores.tokens(self._credentials)
            self._known = stores, store
        return self._known[1]

    async def _get(self, store: TokenStore, claim: Claim) -> Token | ClarusError:
        loop = asyncio.get_running_loop()
        since = loop.time()
        token: Token | ClarusError | None = None
        try:
            token = await self._grant()
        finally:
            if not isinstance(token, Token):
                store.give_up(claim)
        if isinstance(token, Token):
            await store.share(claim, token.value, life(token.expires_in), loop.time() - since)
        elif claim.token is not None and claim.left - (loop.time() - since) >= _LEAST_LIFE:
            # No new one came, but the one that is about to expire is good for a while yet.
            return Token(claim.token, claim.left)
        return token
