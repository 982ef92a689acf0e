"""The rate limiter: what limits a tenant is estimated from when its requests were sent, admitted and refused.

**What there is to find.** A server limits by a token bucket (nginx ``limit_req``, GCRA), by a quota per window that is
fixed or slides (a log, a counter), by how many requests are in flight (``limit_conn``), or by a quota after which
everything is refused for a while (a block). It says neither which, nor with what parameters, and the first refusal
comes when the quota has been used up. All there is to go by are two lists of times: what was admitted, and what was
refused.

**Terms.** A *hit* is a refusal after something was admitted: the limit was hit. A *lockout* is the time after a hit in
which everything is refused; one request at a time, a *probe*, finds out whether it is over. The first admission after
it is the *reopening*. A *floor* is a moment before which nothing goes out, because the server said so.

**The estimate.** Each kind of limit is a hypothesis: a level that its limiter would have counted (``evidence``). How
early the refusals came, by that level, is its loss, and the rates at which the loss is small are its range. After each
hit all hypotheses are weighed (``hypotheses``). The likeliest one stands, and so do those that are almost as likely.
What none explains has a kind of its own, with the average as its rate: sliding counters, several levels, and other
clients on the same quota end there.

**The rate.** Of the hypotheses that stand, the one that allows most is followed: if that is wrong, the next refusal
comes soon and costs one request, while a rate that is too low is never refuted. Within its range, constant rates are
tried one after the other, and now and then one above it; or a cap on what is in flight (``search``). Where the rate
fell and refusals are no rarer, others use the same quota, and it goes back to where it was. A rate is kept as by GCRA:
each request moves the time of the next slot, and what was missed is made up for as far as a tolerance allows.

**Slow start.** Until the first hit, no more is in flight than an eighth of what was answered, or up to sixteen, so that
the first refusal is one of few. After a hit on a limit whose slots come back one by one, the next slot is used; after
any other, there is a lockout (``lockouts``).

**What is known better.** Retry-After is a floor. A rate that the caller gives is kept exactly. A quota that the server
advertises is kept by window (``advertised``). A refusal under either costs its Retry-After and teaches nothing; two
within a window contradict what was advertised.

Times are seconds on a monotonic clock that may begin anywhere; they are arguments, as nothing here reads a clock.
Constants that weigh one cost against another were calibrated in simulated worlds (``tests/zoo``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.advertised import AdvertisedQuota
from clarus_async.ratelimit.evidence import Evidence, Hypothesis
from clarus_async.ratelimit.headers import RateLimitHeaders
from clarus_async.ratelimit.hypotheses import UNKNOWN_LOSS, weigh
from clarus_async.ratelimit.lockouts import Lockouts
from clarus_async.ratelimit.pace import MEASURED_EACH, MEASURED_FIRST, Limit, LimitKind, PaceSource, RoundTrip, Sent
from clarus_async.ratelimit.search import EXPENSIVE, ConcurrencySearch, HitSummary, RateSearch, between

# Seconds. Whatever a server says, it is asked again after an hour.
_LONGEST_FLOOR: Final = 3600.0
_LONG_AGO: Final = -_LONGEST_FLOOR
# Looked up in the class it takes as long as all the rest of asking.
_TOLD: Final = PaceSource.TOLD
_SECOND: Final = 1.0
# Seconds over which a peak is measured at the least: in less, two requests that happen to be close are a high rate.
_SHORT: Final = 0.05

# Slow start: two in flight, and one more for each two answers, up to sixteen; beyond that an eighth of what was
# answered. Each second without an answer lets one more go: a slow one must not stop all.
_FIRST: Final = 2.0
_PER_ANSWER: Final = 0.5
_SOON: Final = 16.0
_PER_ALL: Final = 0.125
# Of what was refused before two answers nothing is learned: no quota shows in it.
_LITTLE: Final = 2

# Seconds. Event loops run timers late, by a few milliseconds mostly. What was missed is made up for, as far as it can't
# be taken for a burst; where a rate is given, up to a tenth of a second.
_TIMER: Final = 0.005
_LATE: Final = 0.01
_LATEST: Final = 0.1
# A limiter with a burst of one refuses what comes a millisecond early. So nothing is made up for, and requests are half
# a millisecond further apart, or a hundredth of their distance where that is less.
_SINGLE: Final = 1.5
_HALF_MILLISECOND: Final = 0.0005
_PART: Final = 0.01

# Requests a second that are assumed where fewer were admitted before a hit: the first probe comes a slot later.
_UNKNOWN_RATE: Final = 10.0
# Until there were as many hits and answers, the other hypotheses that stand bound the search, too.
_FEW_HITS: Final = 2
_PLENTY: Final = 20

# By how much more loss than the likeliest a hypothesis still stands, with optimism on top, which fades with each hit,
# and where a hit costs more than some fifty requests.
_STANDS: Final = 0.5
_OPTIMISM: Final = 1.5
_MUCH: Final = 50.0
# Above this loss nothing explains it well, and what is of no known kind stands as well.
_POOR: Final = 3.0
# By how much a block's rate has to exceed the others' to be approached step by step, where a lockout is expensive.
_FAR_APART: Final = 2.0
# Reopenings that are kept, to average from: older ones are of a limit that may have changed.
_REOPENINGS: Final = 20
# A range is searched for the rate of these; others are known by their quota.
_SEARCHED: Final = frozenset({LimitKind.BUCKET, LimitKind.BLOCK, LimitKind.UNKNOWN})


class AdaptiveRateLimiter:
    """The rate limiter of one tenant, or of all where they share a quota.

    For each request that ``send`` notes, one of ``answered``, ``refused``, ``lost`` and ``unsent`` follows.
    """

    def __init__(self, policy: PacingPolicy) -> None:
        self._given = policy.rate
        self._burst = policy.burst
        self._start = policy.start
        self._round_trip = RoundTrip()
        self._out: set[Sent] = set()
        self._floor = self._last = _LONG_AGO
        self._begin()
        if policy.rate is not None:
            self.source: PaceSource = PaceSource.GIVEN
            self._rate, self._most = policy.rate, math.inf
            self._late = _LATEST
            if policy.burst is not None:
                # A limiter that lets no two come together counts milliseconds; others have room for a late timer.
                self._gap = min(_HALF_MILLISECOND, _PART / policy.rate) if policy.burst == 1 else 0.0
                self._late = (policy.burst - 1) / policy.rate
                self._late += 0.0 if self._gap else min(_TIMER, 1.0 / policy.rate)

    def _begin(self) -> None:
        """Know nothing."""
        self.source = PaceSource.NONE
        self.followed: Hypothesis | None = None
        self._bucket: Hypothesis | None = None  # what a bucket would be
        self._first_sent: float | None = None
        self._evidence = Evidence()
        self._lockouts = Lockouts()
        self._quota = AdvertisedQuota()
        self._stray_at = _LONG_AGO  # the last refusal that did not contradict what is advertised
        self._rate = math.inf if self._start is None else self._start
        self._most = _FIRST if self._start is None else math.inf  # in flight
        self._next = _LONG_AGO  # slot
        self._gap = 0.0  # seconds between two requests beyond what the rate asks for
        self._late = _LATE  # seconds that are made up for
        self._search = RateSearch()
        self._concurrency = ConcurrencySearch()
        self._answers = self._used = 0
        # In a lockout.
        self._locked_out = False
        self._probe: Sent | None = None
        self._probe_at = 0.0
        # Since the last hit.
        self._hits = 0
        self._known_since = _LONG_AGO  # what was sent before that teaches nothing new
        self._unproved = False  # nothing that was sent since has been admitted
        self._retry_after = 0.0
        self._cost = 0.0  # seconds
        self._admissions = 0
        self._reopened: list[float] = []
        self._frees_slots = False  # it is a bucket, which is known well enough: its slots come back one by one

    # --- What the queue asks.

    @property
    def rate(self) -> float | None:
        """The rate that is believed to be allowed, in requests a second; ``None`` where nothing limits them."""
        return None if self._rate == math.inf or self.source is PaceSource.NONE else self._rate

    @property
    def limit(self) -> Limit | None:
        """What limits, as far as is known or believed; ``None`` where nothing does."""
        if self.source is PaceSource.GIVEN:
            return Limit(LimitKind.BUCKET, burst=self._burst)
        if self.source is PaceSource.TOLD:
            return Limit(LimitKind.WINDOW, window=self._quota.window)
        followed = self.followed
        if followed is None:
            return None
        if followed.kind is LimitKind.CONNECTIONS:
            return Limit(followed.kind, burst=int(self._concurrency.cap))
        return Limit(
            followed.kind,
            burst=max(1, round(followed.depth)) if followed.kind is LimitKind.BUCKET else None,
            window=followed.window or None,
            certainty=min(1.0, self._search.low / self._search.high),
        )

    def idle(self, now: float) -> float:
        """Return for how many seconds nothing was sent that might have been; 0 while a request is in flight."""
        if self._out:
            return 0.0
        return max(0.0, now - max(self._last, self._floor, self._probe_at if self._locked_out else self._next))

    def pause(self, now: float) -> float:
        """Return for how many seconds the server accepts nothing, as far as is known."""
        until = max(self._floor, self._probe_at) if self._locked_out and self._probe is None else self._floor
        return max(0.0, until - now)

    def next_slot(self, now: float) -> float:
        """Return in how many seconds the next request may go out, as far as is known."""
        return self.pause(now) if self._locked_out else max(self.pause(now), self._next - now)

    def ask(self, now: float) -> float | None:
        """Return how many seconds a request has to wait: 0 to go now, ``None`` until an answer has come."""
        if now < self._floor:
            return self._floor - now
        if self._locked_out:
            return None if self._probe is not None else max(0.0, self._probe_at - now)
        out = len(self._out)
        if out >= self._most:
            if self.followed is not None or out >= self._concurrency.cap:
                return None
            return max(0.0, self._last + _SECOND - now)
        if self.source is _TOLD:
            return max(0.0, self._next - now, self._quota.wait(now, out))
        # Not by max(), which takes twice as long: this is asked for each request.
        return self._next - now if now < self._next else 0.0

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after ``ask`` allowed it."""
        if self._first_sent is None:
            self._first_sent = self._lockouts.first_sent = self._lockouts.reopened = now
        self._last = now
        sent = Sent(now, len(self._out) + 1, self._locked_out)
        if self._locked_out:
            self._probe = sent
        elif self._rate < math.inf:
            self._next = max(self._next, now - self._late) + 1.0 / self._rate + self._gap
        self._out.add(sent)
        return sent

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer. A request that was reported already is ignored."""
        self._out.discard(sent)
        if sent is self._probe:
            self._probe = None

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all, so another may in its place."""
        if sent in self._out and not sent.probe and sent.at > self._known_since and self._rate < math.inf:
            self._next -= 1.0 / self._rate
        self.lost(sent)

    def answered(self, sent: Sent, now: float, headers: RateLimitHeaders | None = None) -> None:
        """Note an answer that is not a refusal."""
        self._out.discard(sent)
        at = sent.at
        self._answers = answers = self._answers + 1
        measured = answers < MEASURED_FIRST or not answers % MEASURED_EACH
        if measured:
            self._round_trip.add(now - at)
        if self._given is not None:
            return
        self._evidence.add(at, sent.in_flight)
        if headers is not None:
            self._read(headers, now)
        if self.followed is None:
            if measured or self._start is not None:
                self._slow_start()
        elif at > self._known_since:
            self._admitted(sent, now)
        elif sent is self._probe:
            self._probe = None

    def refused(
        self, sent: Sent, now: float, retry_after: float | None, headers: RateLimitHeaders | None = None
    ) -> None:
        """Note a refusal; a ``retry_after`` in seconds is kept up to an hour."""
        self.lost(sent)
        if retry_after is not None:
            self._retry_after = min(retry_after, _LONGEST_FLOOR)
            self.hold(retry_after, now)
        if self._given is not None:
            return
        at = sent.at
        if headers is not None:
            self._read(headers, now)
        # Those that arrived before it may have been sent a little later.
        late = at + self._round_trip.margin
        in_flight = max([sent.in_flight, *(other.in_flight for other in self._out if other.at <= late)])
        self._evidence.refused(at + self._round_trip.jitter, in_flight)
        if self.source is PaceSource.TOLD and not self._contradicted(at, now):
            return
        if at > self._known_since:
            self._concurrency.refused()
        if self._concurrency.cap < math.inf:
            # Where it is not what is in flight that is limited, the next in its place would be refused, too.
            self._most = max(1.0, self._most - 1.0)
        lockouts = self._lockouts
        lockouts.last_refused = max(lockouts.last_refused, at)
        if self._locked_out:
            if sent.probe:
                first = self._evidence.first(lockouts.began - _SECOND)
                # More and more rarely, also where the server says when to come back: it may say so for ever.
                self._probe_at = max(lockouts.next_probe(now, first, self._round_trip.margin), self._floor)
        elif at > self._known_since:
            self._hit(at, now)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for so many seconds, up to an hour, as a server asks that is down."""
        self._floor = max(self._floor, now + min(seconds, _LONGEST_FLOOR))

    def forget(self) -> None:
        """Begin the search for a limit again: what looked like one was not."""
        if self._given is None:
            self._begin()

    # --- What another process goes on with.

    def dump(self) -> dict[str, Any]:
        """Return what was learned, as JSON; times are on the limiter's clock."""
        return {
            "source": self.source,
            "followed": self.followed,
            "floor": self._floor,
            "next": self._next,
            "rate": self._rate,
            "range": [self._search.low, self._search.high],
            "cap": self._concurrency.cap,
            "quota": self._quota.dump(),
        }

    def load(self, learned: Mapping[str, Any]) -> None:
        """Go on with what ``dump`` returned elsewhere, on the same clock; any exception means that it was not that."""
        source, followed = PaceSource(learned["source"]), learned["followed"]
        self._floor, self._next = float(learned["floor"]), float(learned["next"])
        if self._given is not None or source is PaceSource.NONE:
            return
        self.source = source
        self._rate, self._most = float(learned["rate"]), math.inf
        self._search.rate = self._rate
        self._search.low, self._search.high = map(float, learned["range"])
        self._concurrency.cap = float(learned["cap"])
        if source is PaceSource.TOLD:
            self._quota.load(learned["quota"])
        if followed is not None:
            self.followed = Hypothesis(LimitKind(followed[0]), *map(float, followed[1:]))
            self._most = min(self._concurrency.cap, _SOON)
            self._hits = 1

    # --- What the server advertises.

    def _read(self, headers: RateLimitHeaders, now: float) -> None:
        rate = self._quota.read(headers, now, len(self._out))
        if rate is None or (self.followed is not None and self.source is not PaceSource.TOLD):
            return
        if self.source is not PaceSource.TOLD:
            self.source = PaceSource.TOLD
            self._most = math.inf
            # What went out already counts, and this one.
            self._next = max(now, self._lockouts.first_sent + (self._answers + 1 + len(self._out)) / rate)
        self._gap = self._quota.gap(self._round_trip.jitter)
        if rate != self._rate:
            # What went out before knew nothing of it.
            self._rate, self._stray_at = rate, _LONG_AGO
            self._known_since = now
        self._next = min(self._next, now + self._quota.window)

    def _contradicted(self, at: float, now: float) -> bool:
        """Return whether a refusal shows that the quota is not the one that is advertised."""
        before, self._stray_at = self._stray_at, now
        if at <= self._known_since or at <= before or now - before > max(self._quota.window, 2.0 * _SECOND):
            return False
        self._quota.forget()
        return True

    # --- What is learned.

    def _slow_start(self) -> None:
        """Let more go out, as an answer came."""
        answers = self._answers
        if self._start is not None:
            self._used += 1
            if self._used >= self._rate:
                # It was used for a second.
                self._used = 0
                self._rate *= 2.0
        elif self.source is PaceSource.NONE:
            self._most = max(min(_SOON, _FIRST + _PER_ANSWER * answers), _PER_ALL * answers)

    def _admitted(self, sent: Sent, now: float) -> None:
        """Learn from a request that was sent since the last hit."""
        if self._locked_out:
            self._probe = None
            self._reopen(sent.at, now)
            return
        if self._unproved:
            self._unproved = False
            self._admissions = 0
        self._admissions += 1
        search, concurrency = self._search, self._concurrency
        if concurrency.cap < math.inf:
            self._most = min(concurrency.cap, self._most + 1.0)
            concurrency.admitted(sent.at, now, len(self._out))
            return
        self._most = _FIRST + _PER_ANSWER * self._admissions
        if sent.at >= search.began and search.admitted(now, self._round_trip.seconds):
            self._keep_rate(now)
            if search.grown:
                # The limit is another now.
                self._evidence = self._evidence.since(search.began)
                self._hits = 0

    def _hit(self, at: float, now: float) -> None:
        """Learn that a request was refused after others were admitted."""
        lockouts, followed, again = self._lockouts, self.followed, self._unproved
        if not again:
            lockouts.began = lockouts.last_refused = at
        self._known_since = now
        self._hits += 1
        self.source = PaceSource.LEARNED
        self._gap = 0.0
        if followed is not None and not again:
            self._search.refused(at)
        if self._next_slot_is_free(at) and not again and self._admissions >= 2 and not self._retry_after:
            self._unproved = True
            self._cost = 0.0
            self._learn(now, now)
            cap = self._concurrency.cap
            self._most = cap if cap < math.inf else _FIRST + _PER_ANSWER * self._admissions
            self._next = max(self._next, now + 0.5 / self._rate)
            return
        rate = self._rate if self._rate < math.inf else max(_UNKNOWN_RATE, self._admitted_in_last_second())
        lockouts.begin(lockouts.began, 1.0 / rate)
        if followed is None:
            self.followed = Hypothesis(LimitKind.UNKNOWN, 0.0, 0.0, math.inf)
        self._locked_out = True
        self._probe_at = max(self._floor, lockouts.first_probe(now))

    def _next_slot_is_free(self, at: float) -> bool:
        """Return whether slots come back one by one: in a bucket, a sliding window, or with each request that ends."""
        followed = self.followed
        if self._frees_slots or followed is None:
            return self._frees_slots
        if followed.kind is LimitKind.LOG:
            # Evenly spaced for a whole window.
            return at - self._lockouts.reopened > followed.window
        return followed.kind is LimitKind.CONNECTIONS

    def _admitted_in_last_second(self) -> int:
        """Return how many were admitted in the second before the last hit."""
        began = self._lockouts.began
        return self._evidence.admitted(began - _SECOND, began)

    def _reopen(self, at: float, now: float) -> None:
        """Learn from the request that ended a lockout."""
        self._locked_out = False
        self._cost = at - self._lockouts.began
        self._lockouts.end(at, self._retry_after)
        if self._answers < _LITTLE:
            # That something is refused before anything was admitted tells of no quota.
            self.followed, self.source = None, PaceSource.NONE
            self._most, self._hits = _FIRST, 0
            return
        self._reopened.append(at)
        del self._reopened[:-_REOPENINGS]
        self._learn(now, at, reopened=True)
        self._admissions = 1
        self._unproved = False
        self._most = min(self._concurrency.cap, _FIRST + _PER_ANSWER)

    def _learn(self, now: float, upto: float, *, reopened: bool = False) -> None:
        """Weigh the hypotheses by what was sent up to a moment, and choose how to go on."""
        reopenings = self._evidence.count()
        hypotheses = self._weigh(upto)
        second = self._admitted_in_last_second()
        lockouts = self._lockouts
        cost = self._retry_after or self._cost
        peak = second / max(_SHORT, min(_SECOND, lockouts.began - lockouts.first_sent))
        hits = HitSummary(self._hits, peak, cost, announced=self._retry_after > 0.0)
        stands = hypotheses[0].loss + _STANDS + _OPTIMISM / (1.0 + cost * second / _MUCH) / max(1, reopenings - 1)
        if hypotheses[0].loss > _POOR:
            stands = max(stands, UNKNOWN_LOSS)
        standing = [hypothesis for hypothesis in hypotheses if hypothesis.loss <= stands]
        rates = [self._first_rate(hypothesis, hits) for hypothesis in standing]
        self.followed = followed = standing[rates.index(max(rates))]
        kind = followed.kind
        self._bucket = next((one for one in hypotheses if one.kind is LimitKind.BUCKET), self._bucket)
        self._frees_slots = (
            kind is LimitKind.BUCKET and followed.loss < _POOR and (len(standing) == 1 or self._hits > 1)
        )
        if kind is LimitKind.CONNECTIONS:
            self._search.stop()
            self._concurrency.start(followed.low, now)
            self._most = min(self._most, followed.low)
            self._keep_rate(now)
            self._next = now
            return
        self._concurrency.cap = math.inf
        low, high = followed.low, followed.high
        if kind is LimitKind.UNKNOWN and (before := self._search.before_decline()) is not None:
            low, high = max(low, before[0]), max(high, before[1])
        blocks = kind is LimitKind.BLOCK
        if blocks and cost * second > EXPENSIVE and low > _FAR_APART * min(rates):
            # Step by step: another lockout for nothing costs as much again.
            low = min(rates)
        if self._hits <= _FEW_HITS or self._answers < _PLENTY:
            high = max([high, *(o.high for o in standing if o.kind not in (LimitKind.CONNECTIONS, kind))])
        # Where no two may come together, nothing can be made up for.
        self._late = 0.0 if kind is LimitKind.BUCKET and followed.depth < _SINGLE else _LATE
        window = followed.window or (lockouts.long[-1].cycle if lockouts.long else 0.0)
        window = 0.0 if self._frees_slots else window
        hits = hits._replace(bucket=self._frees_slots, blocks=blocks, window=window)
        self._search.start(low, high, hits, now)
        self._keep_rate(now)
        if reopened:
            self._next = max(now, upto + 1.0 / self._rate)

    def _keep_rate(self, now: float) -> None:
        """Keep the rate that is tried from now on."""
        self._rate = self._search.rate
        self._next = max(now, min(self._next, now + 1.0 / self._rate))

    def _weigh(self, upto: float) -> list[Hypothesis]:
        # What has no answer yet may be with a limiter that delays it, and counted.
        jitter = self._round_trip.jitter
        together = self._lockouts.began + jitter
        pending = [(sent.at, sent.in_flight) for sent in self._out if sent.at <= together]
        self._evidence.condense()
        bucket = self._bucket
        known = bucket is not None and 0.0 < bucket.low <= bucket.high < math.inf
        return weigh(
            self._evidence.supposing(pending),
            self._lockouts,
            now=upto,
            jitter=jitter,
            reopened=self._reopened,
            fastest=self._search.fastest,
            believed=(bucket.low, bucket.high) if bucket is not None and known else (),
            refused_rate=self._search.refused_rate,
            hits=self._hits,
            announced=self._retry_after > 0.0,
            round_trip=self._round_trip.seconds,
        )

    def _first_rate(self, hypothesis: Hypothesis, hits: HitSummary) -> float:
        """Return the requests a second that a hypothesis would let out first."""
        if hypothesis.kind is LimitKind.CONNECTIONS:
            return hypothesis.low / max(_HALF_MILLISECOND, self._round_trip.seconds)
        low, high = hypothesis.low, hypothesis.high
        return between(low, high, hits) if hypothesis.kind in _SEARCHED else low
