"""v2 draft."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from enum import Enum, auto
from typing import Final

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.measured import RoundTrip
from clarus_async.ratelimit.told import PaceSource

_SECOND: Final = 1.0
_LONGEST: Final = 3600.0
_MOST: Final = 800
_BIN: Final = 0.008


class Sent:
    __slots__ = ("at", "pace", "under", "look")

    def __init__(self, at, pace, under, look):
        self.at, self.pace, self.under, self.look = at, pace, under, look


_TRUST = 3.0


def _loss(levels, most, noise):
    """By how many times the noise refusals came too early, squared. Those in a row count once."""
    loss = row = 0.0
    for level in levels:
        if level is None:
            loss += row * row
            row = 0.0
        else:
            early = (most - level) / noise - 0.5
            if early > row:
                row = early if early < _TRUST else _TRUST
    return loss + row * row


class Record:
    """What was admitted and refused, in the order in which it was sent: (time, how many admitted; 0: refused, under)."""

    def __init__(self):
        self.events = []  # (at, n, under)
        self.x0 = 0.0

    def add(self, at, ok, under):
        ev = self.events
        i = len(ev)
        while i > 0 and ev[i - 1][0] > at:
            i -= 1
        ev.insert(i, (at, 1 if ok else 0, under))

    def trim(self, now):
        ev = self.events
        if ev[0][0] < now - 90.0:
            del ev[: bisect_left(ev, (now - 60.0,))]
            self.x0 = 0.0
        if len(ev) > 2 * _MOST:
            # Older ones may be coarser.
            old, new = ev[:-_MOST], ev[-_MOST:]
            merged = []
            paired = True
            for at, n, under in old:
                if n and merged and merged[-1][1] and not paired:
                    last = merged[-1]
                    merged[-1] = (at, last[1] + n, max(under, last[2]))
                    paired = True
                else:
                    merged.append((at, n, under))
                    paired = False
            self.events = merged + new

    def forget(self, burst):
        """Drop the older half."""
        ev = self.events
        starts = [i for i in range(1, len(ev)) if not ev[i][1] and ev[i - 1][1]]
        if len(starts) >= 4:
            cut = starts[len(starts) // 2]
            if len(ev) - cut >= 30 and ev[cut][0] - ev[0][0] > 3.0:
                del ev[:cut]
                self.x0 = burst

    def drip(self, r, slack):
        x = most = self.x0
        before = self.events[0][0]
        levels = []
        for at, n, _ in self.events:
            x -= r * (at - before)
            before = at
            if n:
                if x < 0.0:
                    x = 0.0
                x += n
                if x > most:
                    most = x
                if levels and levels[-1] is not None:
                    levels.append(None)
            else:
                levels.append(x + 1.0)
        return most, _loss(levels, most, slack + 0.02 * min(most, 50.0))

    def cost(self, r, slack):
        most, loss = self.drip(r, slack(r))
        # Few are deeper than what flows into them within some seconds.
        return loss + max(0.0, math.log(most / (8.0 * r))) * 3.0

    def bucket(self, uneven):
        """loss, lo, hi, burst."""
        ev = self.events
        span = ev[-1][0] - ev[0][0]
        avg = sum(e[1] for e in ev) / max(span, 1e-3)
        grid = [avg * 1.15**k for k in range(-20, 11)]
        slack = lambda r: 0.05 + r * (0.5 * uneven + 0.0005)
        tried = [(self.cost(r, slack), r) for r in grid]
        least, best = min(tried)
        # Refine.
        a, b = best / 1.15, best * 1.15
        for _ in range(7):
            m1, m2 = a + (b - a) * 0.4, a + (b - a) * 0.6
            l1, l2 = self.cost(m1, slack), self.cost(m2, slack)
            if l1 < least:
                least, best = l1, m1
            if l2 < least:
                least, best = l2, m2
            if l1 <= l2:
                b = m2
            else:
                a = m1
        ok = least + 2.0
        good = [r for l, r in tried if l <= ok] + [best]
        lo, hi = min(good), max(good)
        lo = 0.0 if lo == grid[0] else self._edge(lo, lo / 1.15, ok, slack)
        hi = math.inf if hi == grid[-1] else self._edge(hi, hi * 1.15, ok, slack)
        return least, lo, hi, self.drip(best, 1.0)[0], best

    def _edge(self, good, bad, ok, slack):
        for _ in range(5):
            mid = math.sqrt(good * bad)
            if self.cost(mid, slack) <= ok:
                good = mid
            else:
                bad = mid
        return good

    def log(self, window, uneven, block=False):
        """loss, lo, hi of the quota."""
        ev = self.events
        i = 0
        c = most = 0
        levels = []
        for at, n, _ in ev:
            while ev[i][0] <= at - window:
                c -= ev[i][1]
                i += 1
            if n:
                c += n
                most = max(most, c)
                if levels and levels[-1] is not None:
                    levels.append(None)
            elif not block or not levels or levels[-1] is None:
                levels.append(c)
        noise = 0.3 + 0.02 * most + (most / window) * (0.7 * uneven + 0.0005)
        slack = noise
        loss = _loss(levels, most - 0.3, noise)
        hi = min([u for u in levels if u is not None and u >= most - slack], default=most)
        fit = window / (window + 0.002 + 1.5 * uneven)
        return loss, most * fit, max(most, hi) * fit

    def fixed(self, window, turn, uneven):
        """loss, lo, hi of the quota, of windows that turn at a moment."""
        c = most = 0
        index = None
        levels = []
        floor = math.floor
        for at, n, _ in self.events:
            k = floor((at - turn) / window)
            if k != index:
                index, c = k, 0
            if n:
                c += n
                most = max(most, c)
                if levels and levels[-1] is not None:
                    levels.append(None)
            else:
                levels.append(c)
        noise = 0.3 + 0.02 * most + (most / window) * (0.7 * uneven + 0.0005)
        slack = noise
        loss = _loss(levels, most - 0.3, noise)
        hi = min([u for u in levels if u is not None and u >= most - slack], default=most)
        fit = window / (window + 0.002 + 1.5 * uneven)
        return loss, most * fit, max(most, hi) * fit

    def turns(self):
        """Between which moments something opened: (last refused, first admitted) after walls."""
        ev = self.events
        found = []
        for (a, n, _), (b, m, _) in zip(ev, ev[1:]):
            if not n and m:
                found.append((a, b))
        return found[-6:]

    def connections(self, uneven):
        """loss, the least that was refused."""
        ev = self.events
        most = 0
        levels = []
        for i, (at, n, under) in enumerate(ev):
            if n:
                most = max(most, under)
                if levels and levels[-1] is not None:
                    levels.append(None)
            else:
                # Arrivals may swap: with those that were sent right after it.
                j = i + 1
                while j < len(ev) and ev[j][0] <= at + uneven:
                    under = max(under, ev[j][2])
                    j += 1
                levels.append(under)
        least = min(u for u in levels if u is not None)
        return _loss(levels, most, 1.0 + 0.06 * most), least

    def runs(self):
        ev = self.events
        return sum(1 for a, b in zip(ev, ev[1:]) if not a[1] and b[1])

class Mode(Enum):
    START = auto()
    RUN = auto()
    LOOK = auto()


class Limiter:
    def __init__(self, policy: PacingPolicy) -> None:
        self._policy = policy
        self.source = PaceSource.NONE if policy.rate is None else PaceSource.GIVEN
        self._mode = Mode.START
        self._floor = self._next = self._last = -math.inf
        self._pace = math.inf
        self._room = 2.0
        self._cap = math.inf
        self._out: set[Sent] = set()
        self._looking: Sent | None = None
        self._due = 0.0
        self._trip = RoundTrip()
        self._admitted: list[float] = []
        self._count = 0  # admitted in all
        self._began: float | None = None
        self._rec = Record()
        self._burst = 0.0
        # contact
        self._cut_at = -math.inf
        self._shut = -math.inf
        self._refused_last = -math.inf
        self._since_shut = 0
        self._looks = 0
        self._unproved = False
        self._ra = 0.0
        self._first = True
        self._gap = 0.1
        # cycle
        self._opened = None
        self._m = 0
        # pace steps
        self._lo, self._hi = 0.0, math.inf
        self._testing, self._calm = False, 0
        self._step_at = -math.inf
        self._step_m = 0
        self._step_need, self._step_for = 60.0, 4.0
        self._window = 0.0
        self._drips = False
        self._kind = None
        self._walls = []
        self._strikes = 0
        self._cap_fails = 0
        self._cost = 0.0
        self._failed = None
        self._cap_test = False
        self._failed_hi = math.inf
        if policy.rate is not None:
            self._mode = Mode.RUN
            self._pace = policy.rate
            self._room = math.inf

    @property
    def rate(self):
        return None if self._pace == math.inf else self._pace

    def ask(self, now):
        if now < self._floor:
            return self._floor - now
        if self._mode is Mode.LOOK:
            if self._looking is not None:
                return None
            return max(0.0, self._due - now)
        out = len(self._out)
        if out >= self._cap:
            return None
        if out >= self._room:
            return max(0.0, self._last + _SECOND - now) if self._mode is Mode.START else None
        wait = self._next - now
        return wait if wait > 0 else 0.0

    def send(self, now):
        if self._began is None:
            self._began = now
        self._last = now
        look = self._mode is Mode.LOOK
        sent = Sent(now, self._pace, len(self._out) + 1, look)
        if look:
            self._looking = sent
        elif self._pace != math.inf:
            self._next = max(self._next, now - self._late()) + 1.0 / self._pace
        self._out.add(sent)
        return sent

    def _late(self):
        if self.source is PaceSource.GIVEN:
            burst = self._policy.burst
            return 0.1 if burst is None else (burst - 1) / self._pace + min(0.005, 1 / self._pace)
        return 0.01

    def lost(self, sent):
        self._out.discard(sent)
        if sent is self._looking:
            self._looking = None

    unsent = lost

    def answered(self, sent, now, told=None):
        self.lost(sent)
        self._trip.add(now - sent.at)
        at = self._admitted
        if at and sent.at < at[-1]:
            insort(at, sent.at)
        else:
            at.append(sent.at)
        self._count += 1
        if self.source is PaceSource.GIVEN:
            return
        self._rec.add(sent.at, True, sent.under)
        if self._mode is Mode.START:
            n = self._count
            self._room = max(min(16.0, 2 + n / 2), n / 8)
            return
        if sent.at > self._shut:
            self._since_shut += 1
        if sent.at <= self._cut_at:
            return
        if self._mode is Mode.LOOK:
            self._open(sent.at, now)
            return
        if self._unproved:
            self._unproved = False
            self._opened, self._m = sent.at, 0
        self._m += 1
        self._step_m += 1
        self._room = 2 + self._m / 2
        if self._step_m >= self._step_need and now - self._step_at >= self._step_for:
            self._step_up(now)

    def refused(self, sent, now, retry_after, told=None):
        self.lost(sent)
        if retry_after is not None:
            self._ra = min(retry_after, _LONGEST)
            self._floor = max(self._floor, now + self._ra)
        if self.source is PaceSource.GIVEN:
            return
        self._refused_last = max(self._refused_last, sent.at)
        if self._cap_test and sent.at > self._cut_at:
            self._cap_fails, self._cap_test = self._cap_fails + 1, False
        elif self._kind == "connections" and sent.at > self._cut_at and sent.under <= self._cap:
            self._strikes += 1
        self._rec.add(sent.at, False, sent.under)
        if self._mode is Mode.LOOK:
            if sent.look:
                self._look_again(sent, now)
            return
        if sent.at <= self._cut_at:
            return
        self._contact(sent, now)

    # contact
    def _contact(self, sent, now):
        again = self._unproved
        if self._mode is Mode.START:
            self.source = PaceSource.LEARNED
            self._opened, self._m = self._began, self._count
        if not again:
            self._shut = sent.at
            self._since_shut = len(self._admitted) - bisect_right(self._admitted, sent.at)
        self._cut_at = now
        if not again and self._mode is Mode.RUN and self._pace < math.inf:
            self._failed_hi = self._pace * (1.0 + 1.5 / max(1, self._step_m))
            if self._step_m >= 20 and sent.at - self._step_at >= self._window:
                self._failed = self._pace
        if self._drips and not again and self._m >= 2 and not self._ra:
            self._unproved = True
            self._cost = 0.0
            self._think(now)
            self._next = max(self._next, now + 0.5 / self._pace)
            return
        self._mode = Mode.LOOK
        self._looks = 0
        self._gap = 1.0 / (self._pace if self._pace < math.inf else max(10, self._second_before(sent.at)))
        self._due = max(self._floor, sent.at + self._gap, now)
        if self._window and self._opened is not None:
            self._due = max(self._due, self._opened + self._window)

    def _second_before(self, at):
        return bisect_right(self._admitted, at) - bisect_right(self._admitted, at - _SECOND)

    def _look_again(self, sent, now):
        self._looks += 1
        lasted = now - self._shut
        due = now + min(max(self._gap, lasted * 0.6, 0.02), 3.0 if lasted < 60 else lasted / 20)
        # the second in which it was met is over
        i = bisect_right(self._admitted, self._shut - _SECOND)
        anchors = [self._shut + _SECOND + self._trip.margin]
        if i < len(self._admitted):
            anchors.insert(0, self._admitted[i] + _SECOND + self._trip.margin)
        for anchor in anchors:
            if now < anchor < due + 0.3 * (anchor - self._shut):
                due = anchor
                break
        self._due = max(due, self._floor)

    def _open(self, p, now):
        self._mode = Mode.RUN
        if p - self._shut > 1.2 and not self._ra or self._ra > 2.0:
            self._walls.append((self._refused_last, p))
            del self._walls[:-4]
        self._cost = p - self._shut
        self._think(now, p)
        self._opened, self._m = p, 1
        self._room = 2.5
        self._first = False

    def _think(self, now, p=None):
        rec = self._rec
        rec.trim(now)
        uneven = self._trip.unevenness
        found = self._weigh(uneven, p, now)
        runs = rec.runs()
        if runs > 4 and found[0][0] > 9.0 + 1.0 * runs:
            rec.forget(self._burst)
            found = self._weigh(uneven, p, now)
        self.why = found
        best = found[0][0]
        standing = [f for f in found if f[0] <= best + 2.0]
        chosen = max(standing, key=self._target)
        loss, kind, lo, hi, window = chosen
        self._kind = kind
        self._calm = 0
        self._window = window
        self._drips = kind == "bucket" and (len(standing) == 1 or not self._first)
        if kind == "bucket":
            hi = max(lo, min(hi, self._failed_hi))
        failed, self._failed = self._failed, None
        if failed is not None and lo > 0.99 * failed:
            lo = 0.99 * failed
            hi = min(hi, failed)
            if hi < lo * 1.03:
                hi = lo
        self._lo, self._hi = lo, hi
        self._cap = math.inf
        if kind == "connections":
            self._cap = hi - 1
            self._lo, self._hi, self._testing, self._pace = 0.0, math.inf, False, math.inf
            self._next = now
            self._step_at, self._step_m = now, 0
            self._step_need, self._step_for = 3 * self._cap, 8.0 * self._cap_fails
            return
        self._aim(now)
        if p is not None:
            self._next = max(now, p + 1.0 / self._pace)

    def _target(self, found):
        _, kind, lo, hi, _ = found
        if kind == "connections":
            return max(1, hi - 1) / max(1e-3, self._trip.seconds)
        if kind == "bucket":
            return self._between(lo, hi)
        return lo

    def _between(self, lo, hi):
        if hi == math.inf:
            hi = max(2.0 * lo, self._second_before(self._shut) / max(0.05, min(1.0, self._shut - self._began)))
        if lo == 0.0:
            return hi / 2.0
        if hi > 1.3 * lo:
            return min(2 * lo, math.sqrt(lo * hi))
        if hi > 1.03 * lo:
            return lo + (hi - lo) * 0.4
        return lo

    def _weigh(self, uneven, p, now):
        rec = self._rec
        loss, lo, hi, self._burst, _ = rec.bucket(uneven)
        found = [(loss, "bucket", lo, hi, 0.0)]
        turns = rec.turns()
        windows = {1.0: 0.0}
        long = [(k, o) for k, o in self._walls]
        if long:
            first = long[0][1] - self._began
            windows[first] = 0.6
            for (k, o), (k2, o2) in zip(long, long[1:]):
                windows[o2 - o] = 0.4
                whole = round(o2 - o)
                if k2 - o <= whole <= o2 - k and whole > 1:
                    windows[float(whole)] = 0.2
        for window, prior in windows.items():
            loss, lo, hi = rec.log(window, uneven)
            found.append((loss + 0.3 + prior, "log", lo / window, hi / window, window))
            best = None
            for turn in self._phases(turns, window, uneven):
                it = rec.fixed(window, turn, uneven)
                if best is None or it[0] < best[0]:
                    best = it
            if best is not None:
                found.append((best[0] + 0.5 + prior, "fixed", best[1] / window, best[2] / window, window))
        loss, lo, hi = rec.log(_SECOND, uneven, block=True)
        found.append((loss + 1.0, "block", lo * 0.97, hi * 0.97, 1.0))
        loss, under = rec.connections(uneven)
        if under > 1:
            found.append((loss + 0.5 + 3.0 * self._strikes, "connections", 0, under, 0.0))
        # What was admitted from opening to opening, where nothing explains it.
        if self._walls:
            ev = rec.events
            since = self._walls[-1][1] if now - self._walls[-1][1] > 3.0 else (self._walls[-2][1] if len(self._walls) > 1 else self._began)
            upto = p if p is not None else now
            count = sum(n for at, n, _ in ev if since <= at < upto)
            a = count / max(0.1, upto - since)
            found.append((8.0, "average", a, a, 0.0))
            start = self._walls[-1][1]
            index = bisect_left(ev, (start,))
            if len(ev) - index > 5 and any(not e[1] for e in ev[index:]):
                whole, x0 = rec.events, rec.x0
                rec.events, rec.x0 = ev[index:], 0.0
                loss, lo, hi, burst, _ = rec.bucket(uneven)
                rec.events, rec.x0 = whole, x0
                found.append((loss + 2.0, "bucket", lo, hi, 0.0))
        found.sort(key=lambda f: f[0])
        return found

    def _phases(self, turns, window, uneven):
        """When a window may turn."""
        if not turns:
            return []
        # The narrowest that has room for a turn at all, made narrower by those that agree with it.
        turns = [t for t in turns if t[1] - t[0] < window]
        if not turns:
            return []
        k, o = min(turns, key=lambda t: t[1] - t[0])
        k -= uneven
        for k2, o2 in turns:
            n = round(((k + o) / 2 - (k2 + o2) / 2) / window)
            low, high = max(k, k2 - uneven + n * window), min(o, o2 + n * window)
            if low < high:
                k, o = low, high
        return [k + (o - k) * part for part in (0.05, 0.25, 0.5, 0.75, 0.95)]

    # paces
    def _aim(self, now):
        lo, hi = self._lo, self._hi
        rate = max(0.2, self._between(lo, hi))
        self._testing = rate > lo
        self._pace = rate
        self._next = max(now, min(self._next, now + 1.0 / rate))
        self._step_at, self._step_m = now, 0
        if self._testing or self._calm:
            self._step_need = 2.0 / (1 - lo / rate) if rate > lo * 1.0001 else 100
            self._step_for = 1.2 * self._window
        else:
            self._step_need = 60
            self._step_for = max(4.0, 40.0 * self._cost) if not self._drips else 4.0

    def _step_up(self, now):
        if self._pace == math.inf:
            if len(self._out) >= self._cap - 1:
                self._cap += max(1, self._cap // 4)
                self._cap_test = True
            self._step_at, self._step_m = now, 0
            self._step_need, self._step_for = 3 * self._cap, 0.0
            return
        self._lo = max(self._lo, self._pace)
        self._failed_hi = math.inf
        if self._testing and not self._calm:
            self._aim(now)
            return
        # Calm: up by more and more.
        self._calm += 1
        rate = self._lo * (1.0 + 0.04 * min(2.0 ** (self._calm - 1), 12.0))
        self._hi = max(self._hi, rate)
        self._testing = True
        self._pace = rate
        self._next = max(now, min(self._next, now + 1.0 / rate))
        self._step_at, self._step_m = now, 0
        self._step_need, self._step_for = 2.0 / (1 - self._lo / rate), 1.2 * self._window
