"""When a token is fresh, stale or expired, and when a 401 asks for the next."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Final

import attrs

from clarus_async.config import RetryPolicy
from clarus_async.retry.backoff import backoff

DEFAULT_LIFE: Final = 300.0
"""Seconds. Lifetimes are not documented (CLARUS_API.md §2); this is for a token whose answer says nothing usable."""

# Shorter than a request: every call would ask for a token of its own.
_SHORTEST_LIFE: Final = 1.0
_LONGEST_LIFE: Final = 86_400.0
_STALE_PART: Final = 0.1
_STALE_MOST: Final = 60.0

# What is issued in whole seconds may die up to a second before it says.
_ROUNDED: Final = 1.0

ALWAYS_REFUSED: Final = (
    "every new token is refused, though the token endpoint goes on giving them: these credentials may not be for this"
    " tenant; each token may be ended by a login to the same account, or by another process where a client has one"
    " live token; or a gateway may drop the Authorization header"
)
"""What it may be, where no token is accepted."""


class Phase(Enum):
    """How far a token is in its life."""

    FRESH = "fresh"
    STALE = "stale"  # served, while one caller gets the next
    EXPIRED = "expired"


def life(expires_in: float | None) -> float:
    """Turn a server's ``expires_in`` into seconds that can be relied on.

    Args:
        expires_in: as the token endpoint said, if it did.
    """
    if expires_in is None or math.isnan(expires_in) or expires_in <= 0:
        return DEFAULT_LIFE
    return max(_SHORTEST_LIFE, min(expires_in, _LONGEST_LIFE))


# No repr: it holds what must not show.
@attrs.frozen(eq=False, repr=False)
class HeldToken:
    """A token and its life.

    Args:
        value: the bearer token.
        since: when it was asked for, not when it came; seconds on a monotonic clock.
        life: seconds.
        fresh_until: when it becomes stale: the last tenth of its life, at least a second and at most a minute; of a
            life under two seconds, the second half.
    """

    value: str
    since: float
    life: float
    fresh_until: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        stale = min(max(self.life * _STALE_PART, min(_ROUNDED, self.life / 2)), _STALE_MOST)
        object.__setattr__(self, "fresh_until", self.since + self.life - stale)

    def phase(self, now: float) -> Phase:
        """Say how far it is.

        Args:
            now: seconds on the same clock.
        """
        if now < self.fresh_until:
            return Phase.FRESH
        return Phase.STALE if now < self.since + self.life else Phase.EXPIRED


# Where nothing is accepted, trying goes on ever more rarely. Where something is, two that end each other's tokens take
# turns: a turn of up to a second costs the other one little, and is long enough for many requests.
_NOTHING_ACCEPTED: Final = RetryPolicy(base=0.05, cap=20.0)
_IN_TURNS: Final = RetryPolicy(base=0.05, cap=1.0)
# Longer than any wait between two tokens: what was refused before that is another story.
_FORGOTTEN: Final = 120.0
# A token endpoint may be slow: a few refusals are no verdict, however far apart they are.
_SEVERAL: Final = 5


class TokenRefusals:
    """The tokens that the API refused one tenant, one after another, and when to ask for the next.

    That a token dies early is normal: a login to the account's front end ends it (CLARUS_API.md §2), and where a client
    has one live token, so does another process. The next is asked for at once, unless that one dies early, too.
    """

    __slots__ = ("_count", "_early", "_last", "_not_before", "_since", "accepted")

    def __init__(self) -> None:
        self.accepted: bool = True
        """Whether a token was accepted since the last one that was refused."""
        self._count = self._early = 0
        self._since = self._not_before = 0.0
        self._last = -_FORGOTTEN

    def refused(self, token: HeldToken, now: float, random: Callable[[], float]) -> None:
        """Note a token that was refused.

        Args:
            token: the one that was held.
            now: seconds on the token's clock.
            random: draws from 0 to 1.
        """
        anew = self.accepted or now - self._last > _FORGOTTEN
        if anew:
            self._since, self._count = now, 0
        self._count += 1
        old = now - token.since >= min(_ROUNDED, token.life - _ROUNDED)
        self._early = 0 if anew and old else self._early + 1
        policy = _IN_TURNS if self.accepted else _NOTHING_ACCEPTED
        self._not_before = now + (backoff(policy, self._early - 1, random) if self._early > 1 else 0.0)
        self._last = now
        self.accepted = False

    def wait(self, now: float) -> float:
        """Return the seconds until the next token is to be asked for.

        Args:
            now: seconds on the same clock.
        """
        return max(0.0, self._not_before - now)

    def hopeless(self, now: float, patience: float) -> bool:
        """Whether every token has been refused for long, and there were several.

        Args:
            now: seconds on the same clock.
            patience: how long.
        """
        return not self.accepted and self._count >= _SEVERAL and now - self._since >= patience
