"""A token store in Redis, where processes share the token of a client.

The token is encrypted and authenticated (Fernet: AES and HMAC) with a key that scrypt derives from the client's secret:
whoever reads Redis without the secret, which would get them a token anyway, learns neither. Its key in Redis is named
by an HMAC of the client's id, its scopes and the API's base URL. Refresh tokens, an ``clarus_async.AccessToken``
and the tokens of a token source are not shared, nor is anything without the cryptography package.
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
from typing import Any, Final, NamedTuple

from clarus_async.auth.shared_tokens import Claim
from clarus_async.auth.token import HeldToken
from clarus_async.credentials import ClientCredentials, bearer_problem
from clarus_async.http.connect_errors import ConnectionProblem

_log = logging.getLogger("clarus_async")

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


class DerivedKeys(NamedTuple):
    """What is derived from a client's secret.

    Args:
        seal: encrypts and decrypts.
        digest: the key of the HMAC that names tokens.
        name: that of the client's token.
    """

    seal: Any
    digest: bytes
    name: str

    def __repr__(self) -> str:
        """Show nothing of it, for it holds a secret."""
        return object.__repr__(self)


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
    """The token of one client, in Redis: a ``clarus_async.auth.shared_tokens.TokenStore``.

    Args:
        prefix: that of the keys in Redis.
        keys: derived from the client's secret.
        evaluate: runs a script in Redis.
        start: runs a coroutine that nobody waits for.
    """

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
        """Look for a token; ``None`` where Redis can't be used."""
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
        """Share the token that a claim was for."""
        stale = life - HeldToken(token, 0.0, life).fresh_until
        digest = _digest(self._keys.digest, token.encode())
        sealed = self._keys.seal.encrypt(token.encode()).decode()
        arguments = [digest, sealed, round(1000 * stale), max(1, round(1000 * (life - age))), claim.owner]
        await self._evaluate(_SHARE, [self._token, self._claim], arguments)

    def give_up(self, claim: Claim) -> None:
        """Let another process get the next token."""
        self._start(self._evaluate(_GIVE_UP, [self._claim], [claim.owner]))
