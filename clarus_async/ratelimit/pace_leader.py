"""What the leader of a shared pace decides: which process sends when.

One process at a time leads. It runs the rate limiter for all of them, its members: it grants them slots a short while
ahead, round-robin, and is told what came of each. Times are seconds on the clock that all share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

from clarus_async.ratelimit.headers import RateLimitHeaders
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.pace import Limit, PaceSource, Sent

# Seconds. A slot reaches its member within a few milliseconds, where neither is busy. It is granted no longer ahead
# than that with some room, as what is learned meanwhile comes too late for it.
_HORIZON: Final = 0.02
# Seconds within which the members know of a decision.
_KNOWN_IN: Final = 0.015
# Seconds. A slot that has not arrived by then was lost on its way.
_ARRIVES: Final = 1.0
# Seconds. A member that has a slot, or wants one, reports more than twice as often.
_SILENT: Final = 5.0
# Seconds. A clock at 1.7e9 resolves a quarter of a microsecond.
_TICK: Final = 1e-6
# Seconds. A pause that changes by less is not announced again.
_SAME: Final = 0.05


class MemberEvent(NamedTuple):
    """What came of a slot, or what else a member has to report."""

    slot: int  # its number; 0 where it is about none
    kind: Literal["answered", "refused", "lost", "unsent", "hold", "forget", "leaves"]
    sent: float = 0.0
    at: float = 0.0  # when it came; of "hold", until when
    retry_after: float | None = None
    headers: RateLimitHeaders | None = None

    def apply(self, pace: AdaptiveRateLimiter, sent: Sent) -> None:
        """Note what came of a request in the limiter that let it go."""
        if self.kind == "answered":
            pace.answered(sent, self.at, self.headers)
        elif self.kind == "refused":
            pace.refused(sent, self.at, self.retry_after, self.headers)
        elif self.kind == "unsent":
            pace.unsent(sent)
        else:
            pace.lost(sent)


class MemberReport(NamedTuple):
    """What a member tells the leader."""

    member: str
    last_slot: int  # that it was granted
    wanted: int  # how many more it could use after that one
    held: Sequence[int]  # slots of which it has not reported yet what came of them
    events: Sequence[MemberEvent]


class LeaderNotice(NamedTuple):
    """What the leader tells a member."""

    source: PaceSource
    rate: float | None  # of all together
    limit: Limit | None
    paused_until: float
    next_slot: float
    members: int
    recalled: int  # slots up to this number that were not used yet are void
    slots: Sequence[tuple[int, float]]  # number and time of each that is granted to the member


class _Member:
    """What the leader knows of a process."""

    def __init__(self) -> None:
        self.reported_at = 0.0
        self.wanted = 0
        self.granted: dict[int, Sent] = {}
        self.unannounced: list[tuple[int, float]] = []  # slots that it was granted and does not know of
        self.knows: object = None


class Leader:
    """Grants slots to members, as a limiter on the shared clock allows; ``me`` is the member that leads.

    No earlier leader's slot had ``number`` or a higher one.
    """

    def __init__(self, pace: AdaptiveRateLimiter, me: str, number: int) -> None:
        self.pace = pace
        self.due: float | None = None
        """When to grant again, where a member wants a slot and only has to wait for it."""
        self._me = me
        self._number = number
        self._recalled = 0
        self._slowed_at = self._paused_until = 0.0
        self._members: OrderedDict[str, _Member] = OrderedDict({me: _Member()})

    @property
    def others(self) -> list[str]:
        """The other members."""
        return [name for name in self._members if name != self._me]

    def receive(self, report: MemberReport, now: float) -> None:
        """Take a report."""
        member = self._members.setdefault(report.member, _Member())
        member.reported_at = now
        for event in report.events:
            self._note(event, member, now)
        # A message can be lost, and what was in it.
        held, last = set(report.held), report.last_slot
        for number, sent in list(member.granted.items()):
            if (number <= last and number not in held) or (number > last and sent.at < now - _ARRIVES):
                self.pace.lost(member.granted.pop(number))
        member.wanted = report.wanted - sum(number > last for number in member.granted)
        if any(event.kind == "leaves" for event in report.events):
            self._drop(report.member)

    def _note(self, event: MemberEvent, member: _Member, now: float) -> None:
        if event.kind == "hold" and event.at > now + self.pace.pause(now) + _SAME:
            self._slow_down(lambda: self.pace.hold(event.at - now, now), now)
        elif event.kind == "forget":
            self.pace.forget()
        if (sent := member.granted.pop(event.slot, None)) is None:
            return
        if event.kind != "unsent":
            # What was granted before the pace slowed down does not count as sent at the lower rate, whenever its member
            # knew of that.
            sent.at = event.sent if event.slot > self._recalled else min(event.sent, self._slowed_at)
        if event.kind == "refused":
            event = event._replace(at=max(event.at, now + _KNOWN_IN) if self.others else event.at)
            self._slow_down(lambda: event.apply(self.pace, sent), event.at)
        else:
            event.apply(self.pace, sent)

    def _slow_down(self, note: Callable[[], None], at: float) -> None:
        """Note what may slow the pace down; if it does, recall what was granted before."""
        rate, pause = self.pace.rate, self.pace.pause(at)
        note()
        slower = self.pace.rate is not None and (rate is None or self.pace.rate < rate)
        if (slower or self.pace.pause(at) > pause) and self.pace.source is not PaceSource.GIVEN:
            self._recalled, self._slowed_at = self._number, at

    def drop_silent(self, now: float) -> None:
        """Give up the slots of members that are dead, as far as can be told."""
        for name in self.others:
            if now - self._members[name].reported_at > _SILENT:
                self._drop(name)

    def _drop(self, name: str) -> None:
        for sent in self._members.pop(name).granted.values():
            self.pace.lost(sent)

    def grant(self, now: float) -> None:
        """Grant what may go out soon, round-robin."""
        self.due = None
        wanting = [name for name, member in self._members.items() if member.wanted > 0]
        # What is granted to the leader itself is there at once.
        horizon = 0.0 if wanting == [self._me] else _HORIZON
        while wanting:
            at = now
            while (wait := self.pace.ask(at)) and at + wait <= now + horizon:
                at += max(wait, _TICK)
            if wait is None:
                return
            if wait > 0.0:
                self.due = at + wait - horizon
                return
            name = wanting.pop(0)
            member = self._members[name]
            self._number += 1
            member.granted[self._number] = self.pace.send(at)
            member.unannounced.append((self._number, at))
            member.wanted -= 1
            # Its next slot comes after everybody else's, also the next time.
            self._members.move_to_end(name)
            if member.wanted > 0:
                wanting.append(name)

    def notice(self, name: str, now: float) -> LeaderNotice:
        """Return what a member is to know, and the slots that it is granted."""
        member, pace = self._members[name], self.pace
        member.knows = self._state(now)
        slots, member.unannounced = member.unannounced, []
        members, next_slot = len(self._members), now + pace.next_slot(now)
        return LeaderNotice(
            pace.source, pace.rate, pace.limit, self._paused_until, next_slot, members, self._recalled, slots
        )

    def uninformed(self, now: float) -> list[str]:
        """Return which other members are to have a notice."""
        state, members = self._state(now), self._members
        return [name for name in self.others if members[name].unannounced or members[name].knows != state]

    def _state(self, now: float) -> object:
        """Return what a member is told though it is granted nothing."""
        pause = self.pace.pause(now)
        if abs(now + pause - self._paused_until) > _SAME and (pause > 0.0 or self._paused_until > now):
            self._paused_until = now + pause
        return self.pace.source, self._paused_until, self._recalled, len(self._members)
