"""The part of a shared pace that one process has: the slots that it was granted, and what it has to tell.

One of the processes leads, by a lease, and decides for all (:mod:`clarus_async.ratelimit.pace_leader`), for itself
without a message. Nothing here knows how messages get to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import attrs

from clarus_async.config import PacingPolicy
from clarus_async.ratelimit.beliefs import LimitKind
from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.limit import Limit
from clarus_async.ratelimit.measured import Sent
from clarus_async.ratelimit.pace_leader import Heard, Leader, Notice, ProcessReport
from clarus_async.ratelimit.pacer import Estimator
from clarus_async.ratelimit.told import PaceSource

# Seconds. Who leads renews it three times in its life, and who waits looks for it as often. So another leads within two
# seconds after a leader has died.
_LEASE: Final = 1.5
_RENEWED: Final = 0.4
# Seconds. The same for what was told to one that did not know yet that it leads.
_UNNOTICED: Final = 0.05
# Clocks don't run at the same speed: it is over here before it is where it is kept.
_SURELY: Final = 0.99
# Seconds from one exchange to the next: what is to be told meanwhile is told together.
_SPACING: Final = 0.005
# Seconds from one report to the next of who has something under way, or waits for the end of a pause.
_HEARTBEAT: Final = 2.0
# Seconds for which a process that sends nothing goes on leading, or listening.
_LINGERS: Final = 2.0
# Seconds from one time that what was learned is kept to the next.
_KEEPS: Final = 1.0
# Seconds. A slot that passed unused for longer is another second's.
_STALE: Final = 0.05
_SOON: Final = 0.001
_NEVER: Final = -1e9
_LONGEST_PAUSE: Final = 3600.0
# By how much clocks may drift apart: NTP slews one by no more.
_DRIFT: Final = 0.0005


class SharedClock:
    """Another machine's clock, as the event loop's tells it."""

    def __init__(self) -> None:
        self.ahead: float = 0.0
        """Seconds by which it is ahead."""
        self._error = math.inf
        self._at = 0.0

    def read(self, time: float, asked: float, answered: float) -> None:
        """Take what it showed at some moment between two of the loop's."""
        ahead, error = time - (asked + answered) / 2.0, (answered - asked) / 2.0
        known = self._error + _DRIFT * (answered - self._at)
        # Where both can't be right, it was set.
        if error <= known or abs(ahead - self.ahead) > error + known:
            self.ahead, self._error, self._at = ahead, error, answered


class Exchange(NamedTuple):
    """What a process asks of the place where the pace is shared; it is given a lease where nobody has one."""

    lease: str  # by which it leads; empty where it does not
    seconds: float  # for which a lease is to run from now; 0: it gives its own up
    learned: str  # what another leader is to go on with; empty where it is to keep what it has
    messages: list[tuple[str, str]]  # to whom, or to "" for whoever leads, and what


class Exchanged(NamedTuple):
    """What it is answered."""

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
    """The pace of a tenant in one of the processes that share it; on the event loop's clock.

    Args:
        name: of the quota.
        policy: what the caller knows.
        me: names the process.
        clock: that all share.
        estimator: makes what decides, here or for all.
        begin: has somebody exchange, for as long as there is a :meth:`step`.
    """

    name: str
    _policy: PacingPolicy
    _me: str
    _clock: SharedClock
    _estimator: Callable[[PacingPolicy], Estimator]
    _begin: Callable[[SharedPace], None]
    _wake: Callable[[], None] = lambda: None
    _waiting: Callable[[], int] = lambda: 0
    _known: Notice = attrs.field(init=False)
    _leader: Leader | None = None
    _local: Estimator | None = None  # while nobody can be asked
    _lease: str = ""
    _leads_until: float = 0.0
    _noticed: bool = False  # whoever leads now has heard of this process
    _slots: deque[Slot] = attrs.field(factory=deque)
    _out: set[Sent] = attrs.field(factory=set)
    _heard: list[Heard] = attrs.field(factory=list)  # and not told
    _seen: int = 0  # the last slot that was granted
    _asked: int = 0  # how many more the leader knows to be wanted
    _floor: float = 0.0  # nothing before this, as was heard here
    _woken: float = 0.0  # the pause of which who waits was told
    _used: float = _NEVER
    _exchanged: float = _NEVER
    _kept: float = _NEVER
    _learned: str = ""  # and kept then
    _serving: bool = False
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)

    @_known.default
    def _knows(self) -> Notice:
        source = PaceSource.NONE if self._policy.rate is None else PaceSource.GIVEN
        return Notice(source, self._policy.rate, self._estimator(self._policy).limit, 0.0, 0.0, 1, 0, ())

    def attach(self, wake: Callable[[], None], waiting: Callable[[], int]) -> None:
        """Learn whom to tell of news, and who says how many could go at once."""
        self._wake, self._waiting = wake, waiting

    # --- what the queue asks

    @property
    def source(self) -> PaceSource:
        """Where the rate comes from."""
        return self._known.source

    @property
    def rate(self) -> float | None:
        """Requests a second, of all processes; ``None`` where nothing limits them. Alone, it is this one's part."""
        return self._known.rate if self._local is None else self._local.rate

    @property
    def limit(self) -> Limit | None:
        """What limits all processes, as far as is known or believed; ``None`` where nothing does."""
        return self._known.limit if self._local is None else self._local.limit

    def idle(self, now: float) -> float:
        """Seconds for which nothing was sent that might have been; 0 while a request is under way."""
        return 0.0 if self._out or self._serving else max(0.0, now - max(self._used, self._floor))

    def pause(self, now: float) -> float:
        """Seconds for which the server takes nothing, as far as is known."""
        shared = max(0.0, self._floor - now, self._known.paused - self._there(now))
        return shared if self._local is None else max(shared, self._local.pause(now))

    def slot(self, now: float) -> float:
        """Seconds until the next may go out, as far as is known."""
        if self._local is not None:
            return max(self.pause(now), self._local.slot(now))
        return max(self.pause(now), (self._slots[0].due if self._slots else self._known.next) - self._there(now))

    def ask(self, now: float) -> float | None:
        """Say how long a request has to wait: 0 if it may go out now, ``None`` if something has to come first."""
        self._used = now
        if not self._serving:
            self._serving = True
            self._begin(self)
        if self._local is not None:
            wait = self._local.ask(now)
            return wait if wait is None else max(self.pause(now), wait)
        self._give_back(lambda slot: slot.due < self._there(now) - _STALE)
        if self._leader is not None and not self._slots:
            self._lead(now, 1)
            if self._leader.others:
                self._news.set()
        if self._slots:
            return max(0.0, self._slots[0].due - self._there(now))
        if self._leader is not None:
            return None if self._leader.due is None else max(_SOON, self._leader.due - self._there(now))
        self._news.set()
        return self.pause(now) or None

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after :meth:`ask` let it."""
        if self._local is not None:
            sent = self._local.send(now)
        else:
            sent = self._slots.popleft()
            sent.at = now
        self._out.add(sent)
        return sent

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer, or never went out."""
        self._came(sent, "lost", sent.at)

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all: another may in its place."""
        if isinstance(sent, Slot) and sent in self._out and not self._void(sent):
            self._out.discard(sent)
            self._slots.appendleft(sent)
        else:
            self._came(sent, "unsent", sent.at)

    def answered(self, sent: Sent, now: float, told: Told | None = None) -> None:
        """Note an answer that is no 429."""
        self._came(sent, "answered", now, None, told)

    def refused(self, sent: Sent, now: float, retry_after: float | None, told: Told | None = None) -> None:
        """Note a 429; a Retry-After is kept up to an hour."""
        self._came(sent, "refused", now, retry_after, told)
        if retry_after:
            self.hold(retry_after, now)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for a while, as a server asks that can't answer; kept up to an hour."""
        if self._local is not None:
            self._local.hold(seconds, now)
        self._floor = max(self._floor, now + min(seconds, _LONGEST_PAUSE))
        self._tell(Heard(0, "hold", at=self._there(self._floor)))
        self._give_back(self._void)

    def forget(self) -> None:
        """Begin to look for a limit anew: what was taken for one is none."""
        self._tell(Heard(0, "forget"))

    def _came(
        self, sent: Sent, what: str, now: float, retry_after: float | None = None, told: Told | None = None
    ) -> None:
        """Note what came of a request, once."""
        if sent not in self._out:
            return
        self._out.discard(sent)
        if isinstance(sent, Slot):
            self._tell(Heard(sent.number, what, self._there(sent.at), self._there(now), retry_after, told))
        elif self._local is not None:
            Heard(0, what, sent.at, now, retry_after, told).tell(self._local, sent)

    def _tell(self, heard: Heard) -> None:
        self._heard.append(heard)
        self._news.set()

    def _void(self, slot: Slot) -> bool:
        """Whether nothing may go out in a slot, as was heard after it was granted."""
        return slot.number <= self._known.recalled or slot.due < self._there(self._floor)

    def _give_back(self, which: Callable[[Slot], bool]) -> None:
        for slot in [slot for slot in self._slots if which(slot)]:
            self._slots.remove(slot)
            self._tell(Heard(slot.number, "unsent"))

    def _there(self, now: float) -> float:
        """Return a time on the shared clock."""
        return now + self._clock.ahead

    # --- what whoever exchanges asks

    async def news(self, seconds: float) -> None:
        """Wait until there is something to do or to tell, at the most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(_SOON, seconds)):
                await self._news.wait()
        self._news.clear()

    def step(self, now: float, *, leave: bool = False) -> Exchange | float | None:
        """Do what is due; return what to exchange, or seconds until the next step, or ``None`` where it is over."""
        self._give_back(lambda slot: slot.due < self._there(now) - _STALE)
        leader = self._leader
        if leader is not None:
            leader.drop_silent(self._there(now))
            self._lead(now)
        self._wake_up()
        untold = [] if leader is None else leader.untold(self._there(now))
        # Whoever is alone looks until it no longer is: a call that is refused meanwhile asks for nothing.
        busy = self._out or self._slots or self._heard or self._want() or self._local or (leader and leader.others)
        over = math.inf if busy else self._used + _LINGERS
        if now >= over and leader is None:
            return None
        tells = untold or (leader is None and (self._heard or self._want() > self._asked))
        due = self._exchanged + (_SPACING if tells else self._every(now))
        if leave or now >= min(due, over):
            self._exchanged = now
            return self._exchange(now, untold, leave=leave or now >= over)
        if leader is not None and leader.due is not None:
            due = min(due, leader.due - self._clock.ahead)
        if self._slots:
            due = min(due, self._slots[0].due - self._clock.ahead + _STALE)
        return min(due, over) - now

    def _every(self, now: float) -> float:
        """Seconds from one exchange to the next, where there is nothing to tell."""
        if self._local is not None:
            return 0.0
        if self._leader is not None or ((self._slots or self._want()) and self.pause(now) < _HEARTBEAT):
            return _RENEWED if self._noticed else _UNNOTICED
        return _HEARTBEAT if self._out or self._want() else math.inf

    def _want(self, least: int = 0) -> int:
        """How many more slots could be used than there are."""
        return max(0, max(least, self._waiting()) - len(self._slots))

    def _exchange(self, now: float, untold: list[str], *, leave: bool) -> Exchange:
        seconds = 0.0 if leave else _LEASE
        if (leader := self._leader) is None:
            if leave:
                self._tell(Heard(0, "leaves"))
            return Exchange("", seconds, "", [("", self._text(self._report()))])
        learned = ""
        if leave or now >= self._kept + _KEEPS:
            self._kept = now
            self._learned = learned = json.dumps(leader.pace.dump())
        if leave:
            messages = [(name, self._text(None)) for name in leader.others]
        else:
            messages = [(name, self._text(leader.notice(name, self._there(now)))) for name in untold]
        return Exchange(self._lease, seconds, learned, messages)

    def _text(self, message: ProcessReport | Notice | None) -> str:
        return json.dumps([self.name, message])

    def _report(self, least: int = 0) -> ProcessReport:
        heard, self._heard = self._heard, []
        self._asked = self._want(least)
        held = [sent.number for sent in (*self._slots, *self._out) if isinstance(sent, Slot)]
        return ProcessReport(self._me, self._seen, self._asked, held, heard)

    def _lead(self, now: float, least: int = 0) -> None:
        """Hear what there is to tell, and grant what may go."""
        leader, there = self._leader, self._there(now)
        assert leader is not None  # noqa: S101  who calls it has looked
        leader.hear(self._report(least), there)
        leader.due = None
        if now < self._leads_until:
            leader.grant(there)
        self._take(leader.notice(self._me, there), now)

    def _take(self, notice: Notice, now: float) -> None:
        self._known, self._noticed = notice, True
        self._asked -= len(notice.slots)
        for number, due in notice.slots:
            self._seen = number
            # Where Redis is far away, it is due by now: a message's delay is the same for the next.
            self._slots.append(Slot(number, max(due, self._there(now))))
        self._give_back(self._void)

    def _wake_up(self) -> None:
        """Wake who waits, if there is anything new for them."""
        if self._slots or abs(self._known.paused - self._woken) > _SOON:
            self._woken = self._known.paused
            self._wake()

    def look(self) -> None:
        """Exchange at once: who leads, or where that is decided, may have gone."""
        self._exchanged = _NEVER
        self._news.set()

    def receive(self, fields: Any, now: float) -> None:  # noqa: ANN401  whatever JSON holds
        """Take a message: to who leads, a report; to others a notice, or ``None`` where the leader leaves."""
        if fields is None:
            self.look()
        elif self._leader is not None:
            *rest, heard = fields
            self._leader.hear(ProcessReport._make([*rest, [_heard(each) for each in heard]]), self._there(now))
        elif self._local is None:
            source, rate, limit, *rest = fields
            limit = None if limit is None else Limit(LimitKind(limit[0]), *limit[1:])
            self._take(Notice._make([PaceSource(source), rate, limit, *rest]), now)
            self._wake_up()
        self._news.set()

    def exchanged(self, answer: Exchanged, asked: float, now: float) -> None:
        """Take what an exchange that began at ``asked`` was answered."""
        self._clock.read(answer.time, asked, now)
        self._local = None
        if not answer.lease.startswith(self._me):
            self._leader = None
        elif self._leader is None or answer.lease != self._lease:
            # A Redis that was started anew may have forgotten what this process knows.
            pace = self._estimate(answer.learned or self._learned)
            self._leader = Leader(pace, self._me, int(answer.lease[len(self._me) :]))
        if answer.lease != self._lease:
            self._lease, self._noticed = answer.lease, False
            if self._floor > now:
                self._tell(Heard(0, "hold", at=self._there(self._floor)))
        self._leads_until = asked + _SURELY * _LEASE

    def _estimate(self, learned: str) -> Estimator:
        policy = self._policy
        try:
            pace = self._estimator(policy)
            pace.load(json.loads(learned))
        except Exception:  # noqa: BLE001  there is nothing, or what a version wrote that is not this one
            if policy.rate is None and self._known.rate is not None:
                policy = attrs.evolve(policy, start=self._known.rate)
            return self._estimator(policy)
        return pace

    def alone(self) -> None:
        """Keep to a part of the last rate, as nobody can be asked."""
        if self._local is None:
            part = None if self.rate is None else self.rate / self._known.processes
            self._local = self._estimator(PacingPolicy(rate=part, start=None if part else self._policy.start))
            self._leader = None
            self._lease = ""
            self._slots.clear()
            self._heard.clear()
        self._wake()

    def served(self) -> None:
        """Nobody exchanges any more."""
        self._serving = False


def _heard(fields: Any) -> Heard:  # noqa: ANN401
    *rest, told = fields
    return Heard._make([*rest, None if told is None else Told._make(told)])
