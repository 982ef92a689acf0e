"""How fast a run is, and when it will end: by what passes, and by what is still to be settled. Pure: time is given.

A record passes when it has an outcome or is in doubt. One in doubt that is there is found by the first lookup. Else it
falls due ``settle`` after its send was given up, and is looked up again; if it is not there, it is sent again, and
falls due once more ``settle`` later. Of the records that are still to be sent, as many will take that way as did so
far.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from clarus_async.provisioning.options import Bottleneck

# Seconds over which a rate is measured: a quarter of the run so far, within these. Less shows the bursts of a quota
# per window, and more what was long ago.
_SHORTEST: Final = 10.0
_LONGEST: Final = 60.0
_PART: Final = 0.25
_MARKS: Final = 40  # in that time
# Looks of which the most common counts for what limits a run: one of them may fall between two records.
_LOOKS: Final = 9
# How often a record may be due, for a forecast: as often as a default policy sends it.
_ROUNDS: Final = 4
# By how much of the true time that is left a forecast may be off.
_OFF: Final = 0.22
_SELDOM: Final = 0.05  # what is less probable counts for nothing


class Wave(NamedTuple):
    """Records that fall due evenly between two moments.

    Args:
        records: how many.
        first: when the first of them is due.
        last: when the last of them is due.
        due: the share that is not at its end before it is due.
        again: the share that is sent again then, and falls due once more.
    """

    records: float
    first: float
    last: float
    due: float = 1.0
    again: float = 1.0


def end(base: float, waves: Iterable[Wave], settle: float, again: float, now: float) -> float:
    """Say when all is settled.

    Whether a few of thousands are sent once more moves the end by ``settle``, and nobody knows it before. So of what
    may be, those ends count that one figure is not far from, and that are likeliest together: it is their mean.

    Args:
        base: when it is at the earliest.
        waves: what is in doubt, or will be.
        settle: seconds after which the server applies nothing any more.
        again: the share of sends that have to be sent again.
        now: what time it is.
    """
    lasts: list[tuple[float, float]] = []  # when the last of some ends, and with which probability there are any
    for wave in waves:
        share = wave.due
        for number in range(_ROUNDS):
            some = wave.records * share
            if some <= 0.0:
                break
            certain = share >= 1.0
            # Where there are few, the last of them is anywhere in between.
            last = wave.last if certain else wave.last - (wave.last - wave.first) / (some + 2.0)
            lasts.append((max(last, now) + number * settle, 1.0 if certain else 1.0 - math.exp(-some)))
            share = wave.again if number == 0 else share * again
    left: list[tuple[float, float]] = []  # seconds, from the longest, and with which probability it is just that
    none_later = 1.0
    for at, probability in sorted(lasts, reverse=True):
        if at > base:
            left.append((at - now, probability * none_later))
            none_later *= 1.0 - probability
    left.append((base - now, none_later))
    left = [(seconds, p) for seconds, p in left if p >= _SELDOM]
    likeliest, best = 0.0, 0.0
    for number, (longest, _) in enumerate(left):
        near = [(seconds, p) for seconds, p in left[number:] if seconds >= longest * (1.0 - _OFF) / (1.0 + _OFF)]
        together = sum(p for _, p in near)
        if together > best:
            best = together
            mean = sum(seconds * p for seconds, p in near) / together
            likeliest = max(longest * (1.0 - _OFF), min(mean, near[-1][0] * (1.0 + _OFF)))
    return now + likeliest


class Speed:
    """How fast records pass: the rate of the last while, and what limits it, by looks that may come at any time.

    Args:
        began: when the first record was ready to be sent.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._looked_at = began
        self._held_until = began  # nothing can pass before
        self._held = 0.0  # seconds
        # When, seconds in which records could pass by then, and how many passed and how many were done by then.
        self._marks: deque[tuple[float, float, int, int]] = deque([(began, 0.0, 0, 0)])
        self._limits: deque[Bottleneck] = deque(maxlen=_LOOKS)
        self.rate: float = 0.0
        """Records a second that came to their end."""
        self.passing: float = 0.0
        """Records a second that pass while they can."""

    def look(self, now: float, passed: int, done: int, limit: Bottleneck, held_until: float) -> None:
        """Note how many passed and are done by now, what limits them, and until when nothing can pass."""
        self._held += max(0.0, min(now, self._held_until) - self._looked_at)
        self._looked_at, self._held_until = now, held_until
        could = now - self._began - self._held
        marks = self._marks
        span = min(_LONGEST, max(_SHORTEST, _PART * (now - self._began)))
        while len(marks) > 1 and could - marks[1][1] >= span:
            marks.popleft()
        first, could_first, passed_first, done_first = marks[0]
        if now > first:
            self.rate = max(0, done - done_first) / (now - first)
        if could > could_first:
            self.passing = max(0, passed - passed_first) / (could - could_first)
        if now - marks[-1][0] >= span / _MARKS:
            marks.append((now, could, passed, done))
            self._limits.append(limit)

    @property
    def limit(self) -> Bottleneck | None:
        """What limited it mostly."""
        return Counter(self._limits).most_common(1)[0][0] if self._limits else None
