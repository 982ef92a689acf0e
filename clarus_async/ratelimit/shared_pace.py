"""The part of a shared pace that one process has: the slots that it was granted, and what it has to report.

One of the processes leads, by a lease, and decides for all (``clarus_async.ratelimit.pace_leader``), for itself
without a message. How messages get to the others is not known here: whoever serves the pace does what ``step``
returns, and hands over what it receives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

import attrs

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.headers import RateLimitHeaders
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.pace import Limit, LimitKind, PaceSource, Sent
from clarus_async.ratelimit.pace_leader import Leader, LeaderNotice, MemberEvent, MemberReport

# Seconds. The leader renews its lease three times in its life, and members look for it as often. So another leads
# within two seconds after a leader has died.
_LEASE: Final = 1.5
_RENEWED: Final = 0.4
# Seconds from one exchange to the next until the leader has replied: it may not know yet that it leads.
_UNANSWERED: Final = 0.05
# Clocks don't run at the same speed: a lease is over here before it is where it is kept.
_SURELY: Final = 0.99
# Seconds from one exchange to the next: what happens meanwhile is reported together.
_SPACING: Final = 0.005
# Seconds from one report to the next of a process that has something in flight, or waits for the end of a pause.
_HEARTBEAT: Final = 2.0
# Seconds for which a process that sends nothing goes on leading, or listening.
_LINGERS: Final = 2.0
# Seconds between two times that what was learned is saved: what is lost with a leader is learned again as soon.
_SAVED_EACH: Final = 1.0
# Seconds. A slot that was due longer ago is not used: together with the later ones it could be a burst.
_STALE: Final = 0.05
# Seconds. Waits are no shorter, and changes of a pause no smaller.
_SOON: Final = 0.001
_NEVER: Final = -1e9
_LONGEST_PAUSE: Final = 3600.0
# Seconds per second by which clocks may drift apart: NTP slews one by no more.
_DRIFT: Final = 0.0005


class SharedClock:
    """Another machine's clock, as the event loop's shows it."""

    def __init__(self) -> None:
        self.ahead: float = 0.0
        """Seconds by which it is ahead."""
        self._error = math.inf
        self._at = 0.0

    def read(self, time: float, asked: float, answered: float) -> None:
        """Take what it showed at some moment between two of the loop's."""
        ahead, error = time - (asked + answered) / 2.0, (answered - asked) / 2.0
        known = self._error + _DRIFT * (answered - self._at)
        # Where both can't be right, the clock was set.
        if error <= known or abs(ahead - self.ahead) > error + known:
            self.ahead, self._error, self._at = ahead, error, answered


class Exchange(NamedTuple):
    """What a process asks of the place where the pace is shared; it is given the lease where nobody has it."""

    lease: str  # by which it leads; empty where it does not
    seconds: float  # for which a lease is to run from now; 0: it gives its own up
    learned: str  # what another leader is to go on with; empty where that is unchanged
    messages: list[tuple[str, str]]  # to whom, or to "" for the leader, and what


class Exchanged(NamedTuple):
    """The answer to an exchange."""

    lease: str  # that runs: its owner, and microseconds of the clock
    time: float  # in seconds
    learned: str  # what an earlier leader left, where the lease is new


class Slot(Sent):
    """A slot that was granted, and then the request that went out in it."""

    __slots__ = ("due", "number")

    def __init__(self, number: int, due: float) -> None:
        super().__init__(math.inf, 1, probe=False)
        self.number: int = number
        self.due: float = due  # on the shared clock


@attrs.define(eq=False, repr=False)
class SharedPace:
    """The pace of a tenant in one of the processes that share it, on the event loop's clock.

    The queue asks it as it asks an ``AdaptiveRateLimiter``.
    """

    name: str  # of the quota
    _policy: PacingPolicy
    _me: str  # names the process
    _clock: SharedClock
    _serve: Callable[[SharedPace], None]  # begins to exchange, for as long as there is a step
    _on_change: Callable[[], None] = lambda: None
    _ready: Callable[[], int] = lambda: 0
    _notice: LeaderNotice = attrs.field(init=False)
    _leader: Leader | None = None
    _alone: AdaptiveRateLimiter | None = None  # while nobody can be asked
    _lease: str = ""
    _leads_until: float = 0.0
    _known_to_leader: bool = False
    _slots: deque[Slot] = attrs.field(factory=deque)
    _out: set[Sent] = attrs.field(factory=set)
    _events: list[MemberEvent] = attrs.field(factory=list)  # not reported yet
    _last_slot: int = 0
    _requested: int = 0  # how many more slots the leader knows to be wanted
    _floor: float = 0.0  # nothing goes out before, as this process was told
    _announced_pause: float = 0.0  # until when, as those that wait were told
    _used: float = _NEVER
    _exchanged: float = _NEVER
    _saved: float = _NEVER
    _learned: str = ""  # and saved then
    _served: bool = False
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)

    @_notice.default
    def _first_notice(self) -> LeaderNotice:
        source = PaceSource.NONE if self._policy.rate is None else PaceSource.GIVEN
        limit = AdaptiveRateLimiter(self._policy).limit
        return LeaderNotice(source, self._policy.rate, limit, 0.0, 0.0, 1, 0, ())

    def attach(self, on_change: Callable[[], None], ready: Callable[[], int]) -> None:
        """Learn whom to tell of changes, and who says how many requests could go at once."""
        self._on_change, self._ready = on_change, ready

    # --- What the queue asks.

    @property
    def source(self) -> PaceSource:
        """Where the rate comes from."""
        return self._notice.source

    @property
    def rate(self) -> float | None:
        """Requests a second of all processes; ``None`` where nothing limits them. Alone, it is this one's part."""
        return self._notice.rate if self._alone is None else self._alone.rate

    @property
    def limit(self) -> Limit | None:
        """What limits all processes, as far as is known or believed; ``None`` where nothing does."""
        return self._notice.limit if self._alone is None else self._alone.limit

    def idle(self, now: float) -> float:
        """Return for how many seconds nothing was sent that might have been; 0 while a request is in flight."""
        return 0.0 if self._out or self._served else max(0.0, now - max(self._used, self._floor))

    def pause(self, now: float) -> float:
        """Return for how many seconds the server accepts nothing, as far as is known."""
        shared = max(0.0, self._floor - now, self._notice.paused_until - self._shared_time(now))
        return shared if self._alone is None else max(shared, self._alone.pause(now))

    def next_slot(self, now: float) -> float:
        """Return in how many seconds the next request may go out, as far as is known."""
        if self._alone is not None:
            return max(self.pause(now), self._alone.next_slot(now))
        due = self._slots[0].due if self._slots else self._notice.next_slot
        return max(self.pause(now), due - self._shared_time(now))

    def ask(self, now: float) -> float | None:
        """Return how many seconds a request has to wait: 0 to go now, ``None`` until something else has come."""
        self._used = now
        if not self._served:
            self._served = True
            self._serve(self)
        if self._alone is not None:
            wait = self._alone.ask(now)
            return wait if wait is None else max(self.pause(now), wait)
        self._return_slots(lambda slot: slot.due < self._shared_time(now) - _STALE)
        if self._leader is not None and not self._slots:
            self._lead(now, 1)
            if self._leader.others:
                self._changed.set()
        if self._slots:
            return max(0.0, self._slots[0].due - self._shared_time(now))
        if self._leader is not None:
            return None if self._leader.due is None else max(_SOON, self._leader.due - self._shared_time(now))
        self._changed.set()
        return self.pause(now) or None

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after ``ask`` allowed it."""
        if self._alone is not None:
            sent = self._alone.send(now)
        else:
            sent = self._slots.popleft()
            sent.at = now
        self._out.add(sent)
        return sent

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer. A request that was reported already is ignored."""
        self._end(sent, "lost", sent.at)

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all, so another may in its place."""
        if isinstance(sent, Slot) and sent in self._out and not self._is_void(sent):
            self._out.discard(sent)
            self._slots.appendleft(sent)
        else:
            self._end(sent, "unsent", sent.at)

    def answered(self, sent: Sent, now: float, headers: RateLimitHeaders | None = None) -> None:
        """Note an answer that is not a refusal."""
        self._end(sent, "answered", now, None, headers)

    def refused(
        self, sent: Sent, now: float, retry_after: float | None, headers: RateLimitHeaders | None = None
    ) -> None:
        """Note a refusal; a ``retry_after`` in seconds is kept up to an hour."""
        self._end(sent, "refused", now, retry_after, headers)
        if retry_after:
            self.hold(retry_after, now)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for so many seconds, up to an hour, as a server asks that is down."""
        if self._alone is not None:
            self._alone.hold(seconds, now)
        self._floor = max(self._floor, now + min(seconds, _LONGEST_PAUSE))
        self._report_later(MemberEvent(0, "hold", at=self._shared_time(self._floor)))
        self._return_slots(self._is_void)

    def forget(self) -> None:
        """Begin the search for a limit again: what looked like one was not."""
        self._report_later(MemberEvent(0, "forget"))

    def _end(
        self,
        sent: Sent,
        kind: Literal["answered", "refused", "lost", "unsent"],
        now: float,
        retry_after: float | None = None,
        headers: RateLimitHeaders | None = None,
    ) -> None:
        """Note what came of a request, once."""
        if sent not in self._out:
            return
        self._out.discard(sent)
        if isinstance(sent, Slot):
            sent_at, at = self._shared_time(sent.at), self._shared_time(now)
            self._report_later(MemberEvent(sent.number, kind, sent_at, at, retry_after, headers))
        elif self._alone is not None:
            MemberEvent(0, kind, sent.at, now, retry_after, headers).apply(self._alone, sent)

    def _report_later(self, event: MemberEvent) -> None:
        self._events.append(event)
        self._changed.set()

    def _is_void(self, slot: Slot) -> bool:
        """Return whether nothing may go out in a slot, as was learned after it was granted."""
        return slot.number <= self._notice.recalled or slot.due < self._shared_time(self._floor)

    def _return_slots(self, which: Callable[[Slot], bool]) -> None:
        for slot in [slot for slot in self._slots if which(slot)]:
            self._slots.remove(slot)
            self._report_later(MemberEvent(slot.number, "unsent"))

    def _shared_time(self, now: float) -> float:
        """Return a time on the shared clock."""
        return now + self._clock.ahead

    # --- What whoever serves it asks.

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until there is something to do or to report, at the most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(_SOON, seconds)):
                await self._changed.wait()
        self._changed.clear()

    def step(self, now: float, *, leave: bool = False) -> Exchange | float | None:
        """Do what is due; return what to exchange, or seconds until the next step, or ``None`` where it is over."""
        self._return_slots(lambda slot: slot.due < self._shared_time(now) - _STALE)
        leader = self._leader
        if leader is not None:
            leader.drop_silent(self._shared_time(now))
            self._lead(now)
        self._tell_waiters()
        uninformed = [] if leader is None else leader.uninformed(self._shared_time(now))
        # While nobody can be asked, it asks on: a call that is refused meanwhile wants nothing.
        busy = self._out or self._slots or self._events or self._wanted() or self._alone or (leader and leader.others)
        over = math.inf if busy else self._used + _LINGERS
        if now >= over and leader is None:
            return None
        reports = uninformed or (leader is None and (self._events or self._wanted() > self._requested))
        due = self._exchanged + (_SPACING if reports else self._exchange_each(now))
        if leave or now >= min(due, over):
            self._exchanged = now
            return self._exchange(now, uninformed, leave=leave or now >= over)
        if leader is not None and leader.due is not None:
            due = min(due, leader.due - self._clock.ahead)
        if self._slots:
            due = min(due, self._slots[0].due - self._clock.ahead + _STALE)
        return min(due, over) - now

    def _exchange_each(self, now: float) -> float:
        """Return seconds from one exchange to the next, where there is nothing to report."""
        if self._alone is not None:
            return 0.0
        if self._leader is not None or ((self._slots or self._wanted()) and self.pause(now) < _HEARTBEAT):
            return _RENEWED if self._known_to_leader else _UNANSWERED
        return _HEARTBEAT if self._out or self._wanted() else math.inf

    def _wanted(self, least: int = 0) -> int:
        """Return how many more slots could be used than there are."""
        return max(0, max(least, self._ready()) - len(self._slots))

    def _exchange(self, now: float, uninformed: list[str], *, leave: bool) -> Exchange:
        seconds = 0.0 if leave else _LEASE
        if (leader := self._leader) is None:
            if leave:
                self._report_later(MemberEvent(0, "leaves"))
            return Exchange("", seconds, "", [("", self._message(self._report()))])
        learned = ""
        if leave or now >= self._saved + _SAVED_EACH:
            self._saved = now
            self._learned = learned = json.dumps(leader.pace.dump())
        if leave:
            messages = [(name, self._message(None)) for name in leader.others]
        else:
            messages = [(name, self._message(leader.notice(name, self._shared_time(now)))) for name in uninformed]
        return Exchange(self._lease, seconds, learned, messages)

    def _message(self, content: MemberReport | LeaderNotice | None) -> str:
        return json.dumps([self.name, content])

    def _report(self, least: int = 0) -> MemberReport:
        events, self._events = self._events, []
        self._requested = self._wanted(least)
        held = [sent.number for sent in (*self._slots, *self._out) if isinstance(sent, Slot)]
        return MemberReport(self._me, self._last_slot, self._requested, held, events)

    def _lead(self, now: float, least: int = 0) -> None:
        """Report to itself, and grant what may go."""
        leader, there = self._leader, self._shared_time(now)
        assert leader is not None  # noqa: S101  the caller has checked
        leader.receive(self._report(least), there)
        leader.due = None
        if now < self._leads_until:
            leader.grant(there)
        self._take(leader.notice(self._me, there), now)

    def _take(self, notice: LeaderNotice, now: float) -> None:
        self._notice, self._known_to_leader = notice, True
        self._requested -= len(notice.slots)
        for number, due in notice.slots:
            self._last_slot = number
            # Where Redis is far away, it is due by now: a message's delay is the same for the next.
            self._slots.append(Slot(number, max(due, self._shared_time(now))))
        self._return_slots(self._is_void)

    def _tell_waiters(self) -> None:
        """Tell those that wait, if there is anything new for them."""
        if self._slots or abs(self._notice.paused_until - self._announced_pause) > _SOON:
            self._announced_pause = self._notice.paused_until
            self._on_change()

    def exchange_now(self) -> None:
        """Exchange at once: the leader may have gone, or the place where that is decided."""
        self._exchanged = _NEVER
        self._changed.set()

    def receive(self, content: Any, now: float) -> None:  # noqa: ANN401  whatever JSON holds
        """Take a message: a report to the leader, a notice to others, or ``None`` where the leader leaves."""
        if content is None:
            self.exchange_now()
        elif self._leader is not None:
            *rest, events = content
            report = MemberReport._make([*rest, [_event(fields) for fields in events]])
            self._leader.receive(report, self._shared_time(now))
        elif self._alone is None:
            source, rate, limit, *rest = content
            limit = None if limit is None else Limit(LimitKind(limit[0]), *limit[1:])
            self._take(LeaderNotice._make([PaceSource(source), rate, limit, *rest]), now)
            self._tell_waiters()
        self._changed.set()

    def exchanged(self, answer: Exchanged, asked: float, now: float) -> None:
        """Take the answer to an exchange that began at ``asked``."""
        self._clock.read(answer.time, asked, now)
        self._alone = None
        if not answer.lease.startswith(self._me):
            self._leader = None
        elif self._leader is None or answer.lease != self._lease:
            # A Redis that was restarted may have lost what this process knows.
            pace = self._limiter(answer.learned or self._learned)
            self._leader = Leader(pace, self._me, int(answer.lease[len(self._me) :]))
        if answer.lease != self._lease:
            self._lease, self._known_to_leader = answer.lease, False
            if self._floor > now:
                self._report_later(MemberEvent(0, "hold", at=self._shared_time(self._floor)))
        self._leads_until = asked + _SURELY * _LEASE

    def _limiter(self, learned: str) -> AdaptiveRateLimiter:
        """Return a limiter that goes on with what was learned."""
        policy = self._policy
        limiter = AdaptiveRateLimiter(policy)
        try:
            limiter.load(json.loads(learned))
        except Exception:  # noqa: BLE001  there is nothing, or what another version wrote
            if policy.rate is None and self._notice.rate is not None:
                policy = attrs.evolve(policy, start=self._notice.rate)
            return AdaptiveRateLimiter(policy)
        return limiter

    def go_alone(self) -> None:
        """Keep to a part of the last rate, as nobody can be asked."""
        if self._alone is None:
            part = None if self.rate is None else self.rate / self._notice.members
            self._alone = AdaptiveRateLimiter(PacingPolicy(rate=part, start=None if part else self._policy.start))
            self._leader = None
            self._lease = ""
            self._slots.clear()
            self._events.clear()
        self._on_change()

    def stopped(self) -> None:
        """Note that nobody exchanges any more."""
        self._served = False


def _event(fields: Any) -> MemberEvent:  # noqa: ANN401
    *rest, headers = fields
    return MemberEvent._make([*rest, None if headers is None else RateLimitHeaders._make(headers)])
