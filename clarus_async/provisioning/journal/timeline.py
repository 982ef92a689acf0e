"""What a journal keeps of a run's course: when it went on, and what was sent meanwhile, a stretch of time a row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

MOST_STRETCHES: Final = 4096
"""So many are kept, some 200 KiB: a report draws a few hundred. A longer job's are merged."""


class Stretch(NamedTuple):
    """What was sent in some seconds of a run, for all records of the tenant that the client sent.

    Args:
        at: when it began, in seconds since 1970 on the local clock.
        seconds: how long it is.
        records: how many were brought to their end.
        requests: how many were sent, lookups included.
        refused: how many of those a rate limiter refused.
        unclear: how many brought no answer, or one that does not tell what the server did.
        paused: seconds of it in which nothing was to be sent.
    """

    at: float
    seconds: float
    records: float = 0  # where stretches were divided, counts are parts
    requests: float = 0
    refused: float = 0
    unclear: float = 0
    paused: float = 0.0

    @classmethod
    def of(cls, values: Sequence[Any]) -> Stretch:
        """Build one of what SQLite gave; raise ``ValueError`` where a value makes no sense."""
        stretch = cls(*values)
        times = stretch.at, stretch.seconds, stretch.paused
        if not (all(map(is_time, times)) and all(type(count) is int and count >= 0 for count in stretch[2:6])):
            raise ValueError("a stretch of its timeline has no sensible times or counts")
        return stretch

    @property
    def until(self) -> float:
        """When it ended."""
        return self.at + self.seconds

    def joined(self, other: Stretch) -> Stretch:
        """Return this one and the next as one; what lies between two runs is no part of it."""
        return Stretch(
            self.at,
            self.seconds + other.seconds,
            self.records + other.records,
            self.requests + other.requests,
            self.refused + other.refused,
            self.unclear + other.unclear,
            self.paused + other.paused,
        )


class Settled(StrEnum):
    """What became of a record that was in doubt."""

    FOUND = "found"  # the server had it
    SENT_AGAIN = "sent again"  # the server did not have it, and got it once more
    SEVERAL = "several"  # the server has more than one
    NOT_THERE = "not there"  # and not to be sent again
    UNKNOWN = "unknown"  # nobody knows


class Doubts(NamedTuple):
    """Records that were in doubt and settled in one way.

    Args:
        records: how many.
        typical: seconds that half of them took at the most, from the first request on; ``None`` where nobody knows.
        longest: seconds that all of them took at the most.
    """

    records: int
    typical: float | None = None
    longest: float | None = None


class JournaledRun(NamedTuple):
    """A run of a journal's job.

    Args:
        began: when, in seconds since 1970 on the local clock.
        ended: when it had come to the end of its input; ``None`` where it was broken off before, or killed.
        what: was done: ``provision``, ``undo``, or another operation.
        source: what its input is called, where that is known.
    """

    began: float
    ended: float | None
    what: str
    source: str | None

    @classmethod
    def of(cls, values: Sequence[Any]) -> JournaledRun:
        """Build one of what SQLite gave; raise ``ValueError`` where a value makes no sense."""
        run = cls(*values)
        named = type(run.what) is str and (run.source is None or type(run.source) is str)
        if not (is_time(run.began) and (run.ended is None or is_time(run.ended)) and named):
            raise ValueError("a run of it has no sensible times or names")
        return run


def is_time(value: object) -> bool:
    """Whether this is what a moment since 1970, or a length of time, may be."""
    # A year of five digits is none that can be shown.
    return type(value) is float and math.isfinite(value) and 0.0 <= value < 253_402_214_400.0


def merged(stretches: Iterable[Stretch], most: int) -> list[Stretch]:
    """Join neighbours until there are no more than about half of ``most``, and all about as long."""
    stretches = list(stretches)
    each = 2.0 * sum(stretch.seconds for stretch in stretches) / most
    joined: list[Stretch] = []
    for stretch in stretches:
        if joined and joined[-1].seconds < each:
            joined[-1] = joined[-1].joined(stretch)
        else:
            joined.append(stretch)
    return joined


def binned(stretches: Iterable[Stretch], most: int) -> list[Stretch]:
    """Spread what was sent over so many stretches of one length at the most, and of a second at the least."""
    parts = [part for stretch in stretches for part in _parts(stretch)]
    total = sum(part.seconds for part in parts)
    count = max(1, min(most, math.ceil(total)))
    width = total / count
    bins = [Stretch(0.0, width) for _ in range(count)]
    passed = 0.0
    for part in parts:
        first, until = passed / width, (passed + part.seconds) / width
        for place in range(int(first), min(count, math.ceil(until))):
            share, mine = (min(until, place + 1) - max(first, place)) / (until - first), bins[place]
            at = mine.at or part.at + max(0.0, place * width - passed)
            bins[place] = mine.joined(Stretch(at, 0.0, *(share * sum_ for sum_ in part[2:])))._replace(at=at)
        passed += part.seconds
    return bins


def _parts(stretch: Stretch) -> Iterable[Stretch]:
    """Tell the time in which something was sent from the pause after it: one is not written while nothing is sent."""
    active = max(stretch.seconds - stretch.paused, min(1.0, stretch.seconds))
    yield stretch._replace(seconds=active, paused=0.0)
    if stretch.seconds > active:
        rest = stretch.seconds - active
        yield Stretch(stretch.at + active, rest, paused=rest)
