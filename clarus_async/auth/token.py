"""The life of a token, from fresh over stale to expired, and when to ask for another one after a 401."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from clarus_async.config import RetryPolicy
from clarus_async.credentials import Credentials
from clarus_async.retry.backoff import backoff

if TYPE_CHECKING:
    from clarus_async.auth.shared_tokens import RedisTokenStore

DEFAULT_LIFE: Final = 300.0
"""Seconds. Lifetimes are not documented (CLARUS_API.md §2); this is for a response that says nothing usable."""

# Seconds. With less than a request takes, every call would ask for a token of its own.
_SHORTEST_LIFE: Final = 1.0
# Seconds: a day. A token that is revoked is noticed by its 401, so a longer life would save nothing.
_LONGEST_LIFE: Final = 86_400.0
# The last tenth of a life, which leaves a refresh that fails time for others; of a long life a minute is enough.
_STALE_PART: Final = 0.1
_LONGEST_STALE: Final = 60.0
# Seconds. A lifetime that was rounded to whole seconds may end up to a second early.
_ROUNDING: Final = 1.0

ALWAYS_REFUSED: Final = (
    "every new token is refused, though the token endpoint goes on giving them: these credentials may not be for this"
    " tenant; each token may be ended by a login to the same account, or by another process where a client has one"
    " live token; or a gateway may drop the Authorization header"
)
"""The possible causes, where no token is accepted."""


def life(expires_in: float | None) -> float:
    """Return the lifetime to assume for a server's ``expires_in``, both in seconds."""
    if expires_in is None or math.isnan(expires_in) or expires_in <= 0:
        return DEFAULT_LIFE
    return max(_SHORTEST_LIFE, min(expires_in, _LONGEST_LIFE))


class TokenStores(Protocol):
    """Where the tokens of all credentials of one client are shared."""

    async def tokens(self, credentials: Credentials) -> RedisTokenStore | None:
        """Return the store of these credentials' token; ``None`` where it is not shared."""
        ...


class HeldToken:
    """A token and its life; ``since`` is when it was asked for, not when it came.

    Times are seconds on a monotonic clock.
    """

    __slots__ = ("expires_at", "fresh_until", "life", "since", "value")

    def __init__(self, value: str, since: float, life: float) -> None:
        self.value: str = value
        self.since: float = since
        self.life: float = life
        self.expires_at: float = since + life
        # When it becomes stale: before the last tenth of its life, at least a second and at most a minute; of a life
        # under two seconds, before the second half. It is still served, while one caller gets the next.
        stale = min(max(life * _STALE_PART, min(_ROUNDING, life / 2)), _LONGEST_STALE)
        self.fresh_until: float = self.expires_at - stale


# Where no token is accepted, tries become ever rarer. Where some are, two clients end each other's tokens, and take
# turns: up to a second costs the other one little, and is long enough for many requests.
_NOTHING_ACCEPTED: Final = RetryPolicy(base=0.05, cap=20.0)
_IN_TURNS: Final = RetryPolicy(base=0.05, cap=1.0)
# Seconds, longer than any wait between two tokens: refusals that are further apart have different causes.
_FORGOTTEN_AFTER: Final = 120.0
# A token endpoint may be slow: fewer refusals prove nothing, however far apart they are.
_SEVERAL: Final = 5


class TokenRefusals:
    """The tokens that the API refused one tenant in a row, and when to ask for the next.

    That a token dies early is normal: a login to the account's front end ends it (CLARUS_API.md §2), and where a client
    has one live token, another process does. The next is asked for at once, unless that one dies early, too. Times are
    seconds on the token's clock.
    """

    __slots__ = ("_count", "_early", "_last", "_not_before", "_since", "accepted")

    def __init__(self) -> None:
        self.accepted: bool = True
        """Whether a token was accepted since the last one that was refused."""
        self._count = self._early = 0
        self._since = self._not_before = 0.0
        self._last = -_FORGOTTEN_AFTER

    def refused(self, token: HeldToken, now: float, random: Callable[[], float]) -> None:
        """Note a token that was refused, and draw how long to wait for the next (``random`` draws from 0 to 1)."""
        anew = self.accepted or now - self._last > _FORGOTTEN_AFTER
        if anew:
            self._since, self._count = now, 0
        self._count += 1
        old = now - token.since >= min(_ROUNDING, token.life - _ROUNDING)
        self._early = 0 if anew and old else self._early + 1
        policy = _IN_TURNS if self.accepted else _NOTHING_ACCEPTED
        self._not_before = now + (backoff(policy, self._early - 1, random) if self._early > 1 else 0.0)
        self._last = now
        self.accepted = False

    def wait(self, now: float) -> float:
        """Return the seconds until the next token may be asked for."""
        return max(0.0, self._not_before - now)

    def hopeless(self, now: float, period: float) -> bool:
        """Whether several tokens, and every one for ``period`` seconds, were refused."""
        return not self.accepted and self._count >= _SEVERAL and now - self._since >= period
