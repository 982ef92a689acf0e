"""The simulator's two clocks, which never disagree: the event loop's seconds and the wall time they stand for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import formatdate


class Clock:
    """Wall time at ``start``, plus what the loop's clock has moved since: right under virtual time too."""

    def __init__(self) -> None:
        self.start(lambda: 0.0)

    def start(self, time: Callable[[], float]) -> None:
        """Follow ``time``, an event loop's clock in seconds, from now on."""
        self._time = time
        self._origin = time()
        self._wall = datetime.now(UTC)

    def now(self) -> float:
        """Seconds on the loop's clock."""
        return self._time()

    def wall(self, at: float) -> datetime:
        """Return the wall time of ``at``, seconds on the loop's clock."""
        return self._wall + timedelta(seconds=at - self._origin)

    def http_date(self, at: float) -> str:
        """Return the wall time of ``at`` as a ``Date`` header (RFC 9110, whole seconds, rounded down)."""
        return formatdate(int(self.wall(at).timestamp()), usegmt=True)
