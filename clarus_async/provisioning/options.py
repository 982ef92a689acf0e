"""What a run is asked to do, and how far it has come."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import datetime
from os import PathLike
from typing import Final, Literal, NamedTuple, TypeAlias

from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.report import Report

Existing: TypeAlias = Literal["adopt", "update", "fail", "ignore"]
EXISTING: Final = ("adopt", "update", "fail", "ignore")


class Progress(NamedTuple):
    """How far a run has come.

    Args:
        report: the counts so far.
        elapsed: seconds since the run began.
        rate: records a second since then, those that a journal had left out.
        eta: seconds that are left at this rate, and until what is in doubt is settled, where the input has a length.
        paused_until: nothing is sent before this (UTC); ``None`` where nothing is paused.
        in_doubt: records that may have been created, and are looked up until that is settled; the others go on.
        settles_at: when the last of these is looked up once the server had time to apply it (UTC); one that is not
            there by then is sent again, and takes as long once more. ``None`` where none is in doubt.
    """

    report: Report
    elapsed: float
    rate: float
    eta: float | None = None
    paused_until: datetime | None = None
    in_doubt: int = 0
    settles_at: datetime | None = None


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
