"""The rate limiter: an estimate of what limits a tenant, from the times of what was admitted and refused.

**What there is to know.** A server limits by a token bucket (nginx ``limit_req``, GCRA), by a quota a window that turns
for all of it at once (fixed windows) or slides (a log, a counter), by how many requests are under way (``limit_conn``),
or by a quota after which all is refused for a while (a block). Nobody says which, nor with what parameters; the first
refusal comes when the quota has been used up already. What can be had is two lists of times.

**The estimate.** Each kind is a hypothesis: a level that its limiter would have counted (:mod:`evidence`). How early
refusals came, by that level, is its loss, and the rates at which the loss is small are its range (:mod:`beliefs`).
After a refusal all hypotheses are weighed. Those that stand are the likeliest and those a little less likely. What none
explains has a kind of its own, with the average as its rate; sliding counters, several levels, and other clients on the
same quota end there.

**The pace.** Of the hypotheses that stand, the one that lets out most is taken: if that is wrong the next refusal comes
soon and costs one request, while a pace that is too slow is never refuted. Within what is believed, constant paces are
tried one after the other, and now and then one above it (:mod:`steps`); or a cap on what is under way (:mod:`cap`).
Where the pace fell and refusals are no rarer, others use the same quota, and it goes back to where it was.

**Contact.** In the slow start, no more is under way than an eighth of what was answered (and up to sixteen), so that
the first refusal is one of few. Where slots come back one by one, the next slot is used; else everything is refused
until something turns, and one request at a time looks whether it has (:mod:`walls`).

**What is known better.** Retry-After is a floor: nothing goes out before it. A given rate is kept exactly. A quota that
the server tells is kept by window (:mod:`told`). A refusal under either costs its Retry-After and teaches nothing; two
within a window contradict what was told.

Times are arguments, in seconds on a monotonic clock that may begin anywhere. A request that goes out is a
:class:`Sent`, and is heard of again once: ``answered``, ``refused`` or ``lost``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.beliefs import UNKNOWN_LOSS, Belief, LimitKind, weigh
from clarus_async.ratelimit.cap import Cap
from clarus_async.ratelimit.evidence import Evidence
from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.limit import Limit
from clarus_async.ratelimit.measured import EACH, PLENTY, RoundTrip, Sent
from clarus_async.ratelimit.steps import DEAR, Learned, Steps, middle
from clarus_async.ratelimit.told import PaceSource, ToldQuota
from clarus_async.ratelimit.walls import Walls

_LONGEST_FLOOR: Final = 3600.0
# Looked up in the class it takes as long as all the rest of asking.
_TOLD: Final = PaceSource.TOLD
_SECOND: Final = 1.0
_SHORT: Final = 0.05

# Slow start: two under way, and one more for each two answers, up to sixteen; beyond that an eighth of what was
# answered. Each second of silence lets one more: a slow answer must not stop all.
_FEW: Final = 2.0
_SOON: Final = 16.0
_EIGHTH: Final = 0.125
_HALF: Final = 0.5
# Of what was refused before two answers nothing is learned: there is no quota to be seen in it.
_LITTLE: Final = 2

# Seconds. Event loops are late, by a few milliseconds mostly. What they missed is made up for, as far as it can't be
# taken for a burst; where a rate is given, by a tenth of a second.
_TIMER: Final = 0.005
_LATE: Final = 0.01
_LATEST: Final = 0.1
# A limiter with a burst of one refuses what comes a millisecond early, so nothing is made up for, and requests are half
# a millisecond further apart, or a hundredth where that is less.
_SINGLE: Final = 1.5
_MILLISECOND: Final = 0.0005
_PART: Final = 0.01

# Requests a second: where nothing was admitted before a contact, a slot of so many is taken for the first look.
_UNKNOWN_RATE: Final = 10.0
# Contacts and answers after which the likeliest hypothesis is followed alone.
_FEW_CONTACTS: Final = 2
_PLENTY: Final = 20

# By how much more loss than the likeliest a hypothesis still stands; with optimism on top, which fades as contacts
# accumulate, and where a contact costs more than some fifty requests.
_STANDS: Final = 0.5
_OPTIMISM: Final = 1.5
_MUCH: Final = 50.0
# Above this loss nothing explains it well, and what is of no known kind stands as well.
_STILL: Final = 3.0
# How far a block's promise has to be from the others' to be gone about step by step, where a wall is dear.
_FAR_APART: Final = 2.0
# Openings that are kept, to average from.
_OPENINGS: Final = 20


class AdaptiveRateLimiter:
    """The rate limiter of one tenant, or of all where they share a quota.

    Args:
        policy: what the caller knows.
    """

    def __init__(self, policy: PacingPolicy) -> None:
        self._given = policy.rate
        self._burst = policy.burst
        self._given_late, self._given_apart = _LATEST, 0.0
        if policy.rate is not None and policy.burst is not None:
            self._given_late = (policy.burst - 1) / policy.rate
            # A limiter that lets no two come together counts milliseconds; others have room for a late timer.
            self._given_apart = min(_MILLISECOND, _PART / policy.rate) if policy.burst == 1 else 0.0
            self._given_late += 0.0 if self._given_apart else min(_TIMER, 1.0 / policy.rate)
        self._start = policy.start
        self._trip = RoundTrip()
        self._out: set[Sent] = set()
        self._floor = self._last = -_LONGEST_FLOOR
        self._first: float | None = None
        self._begin()

    def _begin(self) -> None:
        """Know nothing but what is given."""
        self.source = PaceSource.NONE if self._given is None else PaceSource.GIVEN
        self.belief: Belief | None = None
        self._bucket: Belief | None = None  # what a bucket would be
        self._evidence = Evidence()
        self._walls = Walls()
        self._quota = ToldQuota()
        self._told_refused = -_LONGEST_FLOOR
        self._apart = self._given_apart
        self._pace = math.inf if self._given is None else self._given
        if self._given is None and self._start is not None:
            self._pace = self._start
        self._next = -_LONGEST_FLOOR
        self._late = self._given_late if self._given is not None else _LATE
        self._room = _FEW if self._pace == math.inf else math.inf
        self._cap = Cap()
        self._answers = self._used = 0
        # While something is shut: one request at a time looks whether it still is.
        self._looks = False
        self._look: Sent | None = None
        self._due = 0.0
        # Since the last refusal.
        self._cut_at = -_LONGEST_FLOOR  # what was sent before teaches nothing new
        self._unproved = False  # nothing that was sent since has been admitted
        self._retry_after = 0.0
        self._lost = 0.0  # seconds that it cost
        self._since = 0  # admitted
        self._openings: list[float] = []
        self._contacts = 0
        self._sure = False
        self._steps = Steps()

    # --- what is asked

    @property
    def rate(self) -> float | None:
        """Requests a second that are believed to be right now; ``None`` where nothing limits them."""
        return None if self._pace == math.inf or self.source is PaceSource.NONE else self._pace

    @property
    def limit(self) -> Limit | None:
        """What limits, as far as is known or believed; ``None`` where nothing does."""
        if self.source is PaceSource.GIVEN:
            return Limit(LimitKind.BUCKET, burst=self._burst)
        if self.source is PaceSource.TOLD:
            return Limit(LimitKind.WINDOW, window=self._quota.window)
        belief = self.belief
        if belief is None:
            return None
        if belief.kind is LimitKind.CONNECTIONS:
            return Limit(belief.kind, burst=int(self._cap.most))
        return Limit(
            belief.kind,
            burst=max(1, round(belief.depth)) if belief.kind is LimitKind.BUCKET else None,
            window=belief.window or None,
            certainty=min(1.0, self._steps.low / self._steps.high),
        )

    def idle(self, now: float) -> float:
        """Seconds for which nothing was sent that might have been; 0 while a request is under way.

        Args:
            now: seconds on the clock.
        """
        if self._out:
            return 0.0
        return max(0.0, now - max(self._last, self._floor, self._due if self._looks else self._next))

    def pause(self, now: float) -> float:
        """Seconds for which the server takes nothing, as far as is known.

        Args:
            now: seconds on the clock.
        """
        until = max(self._floor, self._due) if self._looks and self._look is None else self._floor
        return max(0.0, until - now)

    def slot(self, now: float) -> float:
        """Seconds until the next may go out, as far as is known.

        Args:
            now: seconds on the clock.
        """
        return self.pause(now) if self._looks else max(self.pause(now), self._next - now)

    def ask(self, now: float) -> float | None:
        """Say how long a request has to wait: 0 if it may go out now, ``None`` if an answer has to come first.

        Args:
            now: seconds on the clock.
        """
        if now < self._floor:
            return self._floor - now
        if self._looks:
            return None if self._look is not None else max(0.0, self._due - now)
        out = len(self._out)
        if out >= self._room:
            if self.belief is not None or out >= self._cap.most:
                return None
            return max(0.0, self._last + _SECOND - now)
        if self.source is _TOLD:
            return max(0.0, self._next - now, self._quota.wait(now, out))
        # Not by max(), which takes twice as long: this is asked for each request.
        return self._next - now if now < self._next else 0.0

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after :meth:`ask` let it.

        Args:
            now: seconds on the clock.
        """
        if self._first is None:
            self._first = self._walls.began = self._walls.opened = now
        self._last = now
        sent = Sent(now, len(self._out) + 1, self._looks)
        if self._looks:
            self._look = sent
        elif self._pace < math.inf:
            self._next = max(self._next, now - self._late) + 1.0 / self._pace + self._apart
        self._out.add(sent)
        return sent

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer, or never went out.

        Args:
            sent: the request.
        """
        self._out.discard(sent)
        if sent is self._look:
            self._look = None

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all: another may in its place.

        Args:
            sent: the request.
        """
        if sent in self._out and not sent.probe and sent.at > self._cut_at and self._pace < math.inf:
            self._next -= 1.0 / self._pace
        self.lost(sent)

    def answered(self, sent: Sent, now: float, told: Told | None = None) -> None:
        """Note an answer that is no 429.

        Args:
            sent: the request that it answers.
            now: seconds on the clock.
            told: what it says of the rate limit.
        """
        self._out.discard(sent)
        at = sent.at
        self._answers = answers = self._answers + 1
        looked_at = answers < PLENTY or not answers % EACH
        if looked_at:
            self._trip.add(now - at)
        if self._given is not None:
            return
        self._evidence.add(at, sent.under_way)
        if told is not None:
            self._heed(told, now)
        if self.belief is None:
            if looked_at or self._start is not None:
                self._grow()
        elif at > self._cut_at:
            self._admitted(sent, now)
        elif sent is self._look:
            self._look = None

    def _grow(self) -> None:
        """Open the slow start, as an answer came."""
        answers = self._answers
        if self._start is not None:
            self._used += 1
            if self._used >= self._pace:
                # It was made use of for a second.
                self._used = 0
                self._pace *= 2.0
        elif self.source is PaceSource.NONE:
            self._room = max(min(_SOON, _FEW + _HALF * answers), _EIGHTH * answers)

    def _admitted(self, sent: Sent, now: float) -> None:
        """Learn from one that was sent since the last refusal."""
        if self._looks:
            self._look = None
            self._opened(sent.at, now)
            return
        if self._unproved:
            self._unproved = False
            self._since = 0
        self._since += 1
        grown = _FEW + _HALF * self._since if self._cap.most == math.inf else self._room + 1.0
        self._room = min(self._cap.most, grown)
        steps = self._steps
        if self._cap.most < math.inf:
            self._cap.admitted(sent.at, now, len(self._out))
        elif sent.at >= steps.at and steps.admitted(now, self._trip.seconds):
            self._go(now)
            if steps.grown:
                # The limit is another now.
                self._evidence = self._evidence.since(steps.at)
                self._contacts = 0

    def refused(self, sent: Sent, now: float, retry_after: float | None, told: Told | None = None) -> None:
        """Note a 429.

        Args:
            sent: the request that was refused.
            now: seconds on the clock.
            retry_after: seconds, where the server said; kept up to an hour.
            told: what it says of the rate limit.
        """
        self.lost(sent)
        if retry_after is not None:
            self._retry_after = min(retry_after, _LONGEST_FLOOR)
            self.hold(retry_after, now)
        if self._given is not None:
            return
        at = sent.at
        if told is not None:
            self._heed(told, now)
        # Those that came before it may have been sent a little later.
        late = at + self._trip.margin
        under_way = max([sent.under_way, *(other.under_way for other in self._out if other.at <= late)])
        self._evidence.refused(at + self._trip.unevenness, under_way)
        if self.source is PaceSource.TOLD and not self._contradicted(at, now):
            return
        if at > self._cut_at:
            self._cap.refused()
        if self._cap.most < math.inf:
            # Where it is not what is under way that is limited, the next in its place would be refused, too.
            self._room = max(1.0, self._room - 1.0)
        walls = self._walls
        walls.refused = max(walls.refused, at)
        if self._looks:
            if sent.probe:
                first = self._evidence.first(walls.shut - _SECOND)
                # More and more rarely, also where the server says when to come back: it may say so for ever.
                self._due = max(walls.next_look(now, first, self._trip.margin), self._floor)
        elif at > self._cut_at:
            self._contact(sent, now)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for a while, as a server asks that can't answer.

        Args:
            seconds: how long; kept up to an hour.
            now: seconds on the clock.
        """
        self._floor = max(self._floor, now + min(seconds, _LONGEST_FLOOR))

    def forget(self) -> None:
        """Begin to look for a limit anew: what was taken for one is none."""
        if self._given is None:
            self._begin()

    # --- what another goes on with

    def dump(self) -> dict[str, Any]:
        """Return what is believed, as JSON has it; times are on the limiter's clock."""
        return {
            "source": self.source,
            "belief": self.belief,
            "floor": self._floor,
            "next": self._next,
            "pace": self._pace,
            "range": [self._steps.low, self._steps.high],
            "cap": self._cap.most,
            "told": self._quota.dump(),
        }

    def load(self, learned: Mapping[str, Any]) -> None:
        """Go on with what another believed, on the same clock.

        Args:
            learned: from :meth:`dump`.
        """
        source, belief = PaceSource(learned["source"]), learned["belief"]
        self._floor, self._next = float(learned["floor"]), float(learned["next"])
        if self._given is not None or source is PaceSource.NONE:
            return
        self.source = source
        self._pace, self._room = float(learned["pace"]), math.inf
        self._steps.pace = self._pace
        self._steps.low, self._steps.high = map(float, learned["range"])
        self._cap.most = float(learned["cap"])
        if source is PaceSource.TOLD:
            self._quota.load(learned["told"])
        if belief is not None:
            self.belief = Belief(LimitKind(belief[0]), *map(float, belief[1:]))
            self._room = min(self._cap.most, _SOON)
            self._contacts = 1

    # --- what the server tells

    def _heed(self, told: Told, now: float) -> None:
        rate = self._quota.hear(told, now, len(self._out))
        if rate is None or (self.belief is not None and self.source is not PaceSource.TOLD):
            return
        if self.source is not PaceSource.TOLD:
            self.source = PaceSource.TOLD
            self._room = math.inf
            # What went out already counts, and this one.
            self._next = max(now, self._walls.began + (self._answers + 1 + len(self._out)) / rate)
        self._apart = self._quota.apart(self._trip.unevenness)
        if rate != self._pace:
            # What went out before knew nothing of it.
            self._pace, self._told_refused = rate, -_LONGEST_FLOOR
            self._cut_at = now
        self._next = min(self._next, now + self._quota.window)

    def _contradicted(self, at: float, now: float) -> bool:
        """Whether a refusal shows that the quota which was told is not the one that is kept."""
        before, self._told_refused = self._told_refused, now
        if at <= self._cut_at or at <= before or now - before > max(self._quota.window, 2.0 * _SECOND):
            return False
        self._quota.forget()
        return True

    # --- what is learned

    def _contact(self, sent: Sent, now: float) -> None:
        walls = self._walls
        again = self._unproved
        believed = self.belief
        if not again:
            walls.shut = walls.refused = sent.at
        self._cut_at = now
        self._contacts += 1
        self.source = PaceSource.LEARNED
        self._apart = 0.0
        if believed is not None and not again:
            self._steps.fail(sent.at)
        if self._drips(sent.at) and not again and self._since >= 2 and not self._retry_after:
            # The next slot is open.
            self._unproved = True
            self._lost = 0.0
            self._learn(now, now)
            self._room = self._cap.most if self._cap.most < math.inf else _FEW + _HALF * self._since
            self._next = max(self._next, now + 0.5 / self._pace)
            return
        second = self._second()
        walls.meet(walls.shut, 1.0 / (self._pace if self._pace < math.inf else max(_UNKNOWN_RATE, second)))
        if believed is None:
            self.belief = Belief(LimitKind.UNKNOWN, 0.0, 0.0, math.inf)
        self._looks = True
        self._due = max(self._floor, walls.first_look(now))

    def _drips(self, at: float) -> bool:
        """Whether slots come back one by one: a bucket's, those of what is under way, and of a window that slides."""
        believed = self.belief
        if self._sure or believed is None:
            return self._sure
        if believed.kind is LimitKind.LOG:
            # Evenly spaced for a whole window.
            return at - self._walls.opened > believed.window
        return believed.kind is LimitKind.CONNECTIONS

    def _second(self) -> int:
        """How many were admitted in the second before the last contact."""
        shut = self._walls.shut
        return self._evidence.admitted(shut - _SECOND, shut)

    def _opened(self, at: float, now: float) -> None:
        self._looks = False
        self._lost = at - self._walls.shut
        self._walls.fall(at, self._retry_after)
        if self._answers < _LITTLE:
            # That something is refused before anything was admitted tells of no quota.
            self.belief, self.source = None, PaceSource.NONE
            self._room, self._contacts = _FEW, 0
            return
        self._openings.append(at)
        del self._openings[:-_OPENINGS]
        self._learn(now, at, opened=True)
        self._since = 1
        self._unproved = False
        self._room = min(self._cap.most, _FEW + _HALF)

    def _learn(self, now: float, upto: float, *, opened: bool = False) -> None:
        contacts = self._evidence.count()
        beliefs = self._weigh(upto)
        second = self._second()
        walls = self._walls
        lost = self._retry_after or self._lost
        peak = second / max(_SHORT, min(_SECOND, walls.shut - walls.began))
        known = Learned(self._contacts, peak, lost, told=self._retry_after > 0.0)
        stands = beliefs[0].loss + _STANDS + _OPTIMISM / (1.0 + lost * second / _MUCH) / max(1, contacts - 1)
        if beliefs[0].loss > _STILL:
            # Nothing explains it well.
            stands = max(stands, UNKNOWN_LOSS)
        standing = [belief for belief in beliefs if belief.loss <= stands]
        promises = [self._promise(belief, known) for belief in standing]
        belief = standing[promises.index(max(promises))]
        self.belief = belief
        self._bucket = next((belief for belief in beliefs if belief.kind is LimitKind.BUCKET), self._bucket)
        self._sure = (
            belief.kind is LimitKind.BUCKET and belief.loss < _STILL and (len(standing) == 1 or self._contacts > 1)
        )
        if belief.kind is LimitKind.CONNECTIONS:
            self._steps.free()
            self._cap.keep(belief.low, now)
            self._room = min(self._room, belief.low)
            self._go(now)
            self._next = now
            return
        self._cap.most = math.inf
        low, high = belief.low, belief.high
        if belief.kind is LimitKind.UNKNOWN and (before := self._steps.in_vain()) is not None:
            low, high = max(low, before[0]), max(high, before[1])
        blocks = belief.kind is LimitKind.BLOCK
        if blocks and lost * second > DEAR and low > _FAR_APART * min(promises):
            # Step by step: another wall for nothing costs as much again.
            low = min(promises)
        if self._contacts <= _FEW_CONTACTS or self._answers < _PLENTY:
            others = [other for other in standing if other.kind not in (LimitKind.CONNECTIONS, belief.kind)]
            high = max([high, *(o.high for o in others)])
        # Where no two may come together, nothing can be made up for.
        self._late = 0.0 if belief.kind is LimitKind.BUCKET and belief.depth < _SINGLE else _LATE
        window = belief.window or (walls.long[-1].cycle if walls.long else 0.0)
        known = known._replace(drips=self._sure, blocks=blocks, window=0.0 if self._sure else window)
        self._steps.go(low, high, known, now)
        self._go(now)
        if opened:
            self._next = max(now, upto + 1.0 / self._pace)

    def _go(self, now: float) -> None:
        self._pace = self._steps.pace
        self._next = max(now, min(self._next, now + 1.0 / self._pace))

    def _weigh(self, upto: float) -> list[Belief]:
        # What has no answer yet may be with a limiter that holds it, and counted.
        shut = self._walls.shut
        together = shut + self._trip.unevenness
        pending = [(sent.at, sent.under_way) for sent in self._out if sent.at <= together]
        self._evidence.condense()
        evidence = self._evidence.supposing(pending)
        bucket = self._bucket
        believed = (
            (bucket.low, bucket.high) if bucket is not None and 0.0 < bucket.low <= bucket.high < math.inf else ()
        )
        return weigh(
            evidence,
            self._walls,
            now=upto,
            uneven=self._trip.unevenness,
            openings=self._openings,
            fastest=self._steps.fastest,
            believed=believed,
            failed=self._steps.failed,
            contacts=self._contacts,
            knows_when=self._retry_after > 0.0,
            round_trip=self._trip.seconds,
        )

    def _promise(self, belief: Belief, known: Learned) -> float:
        """Requests a second that a belief lets out."""
        if belief.kind is LimitKind.CONNECTIONS:
            return belief.low / max(_MILLISECOND, self._trip.seconds)
        return middle(belief.low, belief.high, known) if belief.kind in _RANGES else belief.low


_RANGES: Final = frozenset({LimitKind.BUCKET, LimitKind.BLOCK, LimitKind.UNKNOWN})
