"""What time it is on the server's clock, as far as an answer's Date tells. No step of a local clock moves that."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from clarus_async.wire.headers import http_date

_CUT = timedelta(seconds=1)  # a Date has whole seconds (RFC 9110, section 5.6.7)
# A Date that is further than this from our clock is no clock that records are dated by.
_APART = timedelta(days=1)


class Dated(NamedTuple):
    """An answer's Date, and the moments between which the server wrote it.

    Args:
        header: as it came.
        sent: when the request went out, in seconds on a monotonic clock.
        came: when the answer came, in seconds on the same clock.
        wall: when it came on our own wall clock (UTC), which may be set.
    """

    header: str
    sent: float
    came: float
    wall: datetime

    @property
    def _date(self) -> datetime | None:
        date = http_date(self.header)
        return None if date is None or abs(date - self.wall) > _APART else date

    def earliest(self, at: float) -> datetime | None:
        """Return the earliest that a moment may have been on the server's clock; ``None`` where the Date is none.

        Args:
            at: seconds on the monotonic clock.
        """
        date = self._date
        return None if date is None else date - timedelta(seconds=self.came - at)

    def latest(self, at: float) -> datetime | None:
        """Return the latest that a moment may have been on the server's clock; ``None`` where the Date is none.

        Args:
            at: seconds on the monotonic clock.
        """
        date = self._date
        return None if date is None else date + _CUT + timedelta(seconds=at - self.sent)

    def by_our_clocks(self, at: float | None, wall: datetime) -> datetime | None:
        """Return when a moment before the Date was on the server's clock, by whichever of ours says longer ago.

        Args:
            at: seconds on the monotonic clock, which stands still while a machine sleeps; ``None`` where it was
                another process's.
            wall: on our own wall clock (UTC), which may be set.
        """
        date = self._date
        ago = (self.wall - wall).total_seconds()
        if at is not None:
            ago = max(ago, self.came - at)
        return None if date is None else date - timedelta(seconds=max(0.0, ago))
