"""The rate that processes share: what one of them learns of it, from the counts of all.

It is learned as :class:`~clarus_async.policy.pacing.Pace` learns one: a quick start, and a cubic around the limit from
the first refusal on. A rate belongs to an epoch; whoever meets a refusal first begins the next, for all.
"""

from __future__ import annotations

from typing import Final

from clarus_async.config import PacingPolicy
from clarus_async.extras.pace_lease import Lease, Leased
from clarus_async.policy.growth import LEAST_ADMITTED, LEAST_CUT, Cubic, QuickStart, back_in, cut
from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.told import PaceSource, Quota

_KNOCK: Final = 0.05
_LONGEST_KNOCK: Final = 3.0


class SharedRate:
    """What is known of a rate in one process.

    Args:
        policy: what the caller knows.
    """

    def __init__(self, policy: PacingPolicy) -> None:
        self._policy = policy
        self.source = PaceSource.NONE if policy.rate is None else PaceSource.GIVEN
        self.epoch = 0
        self.row = 0  # refusals, and nothing admitted in between
        self._curve: Cubic | None = None
        self._quick = QuickStart(policy.start)
        self._quota = Quota()
        self._cut: Leased | None = None
        self._told: tuple[float, float] | None = None
        self._retry_after = 0.0
        # Counts of all, which a cut rests on: they must be newer than what leads to it.
        self._counted = False
        self._second = self._answers = 0

    @property
    def believed(self) -> float:
        """Requests a second."""
        if self._policy.rate is not None:
            return self._policy.rate
        if self._curve is None:
            return self._quick.rate()
        return self._quota.allowed(self._curve.rate(), 0.0)

    @property
    def most(self) -> int:
        """How many may go within a second."""
        burst = 0 if self._policy.burst is None else self._policy.burst - 1
        if self._policy.rate is not None:
            return max(1, round(self._policy.rate)) + burst
        rate = self.believed
        return int(rate if self._curve is None else max(self._curve.peak, rate) + 1.0) + 1

    @property
    def undecided(self) -> bool:
        """Whether something was met that begins another epoch."""
        return self._cut is not None or self._told is not None

    def met(self, sent: Leased, retry_after: float | None) -> bool:
        """Note a refusal, and say whether it is the first of its epoch.

        What went out before the last cut teaches nothing new, nor does what was under way with what led to it.

        Args:
            sent: the request.
            retry_after: seconds, where the server said.
        """
        if retry_after is not None:
            self._retry_after = retry_after
        if sent.epoch != self.epoch or self._cut is not None:
            return False
        if self._policy.rate is None:
            self._cut, self._counted = sent, False
        return True

    def knock(self) -> float:
        """Seconds until somebody should try again, where nothing was admitted since the last refusal."""
        return min(_LONGEST_KNOCK, _KNOCK * 2.0 ** min(self.row, 10)) if self.row else 0.0

    def heed(self, told: Told, now: float) -> None:
        """Take what an answer tells.

        Args:
            told: of the rate limit.
            now: seconds on the event loop's clock.
        """
        heard = self._quota.hear(told, now, guess=self.source is PaceSource.NONE)
        if self._policy.rate is None and heard is not None:
            self._told = heard

    def take(self, lease: Lease) -> None:
        """Take the counts of all, and what another began.

        Args:
            lease: what was answered.
        """
        self._second, self._answers, self.row = lease.second, lease.answers, lease.row
        self._counted = True
        if lease.epoch != self.epoch:
            self.epoch = lease.epoch
            self._cut = self._told = None
            source, _, numbers = lease.curve.partition(" ")
            if self._policy.rate is None and source:
                self._curve = Cubic(*map(float, numbers.split()))
                self.source = PaceSource(source)
        (self._quick if self._curve is None else self._curve).use(lease.used)

    def next_curve(self) -> str:
        """Decide what follows, as text that :meth:`take` reads; empty where it goes on as it is."""
        if self._told is not None:
            rate, window = self._told
            return f"{PaceSource.TOLD.value} {rate!r} 1.0 {back_in(rate, 0.0, window)!r}"
        sent = self._cut
        if sent is None or not self._counted:
            return ""
        if self._curve is None:
            limit, part = max(LEAST_ADMITTED, float(self._second)), LEAST_CUT
            # It was counted, so it is tried again later than one that was approached.
            seconds = 2.0 * back_in(limit, self._retry_after, 0.0)
        else:
            rate = self._curve.peak if sent.rate is None else sent.rate
            limit, part = cut(rate, self._curve.peak, self._second, self._answers, None)
            seconds = back_in(limit, self._retry_after, 0.0)
        source = PaceSource.TOLD if self.source is PaceSource.TOLD else PaceSource.LEARNED
        return f"{source.value} {limit!r} {part!r} {seconds!r}"
