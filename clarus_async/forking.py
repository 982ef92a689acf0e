"""What a forked process does with what it has of its parent's: it leaves it alone.

Parent and child share their file descriptors: an epoll instance from which the child removes a socket no longer reports
it to the parent, and a database that the child closes is closed under the parent. So the child uses, closes and
finalises nothing of it.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from typing import Final, Protocol
from weakref import WeakSet


class Forked(Protocol):
    """Holds what a child process must not touch."""

    def forked(self) -> Iterable[object]:
        """Let go, in a child process, of what is its parent's, and return it."""
        ...


_watched: Final[WeakSet[Forked]] = WeakSet()
_parents: Final[list[object]] = []


def watch(holder: Forked) -> None:
    """Call ``holder.forked()`` in every child that is forked, as long as the holder lives."""
    _watched.add(holder)


def _in_child() -> None:
    for holder in tuple(_watched):
        _parents.extend(holder.forked())
    if _parents:
        atexit.register(_keep)


def _keep() -> None:
    """Keep what is the parent's from being finalised when the interpreter clears its modules."""
    try:
        import ctypes  # noqa: PLC0415  only a child that exits needs it
    except ImportError:
        return
    for thing in _parents:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    _parents.clear()


os.register_at_fork(after_in_child=_in_child)
