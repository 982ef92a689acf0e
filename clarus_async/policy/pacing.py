"""When a tenant may send: a 429 pauses it, one probe reopens it.

Theory: the vendor throttles an account and documents neither figure nor header (clarus-api.md §2). Whoever sends on
into a limit turns each call into a refusal. So the first 429 closes the tenant until Retry-After, or for a backoff
where there is none. Then one request goes alone: refused again, the pause grows; answered, all may go. Requests that
were under way when the pause began say nothing new, except for a Retry-After that is later still.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

_BASE: Final = 0.5
_CAP: Final = 30.0
_LONGEST: Final = 3600.0
# A request sent as the pause begins is told from the probe after it by its time.
_TICK: Final = 0.001


class Turn(Enum):
    """What a caller is told that wants to send."""

    GO = "go"
    PROBE = "probe"


class Pace:
    """One tenant's pace.

    Args:
        random: draws from 0 to 1.
    """

    __slots__ = ("_floor", "_paused_at", "_probing", "_random", "_refusals", "paused_until")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self.paused_until: float | None = None
        self._floor = 0.0
        self._paused_at = 0.0
        self._refusals = 0
        self._probing = False

    @property
    def probing(self) -> bool:
        """Whether a probe is out."""
        return self._probing

    def ask(self, now: float) -> Turn | float | None:
        """Say whether a request may go, as what, or what to wait for.

        Args:
            now: seconds on a monotonic clock.

        Returns:
            ``GO``; ``PROBE``, which must be followed by :meth:`answered`, :meth:`refused` or :meth:`lost`; seconds
            to wait; or ``None``: a probe is under way, wait for what it brings.
        """
        if self.paused_until is None:
            return Turn.GO
        if now < self.paused_until:
            return self.paused_until - now
        if self._probing:
            return None
        self._probing = True
        return Turn.PROBE

    def wait(self, now: float) -> float:
        """Seconds for which nothing may be sent, as far as is known.

        Args:
            now: seconds on the same clock.
        """
        return 0.0 if self.paused_until is None else max(0.0, self.paused_until - now)

    def refused(self, sent_at: float, now: float, retry_after: float | None) -> None:
        """Note a 429.

        Args:
            sent_at: when the refused request was sent.
            now: when its answer came; seconds on the same clock.
            retry_after: seconds, where the server said; kept up to an hour.
        """
        if retry_after is not None:
            self._floor = max(self._floor, now + min(retry_after, _LONGEST))
        if self.paused_until is None or sent_at > self._paused_at:
            self._refusals += 1
            self._paused_at = now
            self._probing = False
            # Half fixed, half jitter: never at once, and not all processes together. What the server says is enough
            # for once; one that says 0 for ever must not be flooded.
            pause = min(_CAP, _BASE * 2.0 ** min(self._refusals - 1, 30)) * (0.5 + self._random() / 2)
            self.paused_until = now + (_TICK if retry_after is not None and self._refusals == 1 else pause)
        self.paused_until = max(self.paused_until, self._floor)

    def answered(self, sent_at: float, now: float) -> None:
        """Note an answer that is no 429: the tenant is open, unless the request was under way before the pause.

        Args:
            sent_at: when the answered request was sent.
            now: when its answer came; seconds on the same clock.
        """
        if self.paused_until is not None and sent_at > self._paused_at:
            # A later Retry-After may have come while the probe was out.
            self.paused_until = self._floor if self._floor > now else None
            self._probing = False
            self._refusals = 0

    def lost(self) -> None:
        """Give a probe back that brought no answer: the next caller is the probe."""
        self._probing = False
