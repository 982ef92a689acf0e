"""What a run is asked to do, and how far it has come."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from os import PathLike
from typing import Final, Literal, NamedTuple, TypeAlias

from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.report import Report

Existing: TypeAlias = Literal["adopt", "update", "fail", "ignore"]
EXISTING: Final = ("adopt", "update", "fail", "ignore")


class Bottleneck(StrEnum):
    """What limits the pace of a run."""

    RATE_LIMIT = "rate limit"
    """No more requests a second may go out, or none at all before ``paused_until``."""
    SERVER = "server"
    """Answers are waited for by as many records as may be sent at once (``concurrency``)."""
    OUTAGE = "outage"
    """No answers come, so one record at a time is sent; or the server said that it is down until ``paused_until``."""
    LOOKUPS = "lookups"
    """What is there already is looked up, before anything of it is sent."""
    INPUT = "input"
    """The next record of the input is waited for."""
    READER = "reader"
    """Whoever reads the outcomes is slower than they come."""
    SETTLING = "settling"
    """All that could be sent is in doubt."""


class Progress(NamedTuple):
    """How far a run has come.

    Args:
        report: the counts so far.
        elapsed: seconds since the run began.
        rate: records a second since then, those that a journal had left out.
        eta: seconds that are left, where the input has a length: at the recent rate, and until what is in doubt is
            settled, what will be so included. ``None`` also where no record was sent yet.
        paused_until: nothing is sent before this (UTC); ``None`` where nothing is paused.
        in_doubt: records that may have been created, and are looked up until that is settled; the others go on.
        settles_at: when the last of these is expected at its end (UTC): one that is not there is sent again
            ``Timeouts.settle`` seconds after its send was given up, and takes as long once more. ``None`` where none is
            in doubt.
        total: how many records there are, where the input has a length.
        recent_rate: records a second over the last while, from ten seconds to a minute; those that a journal had left
            out.
        bottleneck: what limits the pace; ``None`` before the run and after it.
    """

    report: Report
    elapsed: float
    rate: float
    eta: float | None = None
    paused_until: datetime | None = None
    in_doubt: int = 0
    settles_at: datetime | None = None
    total: int | None = None
    recent_rate: float = 0.0
    bottleneck: Bottleneck | None = None


# A named tuple's constructor has a module of its own, in which pdoc would look for the types of its arguments.
Progress.__new__.__module__ = __name__


class Options(NamedTuple):
    """How a run goes about its work; see ``provision`` of a resource."""

    concurrency: int = 64
    journal: str | PathLike[str] | None = None
    existing: Existing = "adopt"
    dry_run: bool = False
    max_failures: int | None = None
    on_progress: Callable[[Progress], None] | None = None

    def check(self) -> None:
        """Raise ``InvalidInputError`` where an option is out of range."""
        if not _is_integer(self.concurrency) or not 1 <= self.concurrency <= 10_000:
            raise InvalidInputError("concurrency: must be an integer from 1 to 10,000")
        if self.existing not in EXISTING:
            raise InvalidInputError(f"existing: must be one of {', '.join(EXISTING)}")
        if self.max_failures is not None and (not _is_integer(self.max_failures) or self.max_failures < 0):
            raise InvalidInputError("max_failures: must be an integer of 0 or more")
        if self.journal is not None and not isinstance(self.journal, str | PathLike):
            raise InvalidInputError(f"journal: must be a path, not {type(self.journal).__name__}")
        if self.on_progress is not None and not callable(self.on_progress):
            raise InvalidInputError(f"on_progress: must be a function, not {type(self.on_progress).__name__}")
        if inspect.iscoroutinefunction(self.on_progress):
            raise InvalidInputError("on_progress: must not be async: nobody awaits it")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
