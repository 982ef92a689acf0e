"""Forks: a child process leaves alone what it inherited from its parent.

Both processes have the same descriptors. If the child removes a socket from an inherited epoll instance, the parent
hears nothing of that socket any more, and if it closes an inherited SQLite database, it may remove the log that the
parent still writes to. So the child neither uses, closes nor finalises any of it.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from typing import Final, Protocol
from weakref import WeakSet


class Forked(Protocol):
    """Holds what a child must not touch."""

    def forked(self) -> Iterable[object]:
        """Let go, in a child, of what is its parent's, and return it."""
        ...


_watched: Final[WeakSet[Forked]] = WeakSet()
_parents: Final[list[object]] = []


def watch(holder: Forked) -> None:
    """Have something let go of what is its parent's whenever a process is forked.

    Args:
        holder: is referred to weakly.
    """
    _watched.add(holder)


def _in_child() -> None:
    for holder in tuple(_watched):
        _parents.extend(holder.forked())
    if _parents:
        atexit.register(_keep)


def _keep() -> None:
    """Keep what is the parent's from being finalised when the interpreter takes its modules down."""
    try:
        import ctypes  # noqa: PLC0415  only a child that exits needs it
    except ImportError:
        return
    for thing in _parents:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    _parents.clear()


os.register_at_fork(after_in_child=_in_child)
