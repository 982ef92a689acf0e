"""Evenly spaced slots: a request every ``1 / rate`` seconds, and what was late is made up for, within bounds."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

_SECOND: Final = 1.0
# Seconds. Event loops are late. A burst that is given is meant, but for a timer.
_LATE: Final = 0.1
_TIMER: Final = 0.005


class Slots:
    """The slots of one tenant.

    Whoever only spaces requests loses a slot each time that the event loop is late. Whoever makes up for it may send
    more within a second than the server takes. So lost slots are made up for while no second holds more than its limit.

    Args:
        burst: how many may go at once, where that is given.
    """

    __slots__ = ("_burst", "_sent", "next")

    def __init__(self, burst: int | None) -> None:
        self._burst = burst
        self._sent: deque[float] = deque()  # within the last second
        self.next = 0.0

    def wait(self, now: float, limit: float, margin: float) -> float:
        """Seconds until a request may go.

        Args:
            now: seconds on a monotonic clock.
            limit: requests a second, at the most.
            margin: seconds by which a second is longer, so that it is over at the server, too.
        """
        if now < self.next:
            return self.next - now
        sent = self._sent
        span = _SECOND + margin
        while sent and sent[0] + span <= now:
            sent.popleft()
        most = math.ceil(limit) + (0 if self._burst is None else self._burst - 1)
        return sent[len(sent) - most] + span - now if len(sent) >= most else 0.0

    def take(self, now: float, rate: float, *, strict: bool) -> None:
        """Take a slot.

        Args:
            now: seconds on the same clock.
            rate: requests a second.
            strict: make up for nothing.
        """
        late = _TIMER if strict else _LATE
        if self._burst is not None:
            late = min(_TIMER, 1.0 / rate) + (self._burst - 1) / rate
        self.next = max(self.next, now - late) + 1.0 / rate
        self._sent.append(now)

    def give_back(self, at: float, rate: float) -> None:
        """Give a slot back in which nothing was sent.

        Args:
            at: when it was taken.
            rate: requests a second, at the time.
        """
        if at in self._sent:
            self._sent.remove(at)
            self.next -= 1.0 / rate

    def anew(self, now: float, rate: float) -> None:
        """Begin at another rate, as a request was refused: half of its slot is given back.

        Args:
            now: seconds on the same clock.
            rate: requests a second.
        """
        slot = 1.0 / rate
        self.next = max(now + slot / 2, min(self.next, now + slot) - slot / 2)
