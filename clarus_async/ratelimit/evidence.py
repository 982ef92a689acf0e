"""What was admitted and refused, and how well a limiter of each kind explains it.

Every limiter counts something, and refuses when that is too much. So each hypothesis is a *level*: what a limiter of
its kind had counted when a request came. All that was admitted had a level up to the limit, so the highest of them is
the least that the limit can be; and what was refused had a level above it. By how much a refusal came too early is what
the hypothesis fails to explain (:func:`loss`).

- *bucket* (nginx ``limit_req``, GCRA, token buckets): one more for each request, and ``rate`` a second less.
- *log* (``limits``' moving window): how many were admitted in the last window, wherever that begins.
- *fixed* (express-rate-limit, rack-attack, INCR and EXPIRE): how many were admitted since the window turned.
- *block* (rate-limiter-flexible): as a log, but once refused all is refused for a while, so the first one counts only.
- *connections* (nginx ``limit_conn``): how many are under way.

What was sent evenly is kept as one run, so a minute at a constant pace is a few numbers. A hypothesis that does not
explain two refusals more than the likeliest does is ruled out, and not looked at again.

Pure: times are seconds on one monotonic clock, at which requests were sent.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

Run: TypeAlias = tuple[float, float, int, float]
"""When the first and the last of some requests were sent that were as far apart as the next; how many they are, below 0
where they were refused; and how many were under way, with admitted ones on average, with refused ones at the least."""

Turns: TypeAlias = tuple[float, float]
"""Since when, and until when, a window turned at some moment."""

# Runs that are looked through; the newest are never merged, so that a contact keeps its pattern.
_MOST: Final = 240
_FINE: Final = 120
# Runs that are kept until they are condensed, many at a time.
_TOO_MANY: Final = 1500
# Seconds. What is sent within them is one run: timers are no more exact than that.
_AT_ONCE: Final = 0.004
_TRIED: Final = 16
# Requests. Two runs are merged where a line is no further off: what a quota or a level is known to. Where that leaves
# too many, twice as far, and so on: nothing that was counted is lost.
_ON_A_LINE: Final = 0.75
_FURTHEST: Final = 7.0
_SHRINKS: Final = 0.9
# Seconds. A limit that was met longer ago may have changed.
_KEPT: Final = 180.0
# Times the noise: what is further off than this is an accident, as another's request or a stray refusal.
_ACCIDENT: Final = 3.0
# The rest of the noise of a level, apart from arrivals: clocks in whole milliseconds (nginx), counts in whole requests.
_MILLISECOND: Final = 0.0005
_COARSE: Final = 0.02
_MOST_COARSE: Final = 50.0
# Candidate rates, from the highest to a two-hundredth of it; between them the best is looked for.
_STEP: Final = 1.37
_CANDIDATES: Final = 17
_BEST: Final = 8
_NOTHING: Final = (math.inf, math.inf)
_EDGE: Final = 5
# Moments at which a window may have turned; and how often it is looked for nearer to the best of them.
_MOMENTS: Final = 12
_NEARER: Final = 3
# Refusals between which a rate is measured: the last ones.
_CONTACTS: Final = 4
# A rate explains as well as the best while its loss is no more than this above.
_AS_GOOD: Final = 2.0
# Seconds. How uneven arrivals are changes.
_TOGETHER: Final = 0.002
# A refusal with fewer under way than what was admitted in the second before was not for what was under way.
_LATELY: Final = 1.0
_MANY: Final = 5.0
_AS_MANY: Final = 2.0
_AS_MANY_AGAIN: Final = 0.25
_SEVERAL: Final = 4.0
# Round trips: the first refusal may be dated a little late, and round trips differ.
_EMPTY: Final = 1.3
# Seconds. Few buckets are deeper than what flows into them in this time.
_DEEP: Final = 5.5
_TOO_DEEP: Final = 6.0


class Fit(NamedTuple):
    """What a hypothesis makes of the evidence.

    Args:
        loss: what it fails to explain; 0 is all explained.
        low: the least that the limit can be.
        high: the most.
        depth: of a bucket, in requests.
    """

    loss: float
    low: float
    high: float
    depth: float = 0.0


class _Counted:
    """The evidence, counted."""

    __slots__ = ("admitted", "began", "ended", "steps")

    def __init__(self, runs: Sequence[Run]) -> None:
        self.began = [run[0] for run in runs]
        self.ended = [run[1] for run in runs]
        self.admitted = [0]  # before each run
        self.steps: list[tuple[float, int, float]] = []  # seconds since the last, how many, in how many seconds
        last = runs[0][0]
        for began, ended, many, _ in runs:
            self.admitted.append(self.admitted[-1] + max(many, 0))
            self.steps.append((began - last, many, ended - began))
            last = ended

    def before(self, at: float) -> int:
        """How many were admitted of those sent before a moment."""
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
        "_closed", "_counted", "_cut", "_last", "_many", "_since", "_under_way", "_until", "contacts", "losses",
    )  # fmt: skip

    def __init__(self, runs: list[Run] | None = None) -> None:
        self._closed: list[Run] = [] if runs is None else runs
        # The newest run, which takes more until some moment.
        self._since = self._last = 0.0
        self._until, self._many, self._under_way = -math.inf, 0, 0
        self._cut = False  # there was more before the first, and nobody knows a bucket's level then
        self._counted: _Counted | None = None
        self.contacts: int = 0  # refusals, of which those in a row count once
        self.losses: dict[str, float] = {}  # of hypotheses, when they were last looked at

    def add(self, at: float, under_way: int) -> None:
        """Note one that was admitted.

        Args:
            at: when it was sent.
            under_way: how many were, with it.
        """
        if self._since <= at < self._until:
            self._many += 1
            # Not by max(), which takes twice as long: this is done for each request.
            if at > self._last:  # noqa: PLR1730
                self._last = at
            return
        runs = self._runs
        if not runs or runs[-1][1] < at:
            self._since = self._last = at
            self._until, self._many, self._under_way = at + _AT_ONCE, 1, under_way
            if len(runs) > _TOO_MANY:
                self.condense()
        else:
            self._insert(at, under_way, 1)

    def refused(self, at: float, under_way: int) -> None:
        """Note one that was refused.

        Args:
            at: when it was sent, and how much later those may have been that came before it.
            under_way: how many were, with it.
        """
        self._insert(at, under_way, -1)

    def _insert(self, at: float, under_way: int, many: int) -> None:
        runs = self._runs
        # Of those that were sent together, the admitted came first.
        index = len(runs)
        while index > 0 and (runs[index - 1][0] > at or (many > 0 and runs[index - 1][0] == at)):
            index -= 1
        if index and runs[index - 1][1] > at:
            runs[index - 1 : index] = _split(runs[index - 1], at)
        runs.insert(index, (at, at, many, under_way))
        self._counted = None

    @property
    def _runs(self) -> list[Run]:
        """All of them; the newest ends here."""
        if self._many:
            self._closed.append((self._since, self._last, self._many, self._under_way))
            self._many, self._until, self._counted = 0, -math.inf, None
        return self._closed

    def condense(self) -> None:
        """Merge older runs; what is too old is dropped."""
        runs = self._runs
        old = bisect_left(runs, (runs[-1][0] - _KEPT,))
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
        if kept[0][0] > runs[0][0]:
            self._cut = True
            self.losses = {}
        self._closed = kept
        self._counted = None

    def supposing(self, pending: Sequence[tuple[float, int]]) -> Evidence:
        """Return the evidence as it is if what has no answer yet was admitted.

        Args:
            pending: when each was sent, and how many were under way with it.
        """
        if not pending:
            return self
        whole = Evidence(list(self._runs))
        whole._cut, whole.contacts, whole.losses = self._cut, self.contacts, self.losses
        for at, under_way in pending:
            whole.add(at, under_way)
        return whole

    def since(self, at: float) -> Evidence:
        """Return the evidence since a moment.

        Args:
            at: the moment.
        """
        part = Evidence(self._runs[bisect_left(self._runs, (at,)) :])
        part._cut = True
        return part

    @property
    def _count(self) -> _Counted:
        if self._counted is None:
            self._counted = _Counted(self._runs)
        return self._counted

    def admitted(self, since: float, until: float) -> int:
        """How many were admitted.

        Args:
            since: from when on.
            until: before when.
        """
        if not self._runs:
            return 0
        count = self._count
        return count.before(until) - count.before(since)

    def first(self, since: float) -> float | None:
        """When the first was sent.

        Args:
            since: after which moment.
        """
        runs = self._runs
        index = bisect_left(runs, (since, math.inf))
        return runs[index][0] if index < len(runs) else None

    @property
    def began(self) -> float:
        """When the first was sent that is known."""
        return self._runs[0][0]

    def count(self) -> int:
        """Count the refusals, of which those in a row count once."""
        self.contacts = len(self.openings())
        return self.contacts

    @property
    def refusals(self) -> int:
        """How many were refused."""
        return -sum(run[2] for run in self._runs if run[2] < 0)

    def openings(self) -> list[tuple[float, float]]:
        """Return the last refusals before something was admitted again, each with when that was sent."""
        runs = self._runs
        return [
            (runs[index - 1][1], runs[index][0])
            for index in range(1, len(runs))
            if runs[index - 1][2] < 0 < runs[index][2]
        ]

    def _rows(self) -> Iterator[list[float]]:
        """Go through the moments of refusals, those in a row together."""
        row: list[float] = []
        for began, ended, many, _ in self._runs:
            if many < 0:
                row += (began, ended)
            elif row:
                yield row
                row = []
        if row:
            yield row

    def bucket(self, uneven: float, fastest: float, believed: Sequence[float] = ()) -> Fit:
        """Find the rates at which a bucket explains it.

        Args:
            uneven: seconds by which requests may come closer to each other than they were sent.
            fastest: requests a second, which were tried.
            believed: the least and the most that its rate was taken for so far.
        """
        count = self._count
        drained = self._drained()
        # A wall between two refusals makes an average small.
        average = count.admitted[-1] / max(self._runs[-1][1] - self._runs[0][0], 1e-3)
        top = max(4.0 * average, 2.0 * fastest, 2.0 * max(drained, default=0.0))
        bottom = top * _STEP**-_CANDIDATES
        # The longer it is watched, the narrower is what explains it: no grid finds that.
        rates = {rate: self._bucket_costs(rate, uneven) for rate in drained if bottom < rate < top}
        rates |= {rate: self._bucket_costs(rate, uneven) for rate in _around(believed) if bottom < rate < top}
        if not believed or min(rates.values(), default=_NOTHING)[0] > _AS_GOOD:
            grid = [top * _STEP**-index for index in range(_CANDIDATES + 1)]
            rates |= {rate: self._bucket_costs(rate, uneven) for rate in grid}
        narrow, best, wide = _beside(rates, min(rates, key=lambda rate: rates[rate]), bottom, top)
        for _ in range(_BEST):
            if rates[best][0] == 0.0:
                break
            one, other = (narrow + best) / 2.0, (best + wide) / 2.0
            rates |= {rate: self._bucket_costs(rate, uneven) for rate in (one, other)}
            narrow, best, wide = _beside(rates, min((best, one, other), key=lambda rate: rates[rate]), bottom, top)
        enough = rates[best][0] + _AS_GOOD
        good = [rate for rate, cost in rates.items() if cost[0] <= enough]
        low, high = min(good), max(good)
        low = 0.0 if low <= bottom else self._edge(low, _beside(rates, low, bottom, top)[0], enough, uneven)
        high = math.inf if high >= top else self._edge(high, _beside(rates, high, bottom, top)[2], enough, uneven)
        return Fit(rates[best][0], low, high, self._bucket(best)[0])

    def _drained(self) -> list[float]:
        """Requests a second between refusals: a bucket was empty at each, so what was admitted is what flowed in."""
        runs, counts = self._runs, self._count.admitted
        contacts = [
            (run[0], counts[index]) for index, run in enumerate(runs) if run[2] < 0 and index and runs[index - 1][2] > 0
        ]
        if len(contacts) < 2:
            return []
        ends = contacts[-_CONTACTS:]
        pairs = {(contacts[0], ends[-1]), *((one, ends[-1]) for one in ends[:-1]), *itertools.pairwise(ends)}
        return [(other[1] - one[1]) / (other[0] - one[0]) for one, other in pairs if other[0] > one[0]]

    def _edge(self, good: float, bad: float, enough: float, uneven: float) -> float:
        for _ in range(_EDGE):
            middle = math.sqrt(good * bad)
            if self._bucket_costs(middle, uneven)[0] <= enough:
                good = middle
            else:
                bad = middle
        return good

    def _bucket_costs(self, rate: float, uneven: float) -> tuple[float, float]:
        """Return the loss; and of all that are far off, the less the nearer, by which part of the depth they are."""
        depth, rows = self._bucket(rate)
        noise = 0.05 + rate * (0.5 * uneven + _MILLISECOND) + _COARSE * min(depth, _MOST_COARSE)
        cost = loss(rows, depth, noise)
        # What drowns in noise explains nothing.
        blur = 2.0 * noise / max(1.0, depth) - 1.0
        if blur > 0.0:
            cost += 2.0 * min(blur, 3.0) * self.contacts
        if depth > _DEEP * rate:
            cost += math.log(depth / (_DEEP * rate)) * _TOO_DEEP
        return cost, sum([depth - level for level in rows if level < depth]) / depth if cost and depth else 0.0

    def _bucket(self, rate: float) -> tuple[float, list[float]]:
        """Return the highest level that was admitted, and the lowest of each row that was refused."""
        level = most = 0.0
        rows: list[float] = []
        row = math.inf
        for gap, many, seconds in self._count.steps:
            level -= rate * gap
            if many > 0:
                # Not by max(), which takes twice as long: this is where the time goes.
                if level < 0.0:  # noqa: PLR1730
                    level = 0.0
                level += 1.0
                if level > most:  # noqa: PLR1730
                    most = level
                if many > 1:
                    level += many - 1 - rate * seconds
                    if level < 1.0:
                        level = 1.0
                    elif level > most:
                        most = level
                if row < math.inf:
                    rows.append(row)
                    row = math.inf
            else:
                level -= rate * seconds
                # Below nothing where it had run dry: the longer ago, the less is a refusal explained.
                if level + 1.0 < row:  # noqa: PLR1730
                    row = level + 1.0
        if row < math.inf:
            rows.append(row)
        return most, rows[1:] if self._cut else rows

    def log(self, window: float, uneven: float, *, block: bool = False) -> Fit:
        """Find the quotas a second at which a log of a window explains it.

        Args:
            window: seconds.
            uneven: as for a bucket.
            block: of those in a row that were refused the first counts only.
        """
        count = self._count
        before, counts = count.before, count.admitted
        most = 0
        for index, (began, ended, many, _) in enumerate(self._runs):
            if many < 0:
                continue
            upto = counts[index + 1]
            most = max(most, upto - before(ended - window))
            if many > 1:
                most = max(most, upto - many + 1 - before(began - window))
                # What began a window ago leaves from now on.
                most = max(most, before(began + window) - upto + many)
        rows: list[float] = []
        for row in self._rows():
            levels = [before(at) - before(at - window) for at in (row[:1] if block else row)]
            rows.append(min(levels))
        return _quota(rows, most, window, uneven)

    def fixed(self, window: float, turns: Turns, uneven: float) -> Fit:
        """Find the quotas a second at which windows that turn together explain it.

        Args:
            window: seconds.
            turns: when one may have turned.
            uneven: as for a bucket.
        """
        return _best(turns, lambda turn: _quota(*self._since_turn(window, turn, uneven), window, uneven))

    def _since_turn(self, window: float, turn: float, uneven: float) -> tuple[list[float], float]:
        before = self._count.before
        late = uneven + _TOGETHER
        start = turn + window * math.floor((self.began - late - turn) / window)
        windows = range(math.floor((self._runs[-1][1] - start) / window) + 2)
        turned = [before(start + window * index) for index in windows]
        most = max(map(int.__sub__, turned[1:], turned))
        rows = [
            # One that came before the turn may have been sent a little after it.
            float(min(before(at) - turned[math.floor((at - late - start) / window)] for at in row))
            for row in self._rows()
        ]
        return rows, most

    def connections(self, round_trip: float) -> Fit:
        """Find the limit of what is under way that explains it: the least that was refused.

        Args:
            round_trip: seconds of one.
        """
        runs = self._runs
        rows: list[float] = []
        cost = since = 0.0
        for index, (began, ended, many, under_way) in enumerate(runs):
            if many > 0:
                continue
            if rows and runs[index - 1][2] < 0:
                rows[-1] = min(rows[-1], under_way)
            else:
                since = began
                rows.append(under_way)
                cost += _MANY * self._part_with(index, _surely(under_way))
                cost += (_AS_MANY if len(rows) == 1 else _AS_MANY_AGAIN) * self._part_with(index, under_way)
            if len(rows) > 1 and ended - since > _EMPTY * round_trip:
                # All that were admitted before had come back, so nothing was under way there; how long that takes is
                # not known well at first.
                cost += _MANY
                since = math.inf
        # A few may have come in another order all the same.
        least = sorted(rows)[len(rows) // 4] if rows else math.inf
        surely, noise = _surely(least), 1.0 + 0.1 * least
        cost += sum(min((least - row) / noise, _ACCIDENT) ** 2 for row in rows if row < least)
        # Above the limit most are refused.
        above = sum(run[2] for run in runs if run[2] > 0 and run[3] >= surely)
        return Fit(cost + min(12.0, above / max(1, self.refusals)), 0.0, least)

    def _part_with(self, index: int, under_way: float) -> float:
        """Return which part was admitted with no fewer under way, of those of the second before a refusal."""
        runs = self._runs
        since, everything, as_many = runs[index][0] - _LATELY, 0, 0
        for at, _, many, others in reversed(runs[:index]):
            if at < since:
                break
            if many > 0:
                everything += many
                as_many += many if others >= under_way else 0
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


def _best(turns: Turns, found: Callable[[float], Fit]) -> Fit:
    """Return what is found where a window may have turned: at some moments, and then nearer to the best of them."""
    moments = min(_MOMENTS, 1 + int((turns[1] - turns[0]) / _TOGETHER))
    step = (turns[1] - turns[0]) / moments
    ranges = [(found(at), at) for at in (turns[0] + step * (index + 0.5) for index in range(moments))]
    best = min(ranges)
    for _ in range(_NEARER):
        if best[0].loss == 0.0:
            break
        step /= 2.0
        best = min(best, *((found(at), at) for at in (best[1] - step / 2.0, best[1] + step / 2.0)))
    return best[0]


def _surely(under_way: float) -> float:
    """Return how many are surely more under way: of many, some are on their way back, and under way for us only."""
    return under_way if under_way < _SEVERAL else 1.1 * under_way + 0.5


def _condensed(runs: Sequence[Run], off: float) -> list[Run]:
    """Merge those that lie on a line."""
    if (one := _on_a_line(runs, off)) is not None:
        return [one]
    half = len(runs) // 2
    return _condensed(runs[:half], off) + _condensed(runs[half:], off)


def _split(run: Run, at: float) -> list[Run]:
    """Split a run at a moment within it."""
    began, ended, many, under_way = run
    sign, each = (1 if many > 0 else -1), (ended - began) / (abs(many) - 1)
    first = min(abs(many) - 1, max(1, math.ceil((at - began) / each)))
    return [
        (began, began + (first - 1) * each, sign * first, under_way),
        (began + first * each, ended, many - sign * first, under_way),
    ]


def _on_a_line(runs: Sequence[Run], off: float) -> Run | None:
    first, last = runs[0], runs[-1]
    if len(runs) == 1:
        return first
    many = sum([run[2] for run in runs])
    seconds, count, most = last[1] - first[0], abs(many) - 1, off + first[3] / 8.0
    each = count / seconds if seconds > 0.0 else 0.0
    before, together = 0, 0.0
    for began, ended, these, under_way in runs:
        if (these > 0) != (many > 0) or abs(under_way - first[3]) > most:
            return None
        together += these * under_way
        if each and abs(before - (began - first[0]) * each) > off:
            return None
        before += abs(these)
        if each and abs(before - 1 - (ended - first[0]) * each) > off:
            return None
    return first[0], last[1], many, together / many if many > 0 else min(run[3] for run in runs)


def loss(rows: Sequence[float], most: float, noise: float) -> float:
    """Say by how many times the noise refusals came too early, squared and summed.

    The highest level that was admitted may be noise itself, at its price.

    Args:
        rows: the lowest levels that were refused.
        most: the highest that was admitted.
        noise: by how much a level may be off.
    """
    best = math.inf
    for shift in (0.0, 1.0, 2.0):
        low = most - (0.5 + shift) * noise
        total = shift * shift
        if total >= best:
            break
        for level in rows:
            if level < low:
                early = (low - level) / noise
                total += early * early if early < _ACCIDENT else _ACCIDENT * _ACCIDENT
        best = min(best, total)
    return best


def _quota(rows: list[float], most: float, window: float, uneven: float) -> Fit:
    noise = 0.3 + _COARSE * most + most / window * (0.7 * uneven + _MILLISECOND)
    # The most that was admitted may owe something to chance; what was refused tells the limit, too.
    near = [row for row in rows if row >= most - 2.0 * noise]
    low = min(most, max(near, default=most))
    high = max(low, min(near, default=most))
    # Evenly spaced, and as far apart as the server has to see them.
    span = window + 0.002 + 1.5 * uneven
    return Fit(loss(rows, most - 0.3, noise), low / span, high / span)
