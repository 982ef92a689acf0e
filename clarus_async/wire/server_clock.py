"""The time on the server's clock, as far as the Date of a response tells; steps of the local clock don't matter."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from clarus_async.wire.headers import http_date

_CUT = timedelta(seconds=1)  # a Date has whole seconds (RFC 9110, section 5.6.7)
# A Date that is further than this from our clock is not the clock that the server's records are dated by.
_APART = timedelta(days=1)


class Dated(NamedTuple):
    """The Date of a response, and the moments between which the server wrote it."""

    header: str  # its text
    sent: float  # when the request was sent, in seconds on a monotonic clock
    came: float  # when the response was received, in seconds on the same clock
    wall: datetime  # when it was received on our wall clock (UTC), which may be set at any time

    @property
    def _date(self) -> datetime | None:
        date = http_date(self.header)
        return None if date is None or abs(date - self.wall) > _APART else date

    def earliest(self, at: float) -> datetime | None:
        """Return the earliest time that the server's clock may have shown at a moment of the monotonic clock.

        ``None`` if the Date is not usable.
        """
        date = self._date
        return None if date is None else date - timedelta(seconds=self.came - at)

    def latest(self, at: float) -> datetime | None:
        """Return the latest time that the server's clock may have shown at a moment; see ``earliest``."""
        date = self._date
        return None if date is None else date + _CUT + timedelta(seconds=at - self.sent)

    def by_our_clocks(self, at: float | None, wall: datetime) -> datetime | None:
        """Return the time on the server's clock at an earlier moment, by the local clock that says it is longer ago.

        Args:
            at: the moment on the monotonic clock, which stops while a machine sleeps; ``None`` if it is that of another
                process.
            wall: the moment on our wall clock (UTC).
        """
        date = self._date
        ago = (self.wall - wall).total_seconds()
        if at is not None:
            ago = max(ago, self.came - at)
        return None if date is None else date - timedelta(seconds=max(0.0, ago))
