"""A whole process in virtual time: its clocks follow the loop's, and its journals are written in the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final, Self
from unittest.mock import patch

import pytest

from clarus_async.provisioning.journal import journal
from clarus_async.provisioning.journal.file import JournalFile


class VirtualDate(datetime):
    """The wall clock of a virtual loop; ``skew`` seconds off, as a client's may be."""

    started: datetime = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
    skew: float = 0.0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:  # type: ignore[override]
        try:
            passed = asyncio.get_running_loop().time()
        except RuntimeError:
            passed = 0.0
        when = cls.started + timedelta(seconds=passed + cls.skew)
        return when.astimezone(tz)  # type: ignore[return-value]


_CLIENT_CLOCKS: Final = (
    "clarus_async.reconcile.reconciler",
    "clarus_async.reconcile.single",
    "clarus_async.provisioning.job_index",
    "clarus_async.provisioning.journal.journal",
    "clarus_async.provisioning.review",
    "clarus_async.calls.caller",
    "clarus_async.auth.grants",
)


@contextlib.contextmanager
def virtual_world(*, skew: float = 0.0) -> Iterator[type[VirtualDate]]:
    """Have all clocks follow the virtual loop's, and a journal written where it is called for, in no thread.

    Args:
        skew: seconds by which the client's wall clock is ahead of the server's.

    Yields:
        The client's wall clock, whose ``skew`` may be changed.
    """
    client = type("ClientDate", (VirtualDate,), {"skew": skew})
    with contextlib.ExitStack() as stack:
        for module in _CLIENT_CLOCKS:
            stack.enter_context(patch(f"{module}.datetime", client))
        stack.enter_context(patch("clarus_async.simulator.clock.datetime", VirtualDate))
        stack.enter_context(journals_inline())
        yield client


class InlineExecutor(Executor):
    """Does what it is given at once, in the place of a journal's thread.

    A virtual loop sees nothing that is due while a thread works, and jumps ahead. The answer comes in the loop's next
    turn, and whoever waits for it can be cancelled, as with the thread.
    """

    def __init__(self, *args, **kwargs):
        pass

    def submit(self, function, /, *args, **kwargs):
        done = Future()
        try:
            done.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  it is raised where the future is waited for
            done.set_exception(error)
        return done


@contextlib.contextmanager
def journals_inline():
    """Have every journal work in the loop, and flush nothing to the disk."""
    # The machine does not lose its power while a test runs, and a sweep commits thousands of times.
    load = JournalFile._load

    def unflushed(self, database, **options):
        known = load(self, database, **options)
        database.execute("PRAGMA synchronous = OFF")
        return known

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "ThreadPoolExecutor", InlineExecutor)
        patch.setattr(JournalFile, "_load", unflushed)
        yield


@pytest.fixture
def inline_journal():
    """Have every journal of a test work in the loop; import it where it is used."""
    with journals_inline():
        yield


def memory() -> str | None:
    """Return a folder in memory, where there is one."""
    # The disk is not what is measured.
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
