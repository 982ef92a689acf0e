"""Which ids the answers to other creates gave: a record that is somebody else's must not answer for ours."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

_MEMORY: Final = 10.0
"""Seconds. For so long after a create ended, one that begins may be too close to it for the server's clock to tell."""


class _Name:
    """The creates of one name.

    Args:
        ids: what answers gave, and to whom.
        under_way: how many have not ended.
        doubts: who ended in doubt, and until when that may have been applied.
        ended: when the last one did.
    """

    __slots__ = ("doubts", "ended", "ids", "under_way")

    def __init__(self) -> None:
        self.ids: dict[int, str] = {}
        self.under_way = 0
        self.doubts: dict[str, float] = {}
        self.ended = 0.0


class Namesakes:
    """The creates of one tenant that are under way, or ended a moment ago, by name.

    What is kept grows with these, and not with what was ever created. Times are seconds on a monotonic clock.
    """

    __slots__ = ("_ended", "_names")

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}
        self._ended: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        """How many names are kept."""
        return len(self._names)

    def begin(self, name: str, now: float) -> None:
        """Note that a create begins.

        Args:
            name: the record's.
            now: what time it is.
        """
        while self._ended and self._ended[0][0] < now - _MEMORY:
            self._forget(self._ended.popleft()[1], now)
        self._names.setdefault(name, _Name()).under_way += 1

    def end(self, name: str, now: float, made: int | None = None, *, whose: str = "", until: float = 0.0) -> None:
        """Note that a create has ended.

        Args:
            name: the record's.
            now: what time it is.
            made: its id, where that is known.
            whose: tells this create from others, also if it is resumed later.
            until: it ended in doubt, and may be applied until then.
        """
        entry = self._names[name]
        entry.under_way -= 1
        entry.ended = now
        entry.doubts.pop(whose, None)
        if until > 0:
            entry.doubts[whose] = until
        if made is not None:
            entry.ids[made] = whose
        self._ended.append((now, name))

    def given(self, name: str, whose: str = "") -> Collection[int]:
        """Return the ids that answers gave to other creates of this name.

        Args:
            name: which.
            whose: the create that asks.
        """
        entry = self._names.get(name)
        return () if entry is None else [i for i, other in entry.ids.items() if other != whose or not whose]

    def rivals(self, name: str, since: float, whose: str = "") -> bool:
        """Whether another create of this name may be what is found, beside the one that asks.

        Args:
            name: which.
            since: when the one that asks was sent first. What ended in doubt, and could be applied after that, is one.
            whose: the one that asks.
        """
        entry = self._names.get(name)
        if entry is None:
            return False
        return entry.under_way > 1 or any(since < until for other, until in entry.doubts.items() if other != whose)

    def _forget(self, name: str, now: float) -> None:
        entry = self._names.get(name)
        if entry is None or entry.under_way or entry.ended > now - _MEMORY:
            return
        if any(now < until for until in entry.doubts.values()):
            self._ended.append((now, name))
        else:
            del self._names[name]
