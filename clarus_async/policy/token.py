"""When a token is fresh, stale or expired, and how often a 401 may ask for another."""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from typing import Final

import attrs

DEFAULT_LIFE: Final = 300.0
"""Seconds. Lifetimes are not documented (clarus-api.md §2); this is for a token whose answer says nothing usable."""

# Shorter than a request: every call would ask for a token of its own.
_SHORTEST_LIFE: Final = 1.0
_LONGEST_LIFE: Final = 86_400.0
_STALE_PART: Final = 0.1
_STALE_MOST: Final = 60.0

REFRESHES_A_MINUTE: Final = 3
"""How many new tokens a tenant's 401s may ask for: one that always says 401 burns nothing."""


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
        fresh_until: when it becomes stale; the last tenth of its life, at most a minute.
    """

    value: str
    since: float
    life: float
    fresh_until: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        stale = min(self.life * _STALE_PART, _STALE_MOST)
        object.__setattr__(self, "fresh_until", self.since + self.life - stale)

    def phase(self, now: float) -> Phase:
        """Say how far it is.

        Args:
            now: seconds on the same clock.
        """
        if now < self.fresh_until:
            return Phase.FRESH
        return Phase.STALE if now < self.since + self.life else Phase.EXPIRED


class RefreshLimit:
    """How many refreshes one tenant's 401s may ask for."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=REFRESHES_A_MINUTE)

    def wait(self, now: float) -> float:
        """Seconds until another refresh may be asked for; 0 where it may be now.

        Args:
            now: seconds on a monotonic clock.
        """
        if len(self._times) < REFRESHES_A_MINUTE:
            return 0.0
        return max(0.0, self._times[0] + 60.0 - now)

    def take(self, now: float) -> None:
        """Count a refresh.

        Args:
            now: seconds on the same clock.
        """
        self._times.append(now)
