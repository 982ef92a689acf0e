"""What was admitted and refused, and how well a limiter of each kind explains it.

Every limiter counts something, and refuses when that is too much. So each hypothesis is a *level*: what a limiter of
its kind had counted when a request came. All that was admitted had a level up to the limit, so the highest of them is
the least that the limit can be; and what was refused had a level above it. By how much a refusal came too early is what
the hypothesis fails to explain (:func:`loss`).

- *bucket* (nginx ``limit_req``, GCRA, token buckets): one more for each request, and ``rate`` a second less.
- *log* (``limits``' moving window): how many were admitted in the last window, wherever that begins.
- *fixed* (express-rate-limit, rack-attack, INCR and EXPIRE): how many were admitted since the window turned.
- *counter* (Cloudflare, ``limits``' sliding window): the same, and the last window's in part. HAProxy's ``freq_ctr``
  counts what it refuses as well.
- *block* (rate-limiter-flexible): as a log, but once refused all is refused for a while, so the first one counts only.
- *connections* (nginx ``limit_conn``): how many are under way.

Pure: times are seconds on one monotonic clock, at which requests were sent.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

Event: TypeAlias = tuple[float, int, int]
"""When it was sent, how many were admitted (0: one that was refused), and how many were under way with it."""

# Events that are kept one by one; older ones are merged in pairs, again and again. A second of 500 a second and the
# contact before it fit, and one look through all of them takes a tenth of a millisecond.
_FINE: Final = 500
_MOST: Final = 700
# Seconds. What is merged is taken for one burst, so it must have been one nearly.
_TOGETHER: Final = 0.04
# Seconds. A limit that was met longer ago may have changed.
_KEPT: Final = 90.0
_HALF_FORGOTTEN: Final = 60.0
# Times the noise: what is further off than this is an accident, as another's request or a stray refusal.
_ACCIDENT: Final = 3.0
# The rest of the noise of a level, apart from arrivals: clocks in whole milliseconds (nginx), counts in whole requests.
_MILLISECOND: Final = 0.0005
_COARSE: Final = 0.02
_MOST_COARSE: Final = 50.0
# Candidate rates, each a sixth above the last: from a two-hundredth of the highest to it.
_STEP: Final = 1.17
_CANDIDATES: Final = 35
# Refusals between which a rate is measured: the last ones.
_CONTACTS: Final = 4
# A rate explains as well as the best while its loss is no more than this above.
_AS_GOOD: Final = 2.0
# Seconds. Few buckets are deeper than what flows into them in this time.
_DEEP: Final = 5.5
_TOO_DEEP: Final = 6.0


class Range(NamedTuple):
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


class Evidence:
    """The requests of one tenant that were answered, in the order in which they were sent."""

    __slots__ = ("_events", "_x0", "contacts")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._x0 = 0.0  # a bucket's level before the first
        self.contacts = 0  # refusals, of which those in a row count once

    def add(self, at: float, under_way: int, *, admitted: bool) -> None:
        """Note an answer.

        Args:
            at: when its request was sent; a refusal is dated by how much later those may have been sent that came
                before it.
            under_way: how many were, with it.
            admitted: whether it was.
        """
        events = self._events
        event = (at, 1 if admitted else 0, under_way)
        if not events or events[-1][0] <= at:
            events.append(event)
        else:
            index = len(events) - 1
            while index > 0 and events[index - 1][0] > at:
                index -= 1
            events.insert(index, event)
        if len(events) > _MOST + 2 * _FINE:
            self._compact(at)

    def _compact(self, now: float) -> None:
        events = self._events
        if events[0][0] < now - _KEPT:
            del events[: bisect_left(events, (now - _HALF_FORGOTTEN,))]
            self._x0 = 0.0
        merged: list[Event] = []
        paired = True
        for event in events[:-_FINE]:
            last = merged[-1] if merged else event
            began = merged[-2][0] if len(merged) > 1 else last[0]
            if event[1] and not paired and last[1] and event[0] - began < _TOGETHER:
                merged[-1] = (event[0], last[1] + event[1], max(last[2], event[2]))
                paired = True
            else:
                merged.append(event)
                paired = False
        if len(merged) > _MOST:
            del merged[:-_MOST]
            self._x0 = 0.0
        self._events = merged + events[-_FINE:]

    def forget(self, depth: float) -> bool:
        """Drop the older half, as the limit is another now; return whether enough is left.

        Args:
            depth: of the bucket, which was empty where the rest begins.
        """
        events = self._events
        begins = [i for i in range(1, len(events)) if not events[i][1] and events[i - 1][1]]
        if len(begins) < 4:
            return False
        cut = begins[len(begins) // 2]
        if len(events) - cut < 30 or events[cut][0] - events[0][0] < 3.0:
            return False
        del events[:cut]
        self._x0 = depth
        return True

    def supposing(self, pending: Sequence[tuple[float, int]]) -> Evidence:
        """Return the evidence as it is if what has no answer yet was admitted.

        Args:
            pending: when each was sent, and how many were under way with it.
        """
        if not pending:
            return self
        whole = Evidence()
        whole._events = sorted(self._events + [(at, 1, under_way) for at, under_way in pending])
        whole._x0, whole.contacts = self._x0, self.contacts
        return whole

    def since(self, at: float) -> Evidence:
        """Return the evidence since a moment.

        Args:
            at: the moment.
        """
        part = Evidence()
        part._events = self._events[bisect_left(self._events, (at,)) :]
        return part

    def admitted(self, since: float, until: float) -> int:
        """How many were admitted.

        Args:
            since: from when on.
            until: before when.
        """
        events = self._events
        return sum(event[1] for event in events[bisect_left(events, (since,)) : bisect_left(events, (until,))])

    def first(self, since: float) -> float | None:
        """When the first was sent.

        Args:
            since: after which moment.
        """
        events = self._events
        index = bisect_left(events, (since, math.inf))
        return events[index][0] if index < len(events) else None

    @property
    def began(self) -> float:
        """When the first was sent that is known."""
        return self._events[0][0]

    def count(self) -> int:
        """Count the refusals, of which those in a row count once."""
        events = self._events
        self.contacts = sum(1 for one, other in itertools.pairwise(events) if other[1] and not one[1])
        return self.contacts

    @property
    def refusals(self) -> int:
        """How many were refused."""
        return sum(1 for event in self._events if not event[1])

    def openings(self) -> list[tuple[float, float]]:
        """Return the last refusals before something was admitted again, each with when that was sent."""
        events = self._events
        pairs = itertools.pairwise(events)
        return [(one[0], other[0]) for one, other in pairs if other[1] and not one[1]]

    def bucket(self, uneven: float, fastest: float) -> Range:
        """Find the rates at which a bucket explains it.

        Args:
            uneven: seconds by which requests may come closer to each other than they were sent.
            fastest: requests a second, which were tried.
        """
        events = self._events
        average = sum(event[1] for event in events) / max(events[-1][0] - events[0][0], 1e-3)
        top = max(4.0 * average, 2.0 * fastest)
        rates = [top * _STEP**-index for index in range(_CANDIDATES)]
        # The longer it is watched, the narrower is what explains it: no grid finds that.
        rates = sorted([*rates, *(rate for rate in self._drained() if rates[-1] < rate < top)], reverse=True)
        costs = [self._bucket_costs(rate, uneven) for rate in rates]
        least = min(costs)
        best = rates[costs.index(least)]
        narrow, wide = best / _STEP, best * _STEP
        for _ in range(7):
            one, other = narrow + (wide - narrow) * 0.4, narrow + (wide - narrow) * 0.6
            cost, costs_other = self._bucket_costs(one, uneven), self._bucket_costs(other, uneven)
            for rate, its in ((one, cost), (other, costs_other)):
                if its < least:
                    least, best = its, rate
            if cost <= costs_other:
                wide = other
            else:
                narrow = one
        enough = least + _AS_GOOD
        good = [rate for rate, cost in zip(rates, costs, strict=True) if cost <= enough]
        low, high = min([*good, best]), max([*good, best])
        low = 0.0 if low == rates[-1] else self._edge(low, low / _STEP, enough, uneven)
        high = math.inf if high == top else self._edge(high, high * _STEP, enough, uneven)
        return Range(least, low, high, self._bucket(best)[0])

    def _drained(self) -> list[float]:
        """Requests a second between refusals: a bucket was empty at each, so what was admitted is what flowed in."""
        events = self._events
        contacts: list[tuple[float, int]] = []
        count = 0
        for index, (at, admitted, _) in enumerate(events):
            count += admitted
            if not admitted and index and events[index - 1][1]:
                contacts.append((at, count))
        if len(contacts) < 2:
            return []
        ends = contacts[-_CONTACTS:]
        pairs = {(contacts[0], ends[-1]), *((one, ends[-1]) for one in ends[:-1]), *itertools.pairwise(ends)}
        return [(other[1] - one[1]) / (other[0] - one[0]) for one, other in pairs if other[0] > one[0]]

    def _edge(self, good: float, bad: float, enough: float, uneven: float) -> float:
        for _ in range(5):
            middle = math.sqrt(good * bad)
            if self._bucket_costs(middle, uneven) <= enough:
                good = middle
            else:
                bad = middle
        return good

    def _bucket_costs(self, rate: float, uneven: float) -> float:
        depth, rows = self._bucket(rate)
        noise = 0.05 + rate * (0.5 * uneven + _MILLISECOND) + _COARSE * min(depth, _MOST_COARSE)
        cost = loss(rows, depth, noise)
        # What drowns in noise explains nothing.
        blur = 2.0 * noise / max(1.0, depth) - 1.0
        if blur > 0.0:
            cost += 2.0 * min(blur, 3.0) * self.contacts
        return cost + max(0.0, math.log(depth / (_DEEP * rate))) * _TOO_DEEP if depth > 0.0 else cost

    def _bucket(self, rate: float) -> tuple[float, list[float]]:
        """Return the highest level that was admitted, and the lowest of each row that was refused."""
        level = most = self._x0
        before = self._events[0][0]
        rows: list[float] = []
        row = math.inf
        for at, admitted, _ in self._events:
            level -= rate * (at - before)
            before = at
            if admitted:
                # Not by max(), which takes twice as long: this is where the time goes.
                if level < 0.0:
                    level = 0.0
                level += admitted
                if level > most:
                    most = level
                if row < math.inf:
                    rows.append(row)
                    row = math.inf
            elif level + 1.0 < row:
                # Below nothing where it had run dry: the longer ago, the less is a refusal explained.
                row = level + 1.0
        if row < math.inf:
            rows.append(row)
        return most, rows

    def log(self, window: float, uneven: float, *, block: bool = False) -> Range:
        """Find the quotas a second at which a log of a window explains it.

        Args:
            window: seconds.
            uneven: as for a bucket.
            block: of those in a row that were refused the first counts only.
        """
        events = self._events
        first = count = most = 0
        rows: list[float] = []
        row = math.inf
        for at, admitted, _ in events:
            while events[first][0] <= at - window:
                count -= events[first][1]
                first += 1
            if admitted:
                count += admitted
                most = max(most, count)
                if row < math.inf:
                    rows.append(row)
                    row = math.inf
            elif row == math.inf or (count < row and not block):
                row = count
        if row < math.inf:
            rows.append(row)
        return _quota(rows, most, window, uneven)

    def fixed(self, window: float, turns: Sequence[float], uneven: float) -> Range:
        """Find the quotas a second at which windows that turn together explain it.

        Args:
            window: seconds.
            turns: when one may have turned.
            uneven: as for a bucket.
        """
        return min(_quota(*self._since_turn(window, turn, 0.0, 0), window, uneven) for turn in turns)

    def counter(self, window: float, turns: Sequence[float], uneven: float, *, refused: bool) -> Range:
        """Find the quotas a second at which windows explain it of which the last counts in part.

        Args:
            window: seconds.
            turns: when one may have turned.
            uneven: as for a bucket.
            refused: what is refused counts as well.
        """
        return min(
            _quota(*self._since_turn(window, turn, 1.0, int(refused)), window, uneven, exact=True) for turn in turns
        )

    def _since_turn(self, window: float, turn: float, part: float, refused: int) -> tuple[list[float], float]:
        count = before = 0
        most = 0.0
        index: int | None = None
        rows: list[float] = []
        row = math.inf
        floor = math.floor
        for at, admitted, _ in self._events:
            phase = (at - turn) / window
            now = floor(phase)
            if now != index:
                before = count if index is not None and now == index + 1 else 0
                index, count = now, 0
            level = count + part * before * (1.0 - (phase - now))
            if admitted:
                count += admitted
                most = max(most, level + admitted)
                if row < math.inf:
                    rows.append(row)
                    row = math.inf
            else:
                level += part
                row = min(row, level)
                count += refused
        if row < math.inf:
            rows.append(row)
        return rows, most

    def connections(self, uneven: float) -> Range:
        """Find the limit of what is under way that explains it: the least that was refused.

        Args:
            uneven: as for a bucket.
        """
        events = self._events
        most = 0
        rows: list[float] = []
        row = math.inf
        for index, (at, admitted, under_way) in enumerate(events):
            if admitted:
                most = max(most, under_way)
                if row < math.inf:
                    rows.append(row)
                    row = math.inf
                continue
            # It may have come after those that were sent right after it.
            other = index - 1
            while other >= 0 and events[other][0] >= at - uneven:
                under_way = max(under_way, events[other][2])  # noqa: PLW2901
                other -= 1
            row = min(row, under_way)
        if row < math.inf:
            rows.append(row)
        least = min(rows, default=math.inf)
        # Above the limit most are refused; what is on its way back is under way for us only.
        surely = 1.1 * least + 1.0
        above = sum(event[1] for event in events if event[1] and event[2] > surely)
        return Range(loss(rows, most, 1.5 + 0.1 * most) + min(12.0, above / max(1, self.refusals)), 0.0, least)


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
        for level in rows:
            if level < low:
                early = min((low - level) / noise, _ACCIDENT)
                total += early * early
        best = min(best, total)
    return best


def _quota(rows: list[float], most: float, window: float, uneven: float, *, exact: bool = False) -> Range:
    noise = 0.3 + _COARSE * most + most / window * (0.7 * uneven + _MILLISECOND)
    high = most if exact else max(most, min((row for row in rows if row >= most - noise), default=most))
    # Evenly spaced, and as far apart as the server has to see them.
    span = window + 0.002 + 1.5 * uneven
    return Range(loss(rows, most - (0.0 if exact else 0.3), noise), most / span, high / span)
