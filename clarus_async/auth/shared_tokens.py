"""Tokens that processes share through Redis: one asks the token endpoint, and the others take its token over.

Where a server keeps one live token per client, each process's new token would end the others'. The shared token is
encrypted and authenticated (Fernet: AES and HMAC) with a key that scrypt derives from the client's secret: whoever
reads Redis without the secret, which would get them a token anyway, learns neither. Its key in Redis is named by an
HMAC of the client's id, its scopes and the API's base URL. Refresh tokens, an ``clarus_async.AccessToken`` and the
tokens of a token source are not shared, nor is anything without the cryptography package.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import uuid
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import attrs

from clarus_async.auth.token import HeldToken, TokenStores, life
from clarus_async.credentials import ClientCredentials, Credentials, Token, bearer_problem
from clarus_async.errors import ClarusError
from clarus_async.http.connect_errors import ConnectionProblem

if TYPE_CHECKING:
    from clarus_async.auth.grants import Grant

_log = logging.getLogger("clarus_async")

# Seconds between two looks while another process asks for a token, which takes it about as long.
_POLL: Final = 0.05
# Seconds. A token with less to live than this may expire on its way.
_LEAST_LIFE: Final = 1.0


@attrs.frozen(repr=False)
class Claim:
    """What a process found in a token store; it has no repr, for it holds a secret."""

    owner: str  # names the process
    ours: bool  # this process is to get the next token; no other does meanwhile
    token: str | None  # the shared one, if any; beside `ours`, one that is about to expire
    left: float  # seconds that it has left to live


# Milliseconds for which other processes wait for the one that asks for the next token: a few attempts of a healthy
# token endpoint. One that takes longer costs a further token, and one that dies costs the others this time.
_CLAIM_LIFE: Final = 10_000

# Keys: the token, the claim. Arguments: the digest of a token that was refused, the owner, milliseconds of the claim.
# Returns: what to do, the encrypted token, milliseconds that it has left to live.
_CLAIM: Final = """
local known = redis.call('HMGET', KEYS[1], 'digest', 'sealed', 'stale')
local left = redis.call('PTTL', KEYS[1])
if known[1] and known[1] == ARGV[1] then
  redis.call('DEL', KEYS[1])
  known = {false, false, false}
end
if known[1] and left > tonumber(known[3]) then return {'take', known[2], left} end
if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return {'get', known[2] or '', left} end
return {'wait', '', 0}
"""

# Keys: the same. Arguments: the token's digest, the encrypted token, milliseconds before its end at which it is stale,
# milliseconds of life, the owner. An owner whose claim has passed to another process shares nothing.
_SHARE: Final = """
local owner = redis.call('GET', KEYS[2])
if owner == ARGV[5] then redis.call('DEL', KEYS[2]) end
if owner == ARGV[5] or (not owner and redis.call('EXISTS', KEYS[1]) == 0) then
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'sealed', ARGV[2], 'stale', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
"""

_GIVE_UP: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


@attrs.frozen(repr=False)
class DerivedKeys:
    """What is derived from a client's secret; it has no repr, for it holds one."""

    seal: Any  # encrypts and decrypts
    digest: bytes  # the key of the HMAC that names tokens
    name: str  # of the client's token, in Redis


def derive_keys(credentials: ClientCredentials, base_url: str) -> DerivedKeys | None:
    """Derive keys from the client's secret, in some 50 ms; ``None`` where nothing can be encrypted."""
    try:
        from cryptography.fernet import Fernet  # noqa: PLC0415  optional
    except ImportError:
        _log.info("tokens are not shared: that needs cryptography: pip install 'clarus-async[redis]'")
        return None
    whose = json.dumps([base_url, credentials.client_id, sorted(credentials.scopes)]).encode()
    # The cost that RFC 7914 suggests for interactive use.
    try:
        key = hashlib.scrypt(credentials.client_secret.encode(), salt=whose, n=2**14, r=8, p=1, dklen=64)
    except (AttributeError, ValueError):
        # Not built in, or not allowed where only the algorithms of FIPS are.
        _log.info("tokens are not shared: that needs hashlib.scrypt, which this Python does not have")
        return None
    digest = key[32:]
    return DerivedKeys(Fernet(base64.urlsafe_b64encode(key[:32])), digest, _digest(digest, whose))


def _digest(key: bytes, text: bytes) -> str:
    return hmac.digest(key, text, "sha256").hex()


class RedisTokenStore:
    """The token of one client, in Redis."""

    def __init__(
        self,
        prefix: str,
        keys: DerivedKeys,
        evaluate: Callable[[str, list[str], list[Any]], Coroutine[Any, Any, Any]],
        start: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        # The braces are a hash tag: a Redis cluster keeps both keys on one node.
        name = f"{prefix}:{{{keys.name}}}"
        self._token, self._claim = f"{name}:token", f"{name}:claimed"
        self._keys = keys
        self._evaluate = evaluate
        self._start = start

    async def claim(self, refused: str | None) -> Claim | None:
        """Look for another token than one that was answered with 401; ``None`` where Redis can't be used."""
        owner = uuid.uuid4().hex
        digest = "" if refused is None else _digest(self._keys.digest, refused.encode())
        reply = await self._evaluate(_CLAIM, [self._token, self._claim], [digest, owner, _CLAIM_LIFE])
        if isinstance(reply, ConnectionProblem):
            return None
        try:
            what, sealed, left = reply
            token, seconds = self._unsealed(sealed), max(0, int(left)) / 1000
        except (TypeError, ValueError, AttributeError):
            # The server there is not Redis.
            return None
        if what == "take" and token is None:
            # It was not written by anybody who has the secret.
            return None
        return Claim(owner, what == "get", token, seconds)

    def _unsealed(self, sealed: str) -> str | None:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  optional

        try:
            token = self._keys.seal.decrypt(sealed.encode()).decode()
        except (InvalidToken, UnicodeDecodeError):
            return None
        return None if bearer_problem(token) else token

    async def share(self, claim: Claim, token: str, life: float, age: float) -> None:
        """Share the token that a claim was for; ``life`` and ``age`` (since it was asked for) are in seconds."""
        stale = life - HeldToken(token, 0.0, life).fresh_until
        digest = _digest(self._keys.digest, token.encode())
        sealed = self._keys.seal.encrypt(token.encode()).decode()
        arguments = [digest, sealed, round(1000 * stale), max(1, round(1000 * (life - age))), claim.owner]
        await self._evaluate(_SHARE, [self._token, self._claim], arguments)

    def give_up(self, claim: Claim) -> None:
        """Let another process get the next token."""
        self._start(self._evaluate(_GIVE_UP, [self._claim], [claim.owner]))


class SharedGrant:
    """Takes over the shared token, or gets one and shares it; on its own where nothing can be shared."""

    def __init__(self, grant: Grant, credentials: Credentials, stores: Callable[[], TokenStores | None]) -> None:
        self._grant = grant
        self._credentials = credentials
        self._stores = stores
        self._refused: str | None = None
        self._known: tuple[TokenStores | None, RedisTokenStore | None] = None, None

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

    async def _store(self) -> RedisTokenStore | None:
        stores = self._stores()
        if stores is not self._known[0]:
            store = None if stores is None else await stores.tokens(self._credentials)
            self._known = stores, store
        return self._known[1]

    async def _get(self, store: RedisTokenStore, claim: Claim) -> Token | ClarusError:
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
