"""A grant whose tokens processes share: one asks for the next, and the others take it over.

Where a server keeps one live token per client, each process's new token would end the others'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from clarus_async.auth.token import life
from clarus_async.auth.token_store import Claim, TokenStore, TokenStores
from clarus_async.credentials import Credentials, Token
from clarus_async.errors import ClarusError

if TYPE_CHECKING:
    from clarus_async.auth.grants import Grant

_POLL: Final = 0.05  # seconds from one look to the next while another process asks
# A token with less to live than this is worth no request.
_LEAST: Final = 1.0


class SharedGrant:
    """Takes over the token that is shared, or gets one and shares it; by itself where nothing can be shared.

    Args:
        grant: gets a token.
        credentials: whose.
        stores: where this process shares tokens with others now.
    """

    def __init__(self, grant: Grant, credentials: Credentials, stores: Callable[[], TokenStores | None]) -> None:
        self._grant = grant
        self._credentials = credentials
        self._stores = stores
        self._refused: str | None = None
        self._known: tuple[TokenStores | None, TokenStore | None] = None, None

    def refuse(self, token: str) -> None:
        """Note that the API answered 401 to a token: it is shared no more, should it still be the one that is.

        Args:
            token: which.
        """
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
        elif claim.token is not None and claim.left - (loop.time() - since) >= _LEAST:
            # It was due, and is good for a while yet.
            return Token(claim.token, claim.left)
        return token
