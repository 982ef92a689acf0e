"""A journal without its thread, for tests in virtual time.

A run's journal works in a thread of its own. A virtual loop sees nothing that is due meanwhile, and jumps ahead: what
waits for a second waits for nothing, or for ever. So the journal's executor does the work where it is given it, and its
answer comes in the loop's next turn. Nothing else is replaced: what the file holds is what it always holds, and whoever
waits for it can be cancelled, as with the thread.

Nothing is flushed to the disk: the machine does not lose its power while a test runs, and a sweep commits thousands of
times.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import Executor, Future

import pytest

from clarus_async.provisioning.journal import journal
from clarus_async.provisioning.journal.file import JournalFile


class InlineExecutor(Executor):
    """Does what it is given at once."""

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
    """Have every journal work in the loop."""
    load = JournalFile._load

    def unflushed(self, database):
        known = load(self, database)
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
