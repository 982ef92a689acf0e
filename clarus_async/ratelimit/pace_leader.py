"""What the leader of a shared pace decides: which process sends when.

One process at a time runs the estimator, for all: it grants slots a short while ahead, one process after the other, and
hears what came of each. Times are seconds on the clock that all share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.limit import Limit
from clarus_async.ratelimit.measured import Sent
from clarus_async.ratelimit.pacer import Estimator, Pacer
from clarus_async.ratelimit.told import PaceSource

# Seconds. A slot is with its process within a few milliseconds, where neither is busy. No longer than that with some
# room, as what is heard meanwhile comes too late for it.
_HORIZON: Final = 0.02
# Seconds within which other processes know of a decision.
_KNOWN_IN: Final = 0.015
# Seconds. A slot that did not arrive by then was lost on its way.
_ARRIVES: Final = 1.0
# Seconds. Who has anything of the leader's is heard of more than twice as often.
_SILENT: Final = 5.0
# Seconds. A clock at 1.7e9 tells a quarter of a microsecond.
_TICK: Final = 1e-6
# Seconds. A pause that changes by less is not told anew.
_SAME: Final = 0.05


class Heard(NamedTuple):
    """What came of a slot (``answered``, ``refused``, ``lost``, ``unsent``), or was heard else."""

    number: int  # the slot's
    what: str  # or "hold" until a time, "forget" the limit, the process "leaves"
    sent: float = 0.0
    at: float = 0.0
    retry_after: float | None = None
    told: Told | None = None

    def tell(self, pace: Pacer, sent: Sent) -> None:
        """Tell the pacer of what came of its request."""
        if self.what == "answered":
            pace.answered(sent, self.at, self.told)
        elif self.what == "refused":
            pace.refused(sent, self.at, self.retry_after, self.told)
        elif self.what == "unsent":
            pace.unsent(sent)
        else:
            pace.lost(sent)


class ProcessReport(NamedTuple):
    """What a process tells the leader."""

    process: str
    seen: int  # the last slot that it was granted
    want: int  # how many more it could use after that one
    held: Sequence[int]  # slots of which nothing was heard yet
    heard: Sequence[Heard]


class Notice(NamedTuple):
    """What the leader tells a process."""

    source: PaceSource
    rate: float | None  # of all together
    limit: Limit | None
    paused: float  # until when the server takes nothing
    next: float  # when the next may go
    processes: int
    recalled: int  # slots up to this number that were not used yet are void
    slots: Sequence[tuple[int, float]]  # number and time of each that is granted to the process


class _Member:
    """What the leader knows of a process."""

    def __init__(self) -> None:
        self.heard_at = 0.0
        self.want = 0
        self.granted: dict[int, Sent] = {}
        self.slots: list[tuple[int, float]] = []  # of these, those that it was not told of
        self.told: object = None


class Leader:
    """Grants slots to processes.

    Args:
        pace: decides when one may send; on the shared clock.
        me: the process that leads.
        number: that no earlier leader's slot had, nor one before it.
    """

    def __init__(self, pace: Estimator, me: str, number: int) -> None:
        self.pace = pace
        self.due: float | None = None
        """When to grant again, where something is wanted that only time allows."""
        self._me = me
        self._number = number
        self._recalled = 0
        self._slowed_at = self._paused = 0.0
        self._processes: OrderedDict[str, _Member] = OrderedDict({me: _Member()})

    @property
    def others(self) -> list[str]:
        """The other processes that are heard of."""
        return [name for name in self._processes if name != self._me]

    def hear(self, report: ProcessReport, now: float) -> None:
        """Take a report."""
        process = self._processes.setdefault(report.process, _Member())
        process.heard_at = now
        for heard in report.heard:
            self._note(heard, process, now)
        # A message can be lost, and what was in it.
        held, seen = set(report.held), report.seen
        for number, sent in list(process.granted.items()):
            if (number <= seen and number not in held) or (number > seen and sent.at < now - _ARRIVES):
                self.pace.lost(process.granted.pop(number))
        process.want = report.want - sum(number > seen for number in process.granted)
        if any(heard.what == "leaves" for heard in report.heard):
            self._drop(report.process)

    def _note(self, heard: Heard, process: _Member, now: float) -> None:
        if heard.what == "hold" and heard.at > now + self.pace.pause(now) + _SAME:
            self._slow_down(lambda: self.pace.hold(heard.at - now, now), now)
        elif heard.what == "forget":
            self.pace.forget()
        if (sent := process.granted.pop(heard.number, None)) is None:
            return
        if heard.what != "unsent":
            # What was granted before the pace slowed down is none of the slower one, whenever its process knew of that.
            sent.at = heard.sent if heard.number > self._recalled else min(heard.sent, self._slowed_at)
        if heard.what == "refused":
            heard = heard._replace(at=max(heard.at, now + _KNOWN_IN) if self.others else heard.at)
            self._slow_down(lambda: heard.tell(self.pace, sent), heard.at)
        else:
            heard.tell(self.pace, sent)

    def _slow_down(self, note: Callable[[], None], at: float) -> None:
        """Note what may slow the pace down; if it does, recall what was granted before."""
        rate, pause = self.pace.rate, self.pace.pause(at)
        note()
        slower = self.pace.rate is not None and (rate is None or self.pace.rate < rate)
        if (slower or self.pace.pause(at) > pause) and self.pace.source is not PaceSource.GIVEN:
            self._recalled, self._slowed_at = self._number, at

    def drop_silent(self, now: float) -> None:
        """Give up what those hold that are dead, as far as can be told."""
        for name in self.others:
            if now - self._processes[name].heard_at > _SILENT:
                self._drop(name)

    def _drop(self, name: str) -> None:
        for sent in self._processes.pop(name).granted.values():
            self.pace.lost(sent)

    def grant(self, now: float) -> None:
        """Grant what may go out soon, to one process after the other."""
        self.due = None
        wanting = [name for name, process in self._processes.items() if process.want > 0]
        # What is granted to this process is there at once.
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
            process = self._processes[name]
            self._number += 1
            process.granted[self._number] = self.pace.send(at)
            process.slots.append((self._number, at))
            process.want -= 1
            # Its next turn comes after everybody else's, also the next time.
            self._processes.move_to_end(name)
            if process.want > 0:
                wanting.append(name)

    def notice(self, name: str, now: float) -> Notice:
        """Return what a process is to know, and the slots that it is granted."""
        process, pace = self._processes[name], self.pace
        process.told = self._news(now)
        slots, process.slots = process.slots, []
        processes, ahead = len(self._processes), now + pace.slot(now)
        return Notice(pace.source, pace.rate, pace.limit, self._paused, ahead, processes, self._recalled, slots)

    def untold(self, now: float) -> list[str]:
        """Return which other processes are to have a notice."""
        news, known = self._news(now), self._processes
        return [name for name in self.others if known[name].slots or known[name].told != news]

    def _news(self, now: float) -> object:
        """What a process is told though it is granted nothing."""
        pause = self.pace.pause(now)
        if abs(now + pause - self._paused) > _SAME and (pause > 0.0 or self._paused > now):
            self._paused = now + pause
        return self.pace.source, self._paused, self._recalled, len(self._processes)
