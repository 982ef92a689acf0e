"""Which ids the answers to other creates gave: a record that is somebody else's must not answer for ours."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

_MEMORY: Final = 10.0
"""Seconds. For so long after a create ended, one that begins may be too close to it for the server's clock to tell."""

_RESOLVED: Final = 600.0
"""Seconds. For so long after a doubt can be settled, it is known what others of its name were given."""


class _Name:
    """The creates of one name.

    Args:
        under_way: those that have not ended, and when they began; the oldest comes first.
        ids: what answers gave, to whom, and when.
        doubts: who ended in doubt, and until when that may be applied.
        queued: it is to be looked through.
    """

    __slots__ = ("doubts", "ids", "queued", "under_way")

    def __init__(self) -> None:
        self.under_way: dict[str, float] = {}
        self.ids: dict[int, tuple[str, float]] = {}
        self.doubts: dict[str, float] = {}
        self.queued = False


class ConcurrentCreates:
    """The creates of one tenant that are under way, or ended a moment ago, by name.

    What is kept grows with these, and not with what was ever created. Times are seconds on a monotonic clock.
    """

    __slots__ = ("_names", "_queue")

    def __init__(self) -> None:
        self._names: dict[str, _Name] = {}
        self._queue: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        """How many names are kept."""
        return len(self._names)

    def begin(self, name: str, now: float, whose: str) -> None:
        """Note that a create begins.

        Args:
            name: the record's.
            now: what time it is.
            whose: tells this create from others, also if it is resumed later.
        """
        self._look_through(now)
        entry = self._names.get(name)
        if entry is None:
            entry = self._names[name] = _Name()
        entry.under_way[whose] = now

    def end(self, name: str, now: float, whose: str, made: int | None = None, *, until: float | None = None) -> None:
        """Note that a create has ended.

        Args:
            name: the record's.
            now: what time it is.
            whose: which.
            made: its id, where that is known.
            until: it ended in doubt, and may be applied until then.
        """
        entry = self._names.get(name)
        if entry is None:
            return
        entry.under_way.pop(whose, None)
        if not entry.under_way:
            # A crowd leaves no room behind.
            entry.under_way.clear()
        if entry.doubts:
            entry.doubts.pop(whose, None)
        if until is not None:
            entry.doubts[whose] = until
        if made is not None:
            entry.ids[made] = (whose, now)
        if not entry.queued:
            self._keep(name, entry, now)

    def given(self, name: str, whose: str = "") -> Collection[int]:
        """Return the ids that answers gave to other creates of this name.

        Args:
            name: which.
            whose: the create that asks.
        """
        entry = self._names.get(name)
        return () if entry is None else [i for i, (other, _) in entry.ids.items() if other != whose]

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
        if any(other != whose for other in entry.under_way):
            return True
        return any(since < until for other, until in entry.doubts.items() if other != whose)

    def idle(self, now: float) -> bool:
        """Whether nothing is under way, and nothing that ended could be taken for another's.

        Args:
            now: what time it is.
        """
        self._look_through(now)
        return not self._names

    def _look_through(self, now: float) -> None:
        while self._queue and self._queue[0][0] < now - _MEMORY:
            self._look_at(self._queue.popleft()[1], now)

    def _look_at(self, name: str, now: float) -> None:
        """Forget what no create that is under way, or begins from now on, can take for its own."""
        entry = self._names[name]
        entry.queued = False
        since = next(iter(entry.under_way.values()), now)
        entry.doubts = {whose: until for whose, until in entry.doubts.items() if until + _RESOLVED > since}
        if not entry.doubts:
            entry.ids = {made: (whose, ended) for made, (whose, ended) in entry.ids.items() if ended + _MEMORY >= since}
        self._keep(name, entry, now)

    def _keep(self, name: str, entry: _Name, now: float) -> None:
        if entry.ids or entry.doubts:
            entry.queued = True
            self._queue.append((now, name))
        elif not entry.under_way:
            del self._names[name]
