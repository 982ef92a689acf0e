"""How many requests may be under way, where that is what is limited."""

from __future__ import annotations

import math
from typing import Final

_LONG_AGO: Final = -3600.0
# A cap is tried above when three times as many were admitted; after each refusal of such a try, eight seconds later.
_TIMES: Final = 3.0
_EACH_FAILURE: Final = 8.0
# Parts by which it is raised: a quarter, and less where that was refused once.
_MORE: Final = 4.0
_LESS: Final = 16.0


class Cap:
    """A cap on what is under way, which is tried above now and then. Times are seconds on a monotonic clock."""

    __slots__ = ("_at", "_count", "_failures", "_lasts", "_testing", "most")

    def __init__(self) -> None:
        self.most: float = math.inf
        """How many may be under way."""
        self._testing = False
        self._failures = 0
        self._at, self._lasts = _LONG_AGO, 0.0
        self._count = 0

    def keep(self, most: float, now: float) -> None:
        """Keep to a cap.

        Args:
            most: how many.
            now: what time it is.
        """
        self.most, self._at, self._count = most, now, 0
        self._lasts = _EACH_FAILURE * self._failures

    def refused(self) -> None:
        """Note that one was refused: if more than before were under way, that was too many."""
        if self._testing:
            self._failures, self._testing = self._failures + 1, False

    def admitted(self, sent_at: float, now: float, under_way: int) -> None:
        """Note that one was admitted, and try more where it is time.

        Args:
            sent_at: when it was sent.
            now: what time it is.
            under_way: how many are now.
        """
        if sent_at < self._at:
            return
        self._count += 1
        if self._count < _TIMES * self.most or now - self._at < self._lasts:
            return
        # Only where as many were used.
        if under_way >= self.most - 1.0:
            self.most += max(1.0, self.most // (_LESS if self._failures else _MORE))
            self._testing = True
        self._at, self._lasts, self._count = now, 0.0, 0
