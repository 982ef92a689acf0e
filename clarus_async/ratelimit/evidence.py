"""What was admitted and refused, and how well a limiter of each kind explains it.

Every limiter counts something, and refuses when that is too much. So each hypothesis is a *level*: what a limiter of
its kind had counted when a request came. All that was admitted had a level up to the limit, so the highest of them is
the least that the limit can be; and what was refused had a level above it. By how much refusals came too early is what
the hypothesis fails to explain, its *loss* (``loss``).

- *bucket* (nginx ``limit_req``, GCRA, token buckets): one more for each request, and ``rate`` a second less.
- *log* (``limits``' moving window): how many were admitted in the last window, wherever that begins.
- *fixed* (express-rate-limit, rack-attack, INCR and EXPIRE): how many were admitted since the window began.
- *block* (rate-limiter-flexible): as a log; but once refused, everything is refused for a while, so of refusals in a
  row only the first counts.
- *connections* (nginx ``limit_conn``): how many are in flight.

Requests that were sent evenly are kept as one run, so a minute at a constant rate is a few numbers. A hypothesis that
fails to explain two refusals more than the likeliest is ruled out.

Times are seconds on one monotonic clock, at which requests were sent; ``jitter`` is seconds by which they may arrive
closer together than that.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from clarus_async.ratelimit.pace import LimitKind

Boundary: TypeAlias = tuple[float, float]
"""Since when, and until when, a fixed window began at some moment."""

# Runs that are looked at; the newest are never merged, so that a hit keeps its pattern.
_MOST: Final = 240
_FINE: Final = 120
# Runs that are kept until they are condensed: many at a time, as that takes a while.
_TOO_MANY: Final = 1500
# Seconds. What is sent within them is one run: timers are no more exact than that.
_AT_ONCE: Final = 0.004
# Runs that are tried as one line at a time.
_TRIED: Final = 16
# Requests. Runs are merged where a line is no further off: a quota or a level is known no better. Where that leaves too
# many, twice as far, and so on, while it helps by a tenth: nothing that was counted is lost.
_ON_A_LINE: Final = 0.75
_FURTHEST: Final = 7.0
_SHRINKS: Final = 0.9
# Seconds. A limit that was hit longer ago may have changed.
_KEPT: Final = 180.0
# Times the noise: what is further off than this is an accident, as another's request or a stray refusal.
_ACCIDENT: Final = 3.0
# The rest of a level's noise, apart from jitter: clocks in whole milliseconds (nginx), counts in whole requests.
_HALF_MILLISECOND: Final = 0.0005
_COARSE: Final = 0.02
_MOST_COARSE: Final = 50.0
# Candidate rates go from the highest to a two-hundredth of it. Around the best, ranges are halved eight times; at the
# edges of what is as good, five times: to 1 % of a step.
_STEP: Final = 1.37
_CANDIDATES: Final = 17
_BEST: Final = 8
_EDGE: Final = 5
# A window's boundary is tried at so many moments; then halfway to the next on both sides of the best, so many times.
_MOMENTS: Final = 12
_NEARER: Final = 3
# Refusals, the last ones, between which a rate is measured: many more take time and narrow the range little.
_HITS: Final = 4
# A rate explains as well as the best while its loss, in squares of the noise, is no more than this above.
_AS_GOOD: Final = 2.0
# Seconds. Jitter changes, and boundaries are looked for no nearer than this.
_TOGETHER: Final = 0.002
# A refusal with fewer in flight than were admitted in the second before was not for what is in flight: what that costs
# where all of these had more, where all had as many at the first refusal, and at later ones.
_LATELY: Final = 1.0
_MORE: Final = 5.0
_AS_MANY: Final = 2.0
_AS_MANY_AGAIN: Final = 0.25
_SEVERAL: Final = 4.0
# Round trips: the first refusal may be dated a little late, and round trips differ.
_EMPTY: Final = 1.3
# Admissions above a limit of what is in flight speak against it, but not without end.
_MOST_ABOVE: Final = 12.0
# Seconds. Few buckets hold more than flows into them in this time; what that costs, by the logarithm of the excess.
_DEEP: Final = 5.5
_TOO_DEEP: Final = 6.0


class Hypothesis(NamedTuple):
    """A kind of limit, how well it explains the evidence, and the rates that it allows."""

    kind: LimitKind
    loss: float  # 0: all is explained
    low: float  # requests a second that it surely allows; for connections, how many
    high: float  # the most that it may allow
    window: float = 0.0  # seconds; 0 where there is none
    depth: float = 0.0  # requests that a bucket holds


class Run(NamedTuple):
    """Requests that were sent evenly, and all admitted or all refused."""

    began: float
    ended: float
    size: int
    in_flight: float  # with them: on average where they were admitted, at the least where they were refused
    admitted: bool = True


class _Counts:
    """The runs, counted."""

    __slots__ = ("admitted", "began", "ended", "steps")

    def __init__(self, runs: Sequence[Run]) -> None:
        self.began = [run.began for run in runs]
        self.ended = [run.ended for run in runs]
        self.admitted = [0]  # before each run
        self.steps: list[tuple[float, int, float, bool]] = []  # seconds since the last, how many, in how many seconds
        last = runs[0].began
        for began, ended, size, _, admitted in runs:
            self.admitted.append(self.admitted[-1] + (size if admitted else 0))
            self.steps.append((began - last, size, ended - began, admitted))
            last = ended

    def before(self, at: float) -> int:
        """Return how many were admitted of those sent before a moment."""
        index = bisect_left(self.began, at) - 1
        if index < 0:
            return 0
        counts, ended = self.admitted, self.ended[index]
        if ended < at:
            return counts[index + 1]
        began, before = self.began[index], counts[index]
        if counts[index + 1] == before:
            return before
        return before + math.ceil((counts[index + 1] - before - 1) * (at - began) / (ended - began))


class Evidence:
    """The requests of one tenant that were answered, in the order in which they were sent."""

    __slots__ = (
        "_closed", "_count", "_counted", "_cut", "_in_flight", "_last", "_since", "_until", "losses", "reopened",
    )  # fmt: skip

    def __init__(self, runs: list[Run] | None = None) -> None:
        self._closed: list[Run] = [] if runs is None else runs
        # The newest run, which takes more until some moment.
        self._since = self._last = 0.0
        self._until, self._count, self._in_flight = -math.inf, 0, 0
        self._cut = False  # there was more before the first, so a bucket's level is not known there
        self._counted: _Counts | None = None
        self.reopened: int = 0  # hits after which something was admitted again, when they were last counted
        self.losses: dict[str, float] = {}  # of hypotheses, when they were last looked at

    def add(self, at: float, in_flight: int) -> None:
        """Note a request that was admitted, sent with so many in flight, itself among them."""
        if self._since <= at < self._until:
            self._count += 1
            # Not by max(), which takes twice as long: this is done for each request.
            if at > self._last:  # noqa: PLR1730
                self._last = at
            return
        runs = self._runs
        if not runs or runs[-1].ended < at:
            self._since = self._last = at
            self._until, self._count, self._in_flight = at + _AT_ONCE, 1, in_flight
            if len(runs) > _TOO_MANY:
                self.condense()
        else:
            self._insert(at, in_flight, admitted=True)

    def refused(self, at: float, in_flight: int) -> None:
        """Note a request that was refused; those that arrived before it were sent at ``at`` at the latest."""
        self._insert(at, in_flight, admitted=False)

    def _insert(self, at: float, in_flight: int, *, admitted: bool) -> None:
        runs = self._runs
        # Of those that were sent together, the admitted came first.
        index = len(runs)
        while index > 0 and (runs[index - 1].began > at or (admitted and runs[index - 1].began == at)):
            index -= 1
        if index and runs[index - 1].ended > at:
            runs[index - 1 : index] = _split(runs[index - 1], at)
        runs.insert(index, Run(at, at, 1, in_flight, admitted))
        self._counted = None

    @property
    def _runs(self) -> list[Run]:
        """All of them; the newest ends here."""
        if self._count:
            self._closed.append(Run(self._since, self._last, self._count, self._in_flight))
            self._count, self._until, self._counted = 0, -math.inf, None
        return self._closed

    def condense(self) -> None:
        """Merge older runs; what is too old is dropped."""
        runs = self._runs
        old = bisect_left(runs, (runs[-1].began - _KEPT,))
        if not old and len(runs) <= _MOST:
            return
        older, off = runs[old:-_FINE], _ON_A_LINE
        while len(older) > _MOST - _FINE and off < _FURTHEST:
            before, older = older, []
            for index in range(0, len(before), _TRIED):
                older += _condensed(before[index : index + _TRIED], off)
            if len(older) > _SHRINKS * len(before):
                off *= 2.0
        kept = older[_FINE - _MOST :] + runs[max(old, len(runs) - _FINE) :]
        if kept[0].began > runs[0].began:
            self._cut = True
            self.losses = {}
        self._closed = kept
        self._counted = None

    def supposing(self, pending: Sequence[tuple[float, int]]) -> Evidence:
        """Return the evidence as it is if pending requests were admitted: when each was sent, and with how many."""
        if not pending:
            return self
        whole = Evidence(list(self._runs))
        whole._cut, whole.losses, whole.reopened = self._cut, self.losses, self.reopened
        for at, in_flight in pending:
            whole.add(at, in_flight)
        return whole

    def since(self, at: float) -> Evidence:
        """Return the evidence from a moment on."""
        part = Evidence(self._runs[bisect_left(self._runs, (at,)) :])
        part._cut = True
        return part

    @property
    def _counts(self) -> _Counts:
        if self._counted is None:
            self._counted = _Counts(self._runs)
        return self._counted

    def admitted(self, since: float, until: float) -> int:
        """Return how many were admitted of those sent from one moment on and before another."""
        if not self._runs:
            return 0
        counts = self._counts
        return counts.before(until) - counts.before(since)

    def first(self, since: float) -> float | None:
        """Return when the first request after a moment was sent."""
        runs = self._runs
        index = bisect_left(runs, (since, math.inf))
        return runs[index].began if index < len(runs) else None

    @property
    def began(self) -> float:
        """When the first request was sent that is known."""
        return self._runs[0].began

    @property
    def refusals(self) -> int:
        """How many were refused."""
        return sum(run.size for run in self._runs if not run.admitted)

    def reopenings(self) -> list[Boundary]:
        """Return the last refusals before something was admitted again, each with when that was sent."""
        return [
            (one.ended, other.began)
            for one, other in itertools.pairwise(self._runs)
            if other.admitted and not one.admitted
        ]

    def count(self) -> int:
        """Count the reopenings, before those that are too old are dropped."""
        self.reopened = len(self.reopenings())
        return self.reopened

    def _refused_together(self) -> Iterator[list[float]]:
        """Yield the moments of refusals, those in a row together."""
        moments: list[float] = []
        for began, ended, _, _, admitted in self._runs:
            if not admitted:
                moments += (began, ended)
            elif moments:
                yield moments
                moments = []
        if moments:
            yield moments

    def bucket(self, jitter: float, fastest: float, believed: Sequence[float] = ()) -> Hypothesis:
        """Find the rates at which a bucket explains it.

        ``fastest`` is the highest rate that was tried; ``believed`` are the lowest and the highest that it was taken to
        have so far.
        """
        counts = self._counts
        drained = self._drained()
        # A lockout between two refusals makes an average small.
        average = counts.admitted[-1] / max(self._runs[-1].ended - self._runs[0].began, 1e-3)
        top = max(4.0 * average, 2.0 * fastest, 2.0 * max(drained, default=0.0))
        bottom = top * _STEP**-_CANDIDATES
        # The longer it is watched, the narrower is the range that explains it: no grid finds that.
        rates = {rate: self._bucket_cost(rate, jitter) for rate in drained if bottom < rate < top}
        rates |= {rate: self._bucket_cost(rate, jitter) for rate in _around(believed) if bottom < rate < top}
        if not believed or min(rates.values(), default=(math.inf, math.inf))[0] > _AS_GOOD:
            grid = [top * _STEP**-index for index in range(_CANDIDATES + 1)]
            rates |= {rate: self._bucket_cost(rate, jitter) for rate in grid}
        below, best, above = _beside(rates, min(rates, key=lambda rate: rates[rate]), bottom, top)
        for _ in range(_BEST):
            if rates[best][0] == 0.0:
                break
            one, other = (below + best) / 2.0, (best + above) / 2.0
            rates |= {rate: self._bucket_cost(rate, jitter) for rate in (one, other)}
            below, best, above = _beside(rates, min((best, one, other), key=lambda rate: rates[rate]), bottom, top)
        enough = rates[best][0] + _AS_GOOD
        good = [rate for rate, cost in rates.items() if cost[0] <= enough]
        low, high = min(good), max(good)
        low = 0.0 if low <= bottom else self._edge(low, _beside(rates, low, bottom, top)[0], enough, jitter)
        high = math.inf if high >= top else self._edge(high, _beside(rates, high, bottom, top)[2], enough, jitter)
        return Hypothesis(LimitKind.BUCKET, rates[best][0], low, high, depth=self._bucket_levels(best)[0])

    def _drained(self) -> list[float]:
        """Return the rates between refusals: a bucket was full at each, so what was admitted is what flowed out."""
        runs, counts = self._runs, self._counts.admitted
        hits = [
            (run.began, counts[index])
            for index, run in enumerate(runs)
            if not run.admitted and index and runs[index - 1].admitted
        ]
        if len(hits) < 2:
            return []
        ends = hits[-_HITS:]
        pairs = {(hits[0], ends[-1]), *((one, ends[-1]) for one in ends[:-1]), *itertools.pairwise(ends)}
        return [(other[1] - one[1]) / (other[0] - one[0]) for one, other in pairs if other[0] > one[0]]

    def _edge(self, good: float, bad: float, enough: float, jitter: float) -> float:
        for _ in range(_EDGE):
            middle = math.sqrt(good * bad)
            if self._bucket_cost(middle, jitter)[0] <= enough:
                good = middle
            else:
                bad = middle
        return good

    def _bucket_cost(self, rate: float, jitter: float) -> tuple[float, float]:
        """Return the loss; and for the choice among those that are far off, by what part of the depth they are."""
        depth, levels = self._bucket_levels(rate)
        noise = 0.05 + rate * (0.5 * jitter + _HALF_MILLISECOND) + _COARSE * min(depth, _MOST_COARSE)
        cost = loss(levels, depth, noise)
        # What drowns in noise explains nothing.
        blur = 2.0 * noise / max(1.0, depth) - 1.0
        if blur > 0.0:
            cost += 2.0 * min(blur, 3.0) * self.reopened
        if depth > _DEEP * rate:
            cost += math.log(depth / (_DEEP * rate)) * _TOO_DEEP
        return cost, sum([depth - level for level in levels if level < depth]) / depth if cost and depth else 0.0

    def _bucket_levels(self, rate: float) -> tuple[float, list[float]]:
        """Return the highest level that was admitted, and the lowest of each refusals in a row."""
        level = most = 0.0
        levels: list[float] = []
        lowest = math.inf
        for gap, size, seconds, admitted in self._counts.steps:
            level -= rate * gap
            if admitted:
                # Not by max(), which takes twice as long: this is where the time goes.
                if level < 0.0:  # noqa: PLR1730
                    level = 0.0
                level += 1.0
                if level > most:  # noqa: PLR1730
                    most = level
                if size > 1:
                    level += size - 1 - rate * seconds
                    if level < 1.0:
                        level = 1.0
                    elif level > most:
                        most = level
                if lowest < math.inf:
                    levels.append(lowest)
                    lowest = math.inf
            else:
                level -= rate * seconds
                # Below zero where it had run dry: the longer ago, the less is a refusal explained.
                if level + 1.0 < lowest:  # noqa: PLR1730
                    lowest = level + 1.0
        if lowest < math.inf:
            levels.append(lowest)
        return most, levels[1:] if self._cut else levels

    def log(self, window: float, jitter: float, *, block: bool = False) -> Hypothesis:
        """Find the quotas a second at which a log of a window explains it, or a block after a quota a second."""
        counts = self._counts
        before, admitted_before = counts.before, counts.admitted
        most = 0
        for index, (began, ended, size, _, admitted) in enumerate(self._runs):
            if not admitted:
                continue
            upto = admitted_before[index + 1]
            most = max(most, upto - before(ended - window))
            if size > 1:
                most = max(most, upto - size + 1 - before(began - window))
                # What began a window ago leaves from now on.
                most = max(most, before(began + window) - upto + size)
        levels = [
            float(min(before(at) - before(at - window) for at in (moments[:1] if block else moments)))
            for moments in self._refused_together()
        ]
        return _quota(LimitKind.BLOCK if block else LimitKind.LOG, levels, most, window, jitter)

    def fixed(self, window: float, boundary: Boundary, jitter: float) -> Hypothesis:
        """Find the quotas a second at which fixed windows explain it, one of which began between two moments."""

        def found(began: float) -> Hypothesis:
            return _quota(LimitKind.WINDOW, *self._fixed_levels(window, began, jitter), window, jitter)

        return _best_between(boundary, found)

    def _fixed_levels(self, window: float, began: float, jitter: float) -> tuple[list[float], float]:
        before = self._counts.before
        late = jitter + _TOGETHER
        start = began + window * math.floor((self.began - late - began) / window)
        windows = range(math.floor((self._runs[-1].ended - start) / window) + 2)
        boundaries = [before(start + window * index) for index in windows]
        most = max(map(int.__sub__, boundaries[1:], boundaries))
        levels = [
            # One that arrived before the boundary may have been sent a little after it.
            float(min(before(at) - boundaries[math.floor((at - late - start) / window)] for at in moments))
            for moments in self._refused_together()
        ]
        return levels, most

    def connections(self, round_trip: float) -> Hypothesis:
        """Find the limit of what is in flight that explains it: the least that was refused."""
        runs = self._runs
        levels: list[float] = []
        cost = since = 0.0
        for index, (began, ended, _, in_flight, admitted) in enumerate(runs):
            if admitted:
                continue
            if levels and not runs[index - 1].admitted:
                levels[-1] = min(levels[-1], in_flight)
            else:
                since = began
                levels.append(in_flight)
                cost += _MORE * self._part_with(index, _surely_more(in_flight))
                cost += (_AS_MANY if len(levels) == 1 else _AS_MANY_AGAIN) * self._part_with(index, in_flight)
            if len(levels) > 1 and ended - since > _EMPTY * round_trip:
                # All that were admitted before had been answered, so nothing was in flight there; how long that takes
                # is not known well at first.
                cost += _MORE
                since = math.inf
        # A few may have come in another order all the same.
        least = sorted(levels)[len(levels) // 4] if levels else math.inf
        surely, noise = _surely_more(least), 1.0 + 0.1 * least
        cost += sum(min((least - level) / noise, _ACCIDENT) ** 2 for level in levels if level < least)
        # Above the limit most are refused.
        above = sum(run.size for run in runs if run.admitted and run.in_flight >= surely)
        cost += min(_MOST_ABOVE, above / max(1, self.refusals))
        return Hypothesis(LimitKind.CONNECTIONS, cost, 0.0, least)

    def _part_with(self, index: int, in_flight: float) -> float:
        """Return which part was admitted with no fewer in flight, of those of the second before a refusal."""
        runs = self._runs
        since, everything, as_many = runs[index].began - _LATELY, 0, 0
        for at, _, size, others, admitted in reversed(runs[:index]):
            if at < since:
                break
            if admitted:
                everything += size
                as_many += size if others >= in_flight else 0
        return as_many / max(1, everything)


def _around(believed: Sequence[float]) -> list[float]:
    """Return rates in a range and a little beside it."""
    if not believed:
        return []
    low, high = believed
    return [low / 1.1, low / 1.02, low, math.sqrt(low * high), high, high * 1.02, high * 1.1]


def _beside(rates: Mapping[float, object], rate: float, bottom: float, top: float) -> tuple[float, float, float]:
    """Return the next lower that was tried, a rate, and the next higher."""
    lower = max((other for other in rates if other < rate), default=bottom)
    return lower, rate, min((other for other in rates if other > rate), default=top)


def _best_between(boundary: Boundary, found: Callable[[float], Hypothesis]) -> Hypothesis:
    """Return the best of what is found at some moments between two, and then nearer to the best of them."""
    moments = min(_MOMENTS, 1 + int((boundary[1] - boundary[0]) / _TOGETHER))
    step = (boundary[1] - boundary[0]) / moments
    best = min((found(at), at) for at in (boundary[0] + step * (index + 0.5) for index in range(moments)))
    for _ in range(_NEARER):
        if best[0].loss == 0.0:
            break
        step /= 2.0
        best = min(best, *((found(at), at) for at in (best[1] - step / 2.0, best[1] + step / 2.0)))
    return best[0]


def _surely_more(in_flight: float) -> float:
    """Return how many are surely more in flight: of many, some are on their way back, and in flight for us only."""
    return in_flight if in_flight < _SEVERAL else 1.1 * in_flight + 0.5


def _condensed(runs: Sequence[Run], off: float) -> list[Run]:
    """Merge those that lie on a line."""
    if (one := _on_a_line(runs, off)) is not None:
        return [one]
    half = len(runs) // 2
    return _condensed(runs[:half], off) + _condensed(runs[half:], off)


def _split(run: Run, at: float) -> list[Run]:
    """Split a run at a moment within it."""
    each = (run.ended - run.began) / (run.size - 1)
    first = min(run.size - 1, max(1, math.ceil((at - run.began) / each)))
    return [
        run._replace(ended=run.began + (first - 1) * each, size=first),
        run._replace(began=run.began + first * each, size=run.size - first),
    ]


def _on_a_line(runs: Sequence[Run], off: float) -> Run | None:
    """Return runs as one, if none of its requests is further off than so many."""
    first, last = runs[0], runs[-1]
    if len(runs) == 1:
        return first
    total = sum([run.size for run in runs])
    seconds, most = last.ended - first.began, off + first.in_flight / 8.0
    each = (total - 1) / seconds if seconds > 0.0 else 0.0
    before, together = 0, 0.0
    for began, ended, size, in_flight, admitted in runs:
        if admitted is not first.admitted or abs(in_flight - first.in_flight) > most:
            return None
        together += size * in_flight
        if each and abs(before - (began - first.began) * each) > off:
            return None
        before += size
        if each and abs(before - 1 - (ended - first.began) * each) > off:
            return None
    least = min(run.in_flight for run in runs)
    return Run(first.began, last.ended, total, together / total if first.admitted else least, first.admitted)


def loss(levels: Sequence[float], most: float, noise: float) -> float:
    """Say by how many times the noise refusals came too early, squared and summed.

    ``levels`` are the lowest that were refused. ``most``, the highest that was admitted, may be noise itself, at its
    price.
    """
    best = math.inf
    for shift in (0.0, 1.0, 2.0):
        low = most - (0.5 + shift) * noise
        total = shift * shift
        if total >= best:
            break
        for level in levels:
            if level < low:
                early = (low - level) / noise
                total += early * early if early < _ACCIDENT else _ACCIDENT * _ACCIDENT
        best = min(best, total)
    return best


def _quota(kind: LimitKind, levels: list[float], most: float, window: float, jitter: float) -> Hypothesis:
    noise = 0.3 + _COARSE * most + most / window * (0.7 * jitter + _HALF_MILLISECOND)
    # The most that was admitted may owe something to chance; what was refused tells the limit, too.
    near = [level for level in levels if level >= most - 2.0 * noise]
    low = min(most, max(near, default=most))
    high = max(low, min(near, default=most))
    # Evenly spaced, and as far apart as the server has to see them.
    span = window + 0.002 + 1.5 * jitter
    return Hypothesis(kind, loss(levels, most - 0.3, noise), low / span, high / span, window)
