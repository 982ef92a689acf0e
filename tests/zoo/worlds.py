"""Worlds to prove a pacer on: one limiter, one network, one job, all drawn from a kind and a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final

from clarus_async.simulator.limiters import (
    AllOf,
    Connections,
    FirstRequestWindow,
    FixedWindow,
    Gcra,
    HAProxyRate,
    Limiter,
    NginxLimitReq,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
    Verdict,
)
from clarus_async.simulator.quota import Quota, QuotaHeaders, headers
from tests.support.limiters import Bursty, Unlimited

# What 64 in flight can carry, with room for jitter.
_CARRIED: Final = 45
_SLOWEST, _FASTEST = 5.0, 500.0
_STEADY: Final = 300.0
# Some second in 2027: no window of any kind begins with it.
_UNIX: Final = 1_800_000_000.0

Teller = Callable[[Verdict, float], dict[str, str]]


@dataclass(slots=True)
class World:
    """One limiter, one network and one job. Times are seconds, since the start of the job unless said otherwise."""

    kind: str  # what it is an instance of
    seed: int  # from which it was drawn
    about: str  # its parameters, for a person
    limiter: Limiter  # who admits; its clock is a Unix time
    quotas: list[tuple[float, float]]  # from when on how many a second the limiter admits in the long run
    rtt: float  # of a round trip, half of it each way
    jitter: float  # part of that by which each way differs at the most
    jobs: int  # creates
    start: float  # the client's clock when the job begins
    unix: float  # the server's
    tell: Teller | None = None  # what headers an answer has
    # How long the server works on a request that was admitted, or ``None``: no time
    service: Callable[[], float] | None = None
    serial: float = 0.0  # for which the server works on one request after the other
    change: tuple[float, Callable[[], None]] | None = None  # when the quota changes, and how
    others: Iterator[float] | None = None  # when others' requests arrive, or ``None``
    stray: float | None = None  # when one request is refused that no limiter refuses
    rate: float | None = None  # what the client is given
    burst: int | None = None  # what it is given beside
    draw: random.Random = field(default_factory=random.Random)

    def admissible(self, seconds: float) -> float:
        """Return how many requests the quota holds in so many seconds from the start."""
        total = 0.0
        for index, (at, rate) in enumerate(self.quotas):
            end = self.quotas[index + 1][0] if index + 1 < len(self.quotas) else math.inf
            total += rate * max(0.0, min(seconds, end) - at)
        return total


def plain(
    limiter: Limiter, rtt: float, seed: int, *, quota: Quota | None = None, unix: float = _UNIX + 0.25, **more: Any
) -> World:
    """Make a world by hand, for clients that bring their own jobs."""
    tell = None if quota is None else _teller(quota)
    given: dict[str, Any] = {"quotas": [(0.0, math.inf)], "jitter": 0.05, "jobs": 0} | more
    return World(
        kind="plain", seed=seed, about="", limiter=limiter, rtt=rtt, start=0.0, unix=unix, tell=tell,
        draw=random.Random(seed), **given,
    )  # fmt: skip


class _Draw(random.Random):
    def log(self, low: float, high: float) -> float:
        return math.exp(self.uniform(math.log(low), math.log(high)))


def world(kind: str, seed: int) -> World:
    """Draw a world; the same one for the same kind and seed."""
    draw = _Draw(f"{kind}/{seed}")
    return KINDS[kind](draw, kind, seed)


def _network(draw: _Draw) -> tuple[float, float, float]:
    """Quota in requests a second, round trip, jitter."""
    while True:
        quota, rtt = draw.log(_SLOWEST, _FASTEST), draw.log(0.002, 0.2)
        if quota * rtt <= _CARRIED:
            return quota, rtt, _jitter(draw)


def _jitter(draw: _Draw) -> float:
    return 0.05 if draw.random() < 0.7 else draw.uniform(0.0, 0.25)


def _world(
    draw: _Draw,
    kind: str,
    seed: int,
    about: str,
    limiter: Limiter,
    quota: float,
    rtt: float,
    jitter: float,
    *,
    seconds: float | None = None,
    start: float | None = None,
    **more: Any,
) -> World:
    seconds = draw.uniform(20.0, 40.0) if seconds is None else seconds
    if start is None:
        start = draw.choice([0.0, 0.0, 60.0, 12345.6, 1e5, 1e9, 1.7e9])
        start += draw.choice([0.0, draw.random() * 60.0])
    return World(
        kind,
        seed,
        about,
        limiter,
        more.pop("quotas", [(0.0, quota)]),
        rtt,
        jitter,
        more.pop("jobs", max(30, round(quota * seconds))),
        start,
        _UNIX + draw.random() * 3600.0,
        draw=random.Random(draw.random()),
        **more,
    )


# What answers tell.


def _teller(quota: Quota, late: float = 0.0) -> Teller:
    """Return what tells a quota; the Date is late by so many seconds, and by the fraction that it leaves out."""
    # Only what is told as a moment is read against it.
    dated = quota.headers in {"x-ratelimit", "x-ratelimit-ms"}

    def tell(verdict: Verdict, unix: float) -> dict[str, str]:
        told = headers(quota, verdict, unix)
        if dated:
            told["Date"] = _http_date(math.floor(unix - late))
        return told

    return tell


def _retry_after_date(verdict: Verdict, unix: float) -> dict[str, str]:
    if verdict.admitted:
        return {}
    at = math.ceil(unix + max(verdict.retry_after, 1e-3))
    return {"Date": _http_date(math.floor(unix)), "Retry-After": _http_date(at)}


@lru_cache(maxsize=16)
def _http_date(unix: int) -> str:
    return formatdate(unix, usegmt=True)


# Kinds.


def _nginx(low: float, high: float, *, delay: bool = False) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        quota, rtt, jitter = _network(draw)
        rate = max(5, round(quota))
        burst = max(1, round(rate * draw.log(low, high)))
        held = None
        if delay:
            held = 0 if draw.random() < 0.6 else draw.randint(0, burst)
        about = f"nginx rate={rate}r/s burst={burst} {'nodelay' if held is None else f'delay={held}'}"
        return _world(draw, kind, seed, about, NginxLimitReq(rate, burst, held), rate, rtt, jitter)

    return make


def _nginx_burst0(*, swapped: bool) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        while True:
            quota, rtt, jitter = _network(draw)
            rate = max(5, round(quota))
            # Requests that jitter brings together.
            if (rate * rtt * jitter < 0.2) is not swapped:
                break
        about = f"nginx rate={rate}r/s burst=0"
        return _world(draw, kind, seed, about, NginxLimitReq(rate, 0), rate, rtt, jitter)

    return make


def _connections(*, far: bool) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        while True:
            limit, service = round(draw.log(4, 32)), draw.log(0.01, 0.2)
            # Under way for the client is not all under way for the server: near, the difference is less than a tenth.
            rtt = min(0.2, service * draw.log(0.1, 2.0)) if far else max(0.001, service * draw.uniform(0.02, 0.1))
            quota = limit / (service + rtt) if far else limit / service
            if quota <= _FASTEST:
                break
        spread = draw.uniform(0.02, 0.25)
        about = f"limit_conn {limit}, service {service * 1000:.0f} ms ± {spread:.0%}"
        serve = random.Random(draw.random())
        return _world(
            draw, kind, seed, about, Connections(limit), quota, rtt, _jitter(draw),
            service=lambda: service * (1 + spread * (2 * serve.random() - 1)),
        )  # fmt: skip

    return make


def _bucket_of(draw: _Draw, quota: float, low: float = 0.03, high: float = 5.0) -> tuple[str, TokenBucket | Gcra]:
    depth = max(1, round(quota * draw.log(low, high)))
    if draw.random() < 0.5:
        return f"bucket {quota:.1f}/s depth {depth}", TokenBucket(quota, depth)
    return f"GCRA {quota:.1f}/s depth {depth}", Gcra(quota, depth)


def _bucket(*, retry_after: bool) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        quota, rtt, jitter = _network(draw)
        about, limiter = _bucket_of(draw, quota)
        tell = _told_when(draw) if retry_after else None
        return _world(draw, kind, seed, about, limiter, quota, rtt, jitter, tell=tell)

    return make


def _told_when(draw: _Draw) -> Teller:
    return _retry_after_date if draw.random() < 0.25 else _teller(Quota(limit=1, headers="retry-after"))


def _window_of(draw: _Draw, low: float, high: float) -> float:
    window = draw.log(low, high)
    return float(round(window)) if draw.random() < 0.8 else window


def _windowed(
    limiter: Callable[[int, float], Limiter], windows: Callable[[_Draw], float], *, retry_after: bool = False
) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        quota, rtt, jitter = _network(draw)
        window = windows(draw)
        limit = max(1, round(quota * window))
        about = f"{limiter.__name__} {limit} in {window:.3g} s"
        tell = _told_when(draw) if retry_after else None
        return _world(draw, kind, seed, about, limiter(limit, window), limit / window, rtt, jitter, tell=tell)

    return make


def _two_levels(draw: _Draw, kind: str, seed: int) -> World:
    quota, rtt, jitter = _network(draw)
    window = draw.choice([10.0, 30.0, 60.0])
    short = max(2, round(quota))
    long = max(2, round(short * window * draw.uniform(0.1, 0.5)))
    kind_of = SlidingLog if draw.choice([False, True]) else FixedWindow
    limiter = AllOf([kind_of(short, 1.0), kind_of(long, window)])
    about = f"{kind_of.__name__} {short} in 1 s and {long} in {window:.0f} s"
    return _world(draw, kind, seed, about, limiter, min(short, long / window), rtt, jitter)


def _block(*, long: bool) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        quota, rtt, jitter = _network(draw)
        window = float(round(draw.log(2, 30))) if long else 1.0
        block = window * draw.uniform(1.0, 3.0) if long else draw.uniform(2.0, 10.0)
        limit = max(2, round(quota * window))
        about = f"{limit} in {window:.0f} s, then {block:.1f} s closed"
        limiter = FirstRequestWindow(limit, window, block)
        return _world(draw, kind, seed, about, limiter, limit / window, rtt, jitter)

    return make


def _any(draw: _Draw, quota: float, shallowest: float = 0.03) -> tuple[str, Limiter, float]:
    """A bucket, a window or a log, with how many a second it really admits."""
    which = draw.randrange(4)
    if which == 0:
        about, bucket = _bucket_of(draw, quota, shallowest)
        return about, bucket, quota
    if which == 1:
        limit = max(2, round(quota))
        return f"FixedWindow {limit} in 1 s", FixedWindow(limit, 1.0), limit
    window = 1.0 if which == 3 and draw.random() < 0.5 else float(round(draw.log(2, 10)))
    limit = max(2, round(quota * window))
    kind_of = FixedWindow if which == 2 else SlidingLog
    return f"{kind_of.__name__} {limit} in {window:.0f} s", kind_of(limit, window), limit / window


def _poisson(draw: random.Random, rate: float) -> Iterator[float]:
    at = 0.0
    while True:
        at += draw.expovariate(rate)
        yield at


def _bursts(draw: random.Random, rate: float, every: float) -> Iterator[float]:
    at = draw.random() * every
    while True:
        many = max(1, round(rate * every * draw.uniform(0.5, 1.5)))
        for number in range(many):
            yield at + number * 0.001
        at += max(every * draw.uniform(0.5, 1.5), many * 0.001)


def _other_traffic(draw: _Draw, kind: str, seed: int) -> World:
    quota, rtt, jitter = _network(draw)
    # A bucket that holds one or two refuses at random whoever shares it.
    about, limiter, quota = _any(draw, quota, max(0.3, 5.0 / quota))
    share = draw.uniform(0.1, 0.5)
    apart = random.Random(draw.random())
    if draw.random() < 0.6:
        others, way = _poisson(apart, quota * share), "Poisson"
    else:
        every = draw.uniform(1.0, 5.0)
        others, way = _bursts(apart, quota * share, every), f"bursts each {every:.1f} s"
    about = f"{about}, others {share:.0%} {way}"
    jobs = max(30, round(quota * (1 - share) * draw.uniform(20.0, 40.0)))
    return _world(draw, kind, seed, about, limiter, quota, rtt, jitter, others=others, jobs=jobs)


def _changed(draw: _Draw, kind: str, seed: int) -> World:
    while True:
        quota, rtt, jitter = _network(draw)
        factor = draw.log(0.3, 3.0)
        if quota * factor * rtt <= _CARRIED and quota * factor >= 3:
            break
    about, limiter, quota = _any(draw, quota)
    after = quota * factor
    if isinstance(limiter, (TokenBucket, Gcra)):
        depth = max(1, round(limiter.depth * factor))
        new: dict[str, float] = {"rate": after, "depth": depth}
    else:
        assert isinstance(limiter, (FixedWindow, SlidingLog))
        new = {"limit": max(1, round(limiter.limit * factor))}
        after = new["limit"] / limiter.window

    def change() -> None:
        for name, value in new.items():
            setattr(limiter, name, value)

    seconds = draw.uniform(20.0, 40.0)
    at = seconds * draw.uniform(0.35, 0.65)
    return _world(
        draw, kind, seed, f"{about}, from {at:.1f} s on {after:.1f}/s", limiter, quota, rtt, jitter,
        quotas=[(0.0, quota), (at, after)], change=(at, change),
        jobs=max(30, round(quota * at + after * (seconds - at))),
    )  # fmt: skip


def _bursty(draw: _Draw, kind: str, seed: int) -> World:
    quota, rtt, jitter = _network(draw)
    limit, beside = max(2, round(quota * 0.8)), draw.log(2, 20)
    burst = max(1, round(quota * 0.2 * beside))
    about = f"{limit} in 1 s, and {burst} in {beside:.1f} s for what that refuses"
    limiter = Bursty(limit, 1.0, burst, beside)
    return _world(draw, kind, seed, about, limiter, limit + burst / beside, rtt, jitter)


def _steady(which: str) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        quota, rtt, jitter = _network(draw)
        # Thirty thousand requests tell as much as 150,000.
        quota = min(quota, 100.0)
        limiter: Limiter
        if which == "bucket":
            about, limiter = _bucket_of(draw, quota)
        else:
            window = 1.0 if draw.random() < 0.5 else _window_of(draw, 2.0, 60.0 if which == "fixed" else 30.0)
            limit = max(2, round(quota * window))
            limiter = FixedWindow(limit, window) if which == "fixed" else SlidingLog(limit, window)
            about, quota = f"{type(limiter).__name__} {limit} in {window:.3g} s", limit / window
        return _world(draw, kind, seed, about, limiter, quota, rtt, jitter, seconds=_STEADY)

    return make


def _none(draw: _Draw, kind: str, seed: int) -> World:
    rtt = draw.log(0.002, 0.2)
    # About 3,000 a second go through one event loop.
    return _world(
        draw, kind, seed, "no limiter", Unlimited(), 1.0, rtt, _jitter(draw), serial=0.0003, jobs=40_000
    )  # fmt: skip


_LEGACY: Final[dict[str, QuotaHeaders]] = {
    "seconds": "x-ratelimit-seconds",
    "unix": "x-ratelimit",
    "ms": "x-ratelimit-ms",
}
_DRAFTS: Final[dict[str, QuotaHeaders]] = {"6": "draft-6", "7": "draft-7", "8": "draft-8"}


def _told(form: str, *, stray: bool = False) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        quota, rtt, jitter = _network(draw)
        window = draw.choice([1.0, 1.0, float(round(draw.log(2, 60)))])
        if stray:
            window = min(window, 10.0)
        limit = max(2, round(quota * window))
        kind_of = draw.choice([FixedWindow, FirstRequestWindow, SlidingLog])
        about = f"{kind_of.__name__} {limit} in {window:.0f} s"
        told = draw.choice(["6", "7", "8"]) if form == "any" else form
        late = 0.0
        if told == "legacy":
            style = _LEGACY[draw.choice(["seconds", "unix", "unix", "ms"])]
            late = draw.choice([0.0, draw.random()])
            about += f", {style}, Date late by {late:.2f} s and its fraction"
        else:
            style = _DRAFTS[told]
        tell = _teller(Quota(limit=limit, window=window, headers=style), late)
        more: dict[str, Any] = {}
        if stray:
            more = {"stray": draw.uniform(3.0, 12.0), "start": draw.choice([1000.0, 1e5, 1.7e9]) + draw.random()}
        return _world(
            draw, kind, seed, about, kind_of(limit, window), limit / window, rtt, jitter, tell=tell, **more
        )  # fmt: skip

    return make


def _given(*, stray: bool) -> Callable[[_Draw, str, int], World]:
    def make(draw: _Draw, kind: str, seed: int) -> World:
        quota, rtt, jitter = _network(draw)
        # As many as jitter brings together find room.
        least = max(1, math.ceil(quota * rtt * jitter) + 1)
        if draw.random() < 0.5:
            rate = float(max(5, round(quota)))
            burst = max(least, round(rate * draw.log(0.03, 1.0)))
            limiter: Limiter = NginxLimitReq(rate, burst)
            about = f"nginx rate={rate:.0f}r/s burst={burst} nodelay"
        else:
            rate = quota
            burst = max(least, round(rate * draw.log(0.03, 1.0)))
            limiter = TokenBucket(rate, burst)
            about = f"bucket {rate:.1f}/s depth {burst}"
        more: dict[str, Any] = {}
        if stray:
            more = {"stray": draw.uniform(3.0, 12.0), "start": draw.choice([1000.0, 1e5, 1.7e9]) + draw.random()}
        return _world(
            draw, kind, seed, about, limiter, rate, rtt, jitter, rate=rate, burst=burst, **more
        )  # fmt: skip

    return make


KINDS: Final[dict[str, Callable[[_Draw, str, int], World]]] = {
    "nginx-small": _nginx(0.03, 1.0),
    "nginx-large": _nginx(1.0, 5.0),
    "nginx-delay": _nginx(0.1, 2.0, delay=True),
    "nginx-burst0": _nginx_burst0(swapped=False),
    "nginx-burst0-swapped": _nginx_burst0(swapped=True),
    "conn": _connections(far=False),
    "conn-far": _connections(far=True),
    "bucket": _bucket(retry_after=False),
    "bucket-ra": _bucket(retry_after=True),
    "fixed-1s": _windowed(FixedWindow, lambda _: 1.0),
    "fixed-1s-ra": _windowed(FixedWindow, lambda _: 1.0, retry_after=True),
    "fixed-long": _windowed(FixedWindow, lambda draw: _window_of(draw, 2.0, 60.0)),
    "first-request": _windowed(FirstRequestWindow, lambda draw: _window_of(draw, 1.0, 60.0)),
    "log": _windowed(SlidingLog, lambda draw: 1.0 if draw.random() < 0.5 else _window_of(draw, 2.0, 30.0)),
    "counter": _windowed(SlidingCounter, lambda draw: _window_of(draw, 1.0, 60.0)),
    "haproxy": _windowed(HAProxyRate, lambda draw: _window_of(draw, 1.0, 30.0)),
    "two-levels": _two_levels,
    "block": _block(long=False),
    "block-long": _block(long=True),
    "bursty": _bursty,
    "other-traffic": _other_traffic,
    "changed": _changed,
    "steady-bucket": _steady("bucket"),
    "steady-fixed": _steady("fixed"),
    "steady-log": _steady("log"),
    "none": _none,
    "told-draft6": _told("6"),
    "told-draft7": _told("7"),
    "told-draft8": _told("8"),
    "told-legacy": _told("legacy"),
    "told-stray429": _told("any", stray=True),
    "given": _given(stray=False),
    "given-stray429": _given(stray=True),
}
