"""Rate limiters as their sources have them. Pure: time is an argument, in seconds; a clock may begin anywhere.

Each one counts the requests of one key. Unless its docstring says otherwise, a refused request counts nowhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import attrs

# Requests. Who waits exactly as long as it was told must not fail by a rounding error.
_TOLERANCE: Final = 1e-6


class Verdict(NamedTuple):
    """What a limiter says of one request. Times are seconds from now."""

    admitted: bool
    remaining: int
    """Requests that would still be admitted now."""
    reset: float
    """Windows: until the window ends; a log: until the oldest counted request leaves; buckets: until it is full."""
    retry_after: float
    """Until one more would be admitted, if nothing else arrives; 0 if it would be now."""
    delay: float = 0.0
    """For which the limiter itself holds a request that it admitted."""


class Limiter(ABC):
    """Counts the requests of one key."""

    __slots__ = ()

    @abstractmethod
    def wait(self, now: float, /) -> float:
        """Return the seconds until a request would be admitted, if nothing else arrives; counts nothing."""

    @abstractmethod
    def take(self, now: float, /) -> Verdict:
        """Count a request that arrives at ``now``."""

    def leave(self, _now: float, /) -> None:  # noqa: B027 - only what counts requests under way has to know
        """Note that a request that was admitted has been answered."""


@attrs.define(eq=False)
class FixedWindow(Limiter):
    """``limit`` requests between two multiples of ``window`` on the clock.

    rack-attack: ``lib/rack/attack/cache.rb``, ``key_and_expiry`` (windows are aligned to the epoch).
    """

    limit: int
    window: float
    _index: int = attrs.field(default=-1, init=False)
    _used: int = attrs.field(default=0, init=False)

    def wait(self, now: float, /) -> float:
        index = math.floor(now / self.window)
        return 0.0 if index != self._index or self._used < self.limit else (index + 1) * self.window - now

    def take(self, now: float, /) -> Verdict:
        index = math.floor(now / self.window)
        if index != self._index:
            self._index, self._used = index, 0
        admitted = self._used < self.limit
        self._used += admitted
        remaining = max(0, self.limit - self._used)
        reset = (index + 1) * self.window - now
        return Verdict(admitted, remaining, reset, 0.0 if remaining else reset)


@attrs.define(eq=False)
class FirstRequestWindow(Limiter):
    """``limit`` requests in ``window`` seconds from the first one; the next one after that begins a new window.

    express-rate-limit: ``source/memory-store.ts``; rate-limiter-flexible: ``lib/RateLimiterMemory.js``; limits:
    ``limits/storage/memory.py``, ``incr``; and Redis INCR with EXPIRE.

    With ``block``, a request over the limit closes the key for so many seconds, whatever is sent meanwhile
    (rate-limiter-flexible: ``lib/RateLimiterMemory.js``, ``blockDuration``).
    """

    limit: int
    window: float
    block: float = 0.0
    _ends: float = attrs.field(default=-math.inf, init=False)
    _used: int = attrs.field(default=0, init=False)
    _blocked: bool = attrs.field(default=False, init=False)

    def wait(self, now: float, /) -> float:
        return self._ends - now if now < self._ends and (self._blocked or self._used >= self.limit) else 0.0

    def take(self, now: float, /) -> Verdict:
        if now >= self._ends:
            self._ends, self._used, self._blocked = now + self.window, 0, False
        admitted = not self._blocked and self._used < self.limit
        if admitted:
            self._used += 1
        elif self.block and not self._blocked:
            self._blocked, self._ends = True, now + self.block
        remaining = 0 if self._blocked else max(0, self.limit - self._used)
        reset = self._ends - now
        return Verdict(admitted, remaining, reset, 0.0 if remaining else reset)


@attrs.define(eq=False)
class SlidingLog(Limiter):
    """``limit`` requests in any ``window`` seconds.

    limits: ``limits/storage/memory.py``, ``acquire_entry`` (its moving window).
    """

    limit: int
    window: float
    _at: deque[float] = attrs.field(factory=deque, init=False)

    def wait(self, now: float, /) -> float:
        at = self._at
        return max(0.0, at[-self.limit] + self.window - now) if len(at) >= self.limit else 0.0

    def take(self, now: float, /) -> Verdict:
        at, window = self._at, self.window
        while at and at[0] + window <= now:
            at.popleft()
        admitted = len(at) < self.limit
        if admitted:
            at.append(now)
        remaining = max(0, self.limit - len(at))
        return Verdict(admitted, remaining, at[0] + window - now, 0.0 if remaining else self.wait(now))


@attrs.define(eq=False)
class SlidingCounter(Limiter):
    """A request is admitted while fewer than ``limit`` count: this window's, and the last one's as if evenly spread.

    limits: ``limits/storage/memory.py``, ``acquire_sliding_window_entry``; Cloudflare: "How we built rate limiting
    capable of scaling to millions of domains". Windows are on multiples of ``window``.
    """

    limit: int
    window: float
    _index: int = attrs.field(default=-1, init=False)
    _used: int = attrs.field(default=0, init=False)
    _last: int = attrs.field(default=0, init=False)

    def wait(self, now: float, /) -> float:
        self._turn(now)
        window, limit = self.window, self.limit - _TOLERANCE
        begin = self._index * window
        if self._used + self._last * (1.0 - (now - begin) / window) < limit:
            return 0.0
        if self._used < limit:
            # Until enough of the last window is over.
            return begin + window * (1.0 - (limit - self._used) / self._last) - now
        # Until enough of this one is over, as the last.
        return begin + window * (2.0 - limit / self._used) - now

    def take(self, now: float, /) -> Verdict:
        self._turn(now)
        elapsed = now / self.window - self._index
        estimate = self._used + self._last * (1.0 - elapsed)
        admitted = estimate < self.limit - _TOLERANCE
        if admitted:
            self._used += 1
            estimate += 1.0
        remaining = max(0, math.ceil(self.limit - _TOLERANCE - estimate))
        return Verdict(admitted, remaining, (1.0 - elapsed) * self.window, 0.0 if remaining else self.wait(now))

    def _turn(self, now: float) -> None:
        index = math.floor(now / self.window)
        if index != self._index:
            self._last = self._used if index == self._index + 1 else 0
            self._used = 0
            self._index = index


@attrs.define(eq=False)
class HAProxyRate(Limiter):
    """At most ``limit`` by a counter over ``window`` seconds; **a refused request counts**.

    HAProxy: ``include/haproxy/freq_ctr.h``, ``update_freq_ctr_period``, and ``src/freq_ctr.c``,
    ``read_freq_ctr_period``, for ``http-request deny if { sc_http_req_rate(0) gt limit }`` after
    ``track-sc0`` with ``http_req_rate(window)``. Whole milliseconds; a period begins with the first request.
    """

    limit: int
    window: float
    _begin: int = attrs.field(default=-1, init=False)
    _used: int = attrs.field(default=0, init=False)
    _last: int = attrs.field(default=0, init=False)

    def wait(self, now: float, /) -> float:
        ms, period = int(now * 1000), round(self.window * 1000)
        begin, used, last = self._begin, self._used, self._last
        if begin < 0:
            return 0.0
        turns = (ms - begin) // period
        if turns:
            begin, used, last = begin + turns * period, 0, used if turns == 1 else 0
        # Admitted if used + 1 + floor(last * left / period) <= limit, where left = begin + period - ms.
        while True:
            room = self.limit - 1 - used
            if room >= 0:
                left = period if not last else min(period, -(-(room + 1) * period // last) - 1)
                return max(0.0, (begin + period - left) / 1000 - now)
            begin, used, last = begin + period, 0, used

    def take(self, now: float, /) -> Verdict:
        ms, period = int(now * 1000), round(self.window * 1000)
        if self._begin < 0 or ms - self._begin >= 2 * period:
            self._begin, self._last, self._used = ms & ~1, 0, 0
        elif ms - self._begin >= period:
            self._begin = self._begin + period & ~1
            self._last, self._used = self._used, 0
        self._used += 1
        left = self._begin + period - ms
        count = self._used + self._last * left // period
        remaining = max(0, self.limit - count)
        return Verdict(count <= self.limit, remaining, left / 1000, 0.0 if remaining else self.wait(now))


@attrs.define(eq=False)
class TokenBucket(Limiter):
    """Up to ``depth`` requests at once, ``rate`` a second in the long run. It starts full.

    AWS: "Throttle requests to your REST APIs" (API Gateway), and Stripe's and others' token buckets.
    """

    rate: float
    depth: float
    _tokens: float = attrs.field(default=0.0, init=False)
    _at: float = attrs.field(default=-math.inf, init=False)

    def wait(self, now: float, /) -> float:
        tokens = min(self.depth, self._tokens + (now - self._at) * self.rate)
        return 0.0 if tokens >= 1 - _TOLERANCE else (1 - tokens) / self.rate

    def take(self, now: float, /) -> Verdict:
        tokens = min(self.depth, self._tokens + (now - self._at) * self.rate)
        self._at = now
        admitted = tokens >= 1 - _TOLERANCE
        if admitted:
            tokens = max(0.0, tokens - 1)
        self._tokens = tokens
        wanting = 1 - tokens
        return Verdict(
            admitted,
            int(tokens + _TOLERANCE),
            (self.depth - tokens) / self.rate,
            0.0 if wanting < _TOLERANCE else wanting / self.rate,
        )


@attrs.define(eq=False)
class Gcra(Limiter):
    """The generic cell rate algorithm: ``depth`` requests at once, one each ``1 / rate`` seconds in the long run.

    throttled: ``rate.go``, ``RateLimitCtx``; redis-cell: ``src/cell/mod.rs``, where ``depth`` is ``max_burst + 1``.
    """

    rate: float
    depth: int
    _arrival: float = attrs.field(default=-math.inf, init=False)  # theoretical arrival time of the next one

    def wait(self, now: float, /) -> float:
        early = max(now, self._arrival) - now - (self.depth - 1) / self.rate
        return early if early > _TOLERANCE / self.rate else 0.0

    def take(self, now: float, /) -> Verdict:
        spacing = 1.0 / self.rate
        tolerance = self.depth * spacing
        arrival = max(now, self._arrival) + spacing
        admitted = arrival - tolerance <= now + _TOLERANCE * spacing
        if admitted:
            self._arrival = arrival
        ahead = max(0.0, self._arrival - now)
        remaining = max(0, int((tolerance - ahead) * self.rate + _TOLERANCE))
        return Verdict(admitted, remaining, ahead, 0.0 if remaining else self.wait(now))


@attrs.define(eq=False)
class NginxLimitReq(Limiter):
    """A leaky bucket in whole milliseconds and thousandths of a request.

    nginx: ``src/http/modules/ngx_http_limit_req_module.c``, ``ngx_http_limit_req_lookup`` and ``_account``.
    ``delay`` is how many of the ``burst`` go on at once (``delay=n``); ``None``: all (``nodelay``); 0: none, each
    waits for its slot (nginx's default).
    """

    rate: float
    burst: int
    delay: int | None = None
    _excess: int = attrs.field(default=0, init=False)
    _last: int = attrs.field(default=-1, init=False)

    def wait(self, now: float, /) -> float:
        over = self._excess + 1000 - self.burst * 1000
        if self._last < 0 or over <= 0:
            return 0.0
        # The first millisecond at which enough has flowed out.
        flowed = -(-over * 1000 // self._thousandths())
        return max(0.0, (self._last + flowed) / 1000 - now)

    def take(self, now: float, /) -> Verdict:
        ms, rate = int(now * 1000), self._thousandths()
        excess = 0
        if self._last >= 0:
            excess = max(0, self._excess - rate * (ms - self._last) // 1000 + 1000)
        admitted = excess <= self.burst * 1000
        delay = 0.0
        if admitted:
            self._excess, self._last = excess, ms
            if self.delay is not None and excess > self.delay * 1000:
                delay = (excess - self.delay * 1000) * 1000 // rate / 1000
        remaining = max(0, self.burst - -(-self._excess // 1000))
        return Verdict(admitted, remaining, self._excess / rate, 0.0 if remaining else self.wait(now), delay)

    def _thousandths(self) -> int:
        # Cut off, as nginx does with "r/m", but not for a rounding error.
        return int(self.rate * 1000 + 1e-6)


@attrs.define(eq=False)
class Connections(Limiter):
    """``limit`` requests under way at a time.

    nginx: ``src/http/modules/ngx_http_limit_conn_module.c``.
    """

    limit: int
    _under_way: int = attrs.field(default=0, init=False)

    def wait(self, _now: float, /) -> float:
        # Nothing tells when another will have been answered.
        return 0.0 if self._under_way < self.limit else 1.0

    def take(self, now: float, /) -> Verdict:
        admitted = self._under_way < self.limit
        self._under_way += admitted
        return Verdict(admitted, self.limit - self._under_way, 0.0, self.wait(now))

    def leave(self, _now: float, /) -> None:
        self._under_way -= 1


@attrs.define(eq=False)
class AllOf(Limiter):
    """Several limiters that all have to admit a request; one that is refused counts in none of them."""

    limiters: Sequence[Limiter]

    def wait(self, now: float, /) -> float:
        return max(limiter.wait(now) for limiter in self.limiters)

    def take(self, now: float, /) -> Verdict:
        if (wait := self.wait(now)) > 0:
            return Verdict(False, 0, wait, wait)
        verdicts = [limiter.take(now) for limiter in self.limiters]
        tightest = min(verdicts, key=lambda verdict: verdict.remaining)
        return tightest._replace(
            retry_after=max(verdict.retry_after for verdict in verdicts),
            delay=max(verdict.delay for verdict in verdicts),
        )

    def leave(self, now: float, /) -> None:
        for limiter in self.limiters:
            limiter.leave(now)
