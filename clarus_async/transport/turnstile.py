"""Where the callers of one tenant wait for its pace: first come first served, a future each and one timer."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from clarus_async.policy.pacing import Pace, Turn

_SHADE: Final = 0.001


class Turnstile:
    """The queue in front of a :class:`~clarus_async.policy.pacing.Pace`.

    Args:
        pace: the tenant's.
    """

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._waiting: deque[asyncio.Future[Turn | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._probe: asyncio.Future[Turn | None] | None = None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(not future.done() for future in self._waiting)

    async def enter(self, patience: float) -> Turn | None:
        """Wait for a turn; ``None`` where none came in time, or the client closed.

        A turn that is a probe must be followed by :meth:`answered`, :meth:`refused` or :meth:`lost`.

        Args:
            patience: seconds to wait at the most.
        """
        if self._closed:
            return None
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Turn | None] = loop.create_future()
        self._waiting.append(future)
        self._serve()
        timer = loop.call_later(patience, _give_up, future)
        try:
            return await future
        except asyncio.CancelledError:
            if self._probe is future:
                # The turn came and the cancellation with it: the next caller is the probe.
                self.lost()
            raise
        finally:
            timer.cancel()

    def refused(self, sent_at: float, retry_after: float | None) -> None:
        """Note a 429.

        Args:
            sent_at: when the refused request was sent, on the loop's clock.
            retry_after: seconds, where the server said.
        """
        self.pace.refused(sent_at, asyncio.get_running_loop().time(), retry_after)
        if not self.pace.probing:
            self._probe = None
        self._serve()

    def answered(self, sent_at: float) -> None:
        """Note an answer that is no 429.

        Args:
            sent_at: when the answered request was sent, on the loop's clock.
        """
        self.pace.answered(sent_at, asyncio.get_running_loop().time())
        self._serve()

    def lost(self) -> None:
        """Note that a probe brought no answer."""
        self.pace.lost()
        self._serve()

    def _serve(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting:
            future = self._waiting[0]
            if future.done():
                # It gave up, or was cancelled.
                self._waiting.popleft()
                continue
            turn = self.pace.ask(loop.time())
            if isinstance(turn, Turn):
                if turn is Turn.PROBE:
                    self._probe = future
                self._waiting.popleft()
                future.set_result(turn)
                continue
            if turn is not None:
                # A loop may run a timer a shade early, and its clock may stand still until the next.
                self._timer = loop.call_later(max(turn, _SHADE), self._serve)
            return

    def close(self) -> None:
        """Send everybody away who waits."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for future in self._waiting:
            _give_up(future)


def _give_up(future: asyncio.Future[Turn | None]) -> None:
    if not future.done():
        future.set_result(None)
