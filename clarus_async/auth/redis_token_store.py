"""A token that processes share through Redis, so that none ends the others' where a server keeps one per client.

Redis holds it sealed (Fernet: AES and HMAC), by a key that scrypt makes of the client's secret: whoever reads Redis
and has not the secret, with which they could get a token anyway, learns neither. Its name there is made with another
such key, of the client's id, its scopes and the API's base URL. Nothing is shared of refresh tokens, of an
:class:`~clarus_async.AccessToken` or of a token source of the caller's own, nor without the cryptography package.
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

# Milliseconds for which others wait for who asks for the next token. It is a few tries of a healthy token endpoint;
# who takes longer costs a token more, and whose process dies costs the others this time.
_CLAIMED: Final = 10_000

# Keys: the token, who gets the next. Arguments: the digest of one that was refused, who asks, milliseconds.
# Returns: what there is to do, the sealed token, milliseconds that it has yet to live.
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

# Keys: the same. Arguments: the digest, the sealed token, milliseconds before its end at which it is due, milliseconds
# of life, who asked. Who took so long that another was let in shares nothing.
_SHARE: Final = """
local owner = redis.call('GET', KEYS[2])
if owner == ARGV[5] then redis.call('DEL', KEYS[2]) end
if owner == ARGV[5] or (not owner and redis.call('EXISTS', KEYS[1]) == 0) then
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'sealed', ARGV[2], 'stale', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
"""

_GIVE_UP: Final = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


# No repr: it holds what must not show.
class Keys(NamedTuple):
    """What is made of a client's secret.

    Args:
        seal: encrypts and decrypts.
        digest: names things.
        name: of the token.
    """

    seal: Any
    digest: bytes
    name: str

    def __repr__(self) -> str:
        """Nothing of it."""
        return object.__repr__(self)


def derive(credentials: ClientCredentials, base_url: str) -> Keys | None:
    """Make keys of the client's secret, in some 50 ms; ``None`` where nothing can be sealed.

    Args:
        credentials: whose.
        base_url: the API's.
    """
    try:
        from cryptography.fernet import Fernet  # noqa: PLC0415  optional
    except ImportError:
        _log.info("tokens are not shared: that needs cryptography: pip install 'clarus-async[redis]'")
        return None
    whose = json.dumps([base_url, credentials.client_id, sorted(credentials.scopes)]).encode()
    # The cost that RFC 7914 names for interactive use.
    try:
        key = hashlib.scrypt(credentials.client_secret.encode(), salt=whose, n=2**14, r=8, p=1, dklen=64)
    except (AttributeError, ValueError):
        # Not built in, or forbidden where only FIPS's algorithms are allowed.
        _log.info("tokens are not shared: that needs hashlib.scrypt, which is not to be had here")
        return None
    digest = key[32:]
    return Keys(Fernet(base64.urlsafe_b64encode(key[:32])), digest, _digest(digest, whose))


def _digest(key: bytes, text: bytes) -> str:
    return hmac.digest(key, text, "sha256").hex()


class RedisTokenStore:
    """The token of one client, in Redis.

    Args:
        prefix: of the keys.
        keys: made of the client's secret.
        evaluate: runs a script in Redis.
        start: has something done that nobody waits for.
    """

    def __init__(
        self,
        prefix: str,
        keys: Keys,
        evaluate: Callable[[str, list[str], list[Any]], Coroutine[Any, Any, Any]],
        start: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        # In braces, so that both are kept together.
        name = f"{prefix}:{{{keys.name}}}"
        self._token, self._claimed = f"{name}:token", f"{name}:claimed"
        self._keys = keys
        self._evaluate = evaluate
        self._start = start

    async def claim(self, refused: str | None) -> Claim | None:
        """Look for a token; ``None`` where Redis can't be asked.

        Args:
            refused: one that is good no more, and is forgotten if it is the one that is shared.
        """
        owner = uuid.uuid4().hex
        digest = "" if refused is None else _digest(self._keys.digest, refused.encode())
        reply = await self._evaluate(_CLAIM, [self._token, self._claimed], [digest, owner, _CLAIMED])
        if isinstance(reply, ConnectionProblem):
            return None
        try:
            what, sealed, left = reply
            token, seconds = self._unsealed(sealed), max(0, int(left)) / 1000
        except (TypeError, ValueError, AttributeError):
            # What answers there is not Redis.
            return None
        if what == "take" and token is None:
            # Nobody who has the secret wrote that.
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
        """Share a token.

        Args:
            claim: for which it was got.
            token: the bearer token.
            life: seconds that it lives in all.
            age: seconds since it was asked for.
        """
        stale = life - HeldToken(token, 0.0, life).fresh_until
        digest = _digest(self._keys.digest, token.encode())
        sealed = self._keys.seal.encrypt(token.encode()).decode()
        arguments = [digest, sealed, round(1000 * stale), max(1, round(1000 * (life - age))), claim.owner]
        await self._evaluate(_SHARE, [self._token, self._claimed], arguments)

    def give_up(self, claim: Claim) -> None:
        """Let another get the next token.

        Args:
            claim: the one that is given up.
        """
        self._start(self._evaluate(_GIVE_UP, [self._claimed], [claim.owner]))
