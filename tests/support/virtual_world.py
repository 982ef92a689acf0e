"""A whole process in virtual time: its clocks follow the loop's, and its journals are written in the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Final, Self
from unittest.mock import patch

from tests.support.inline_journal import journals_inline


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


def memory() -> str | None:
    """Return a folder in memory, where there is one."""
    # The disk is not what is measured.
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
