"""What a process asks of the place where a pace is shared, and what it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from clarus_async.ratelimit.measured import Sent


class Wanted(NamedTuple):
    """What is asked for, and reported.

    Args:
        epoch: the one that the rest was decided in; a stale one is granted nothing.
        slots: how many requests are to go out.
        spacing: seconds between two.
        most: how many may go within ``span``.
        span: seconds; a second, and what clocks differ by.
        horizon: seconds for which slots are leased.
        pause: seconds for which nobody may send.
        admitted: requests that were, since the last report.
        refused: the same of those that were not.
        met: one of these is the first of its epoch.
        curve: begins a new epoch, where the last is still this one.
    """

    epoch: int
    slots: int
    spacing: float
    most: int
    span: float
    horizon: float
    pause: float
    admitted: int
    refused: int
    met: bool
    curve: str


class Lease(NamedTuple):
    """What is answered.

    Args:
        epoch: the one that counts.
        curve: its rate.
        used: seconds for which that was made use of, by all.
        second: how many slots of the last second were given away.
        answers: how many were admitted in this epoch.
        row: refusals in a row.
        processes: how many ask.
        pause: seconds for which nobody may send.
        wait: seconds until it is worth while to ask again.
        slots: seconds from then until each that was leased.
    """

    epoch: int
    curve: str
    used: float
    second: int
    answers: int
    row: int
    processes: int
    pause: float
    wait: float
    slots: Sequence[float]


class Leased(Sent):
    """A request that went out in a slot.

    Args:
        at: when.
        rate: requests a second, at the time.
        epoch: the one that the slot was leased in.
    """

    __slots__ = ("epoch",)

    def __init__(self, at: float, rate: float, epoch: int) -> None:
        super().__init__(at, rate, probe=False)
        self.epoch = epoch
