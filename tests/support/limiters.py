"""Limiters that no quota of the simulator has, for tests of the rate limiter alone."""

from typing import Final

from clarus_async.simulator.limiters import FirstRequestWindow, Limiter, Verdict


class Unlimited(Limiter):
    """Admits everything."""

    __slots__ = ()
    _VERDICT: Final = Verdict(True, 10**9, 1.0, 0.0)

    def wait(self, _now: float, /) -> float:
        return 0.0

    def take(self, _now: float, /) -> Verdict:
        return self._VERDICT


class Bursty(Limiter):
    """Two windows from their first requests: what the first refuses, the second may admit.

    rate-limiter-flexible: ``lib/BurstyRateLimiter.js``. Both count what they refuse.
    """

    __slots__ = ("burst", "steady")

    def __init__(self, limit: int, window: float, burst: int, burst_window: float) -> None:
        self.steady: FirstRequestWindow = FirstRequestWindow(limit, window)
        self.burst: FirstRequestWindow = FirstRequestWindow(burst, burst_window)

    def wait(self, now: float, /) -> float:
        return min(self.steady.wait(now), self.burst.wait(now))

    def take(self, now: float, /) -> Verdict:
        verdict = self.steady.take(now)
        if verdict.admitted:
            return verdict
        burst = self.burst.take(now)
        return Verdict(
            burst.admitted, burst.remaining, min(verdict.reset, burst.reset), 0.0 if burst.remaining else self.wait(now)
        )
