"""Creates with the same key at about the same time: what one of them made must not answer for another."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final, TypeAlias

_MEMORY: Final = 10.0
"""Seconds. For so long after a create ended, one that begins may be too close to it for the server's clock to tell. Its
id is kept for so long at least, and twice at most."""

_RESOLVED: Final = 600.0
"""Seconds. Ids that creates with the same key were given are kept for so long after a create in doubt can be settled:
``resolve`` is called within minutes where a program calls it."""


# An id that an answer gave, to which create, and when.
_Given: TypeAlias = tuple[int, str, float]


class ConcurrentCreates:
    """The creates of one resource of one tenant that are under way, or ended a moment ago, by key.

    A create is told from others by its idempotency key, also where it is resumed later. What is kept grows with these,
    and not with what was ever created. Times are seconds on a monotonic clock.
    """

    __slots__ = ("_in_doubt", "_older", "_recent", "_turned_at", "_under_way")

    def __init__(self) -> None:
        self._under_way: dict[str, dict[str, float]] = {}  # by key: which, and when they began, the oldest first
        self._in_doubt: dict[str, dict[str, float]] = {}  # by key: which, and until when they may be applied
        # Ids in two halves, of which the older one is dropped as a whole, so that forgetting costs nothing for each id.
        self._recent: defaultdict[str, list[_Given]] = defaultdict(list)
        self._older: defaultdict[str, list[_Given]] = defaultdict(list)
        self._turned_at = -math.inf  # when the recent ones became the older ones

    def __len__(self) -> int:
        """How many keys are kept."""
        return len({*self._under_way, *self._in_doubt, *self._recent, *self._older})

    @property
    def under_way(self) -> int:
        """How many keys have creates that have not ended."""
        return len(self._under_way)

    def begin(self, keys: Sequence[str], now: float, create: str) -> None:
        """Note that a create of a record with these keys begins."""
        if now - self._turned_at > _MEMORY:
            self._turn(now)
        for key in keys:
            under_way = self._under_way.get(key)
            if under_way is None:
                self._under_way[key] = {create: now}
            else:
                under_way[create] = now

    def end(
        self, keys: Sequence[str], now: float, create: str, made: int | None = None, *, until: float | None = None
    ) -> None:
        """Note that a create has ended.

        Args:
            keys: the record's.
            now: what time it is.
            create: which.
            made: the record's id, where that is known.
            until: it ended in doubt, and may be applied until then.
        """
        if now - self._turned_at > _MEMORY:
            self._turn(now)
        given = None if made is None else (made, create, now)
        for key in keys:
            under_way = self._under_way.get(key)
            if under_way is None:
                continue
            under_way.pop(create, None)
            if not under_way:
                del self._under_way[key]
            if self._in_doubt or until is not None:
                self._end_doubt(key, create, until)
            if given is not None:
                self._recent[key].append(given)

    def _end_doubt(self, key: str, create: str, until: float | None) -> None:
        in_doubt = self._in_doubt.setdefault(key, {})
        in_doubt.pop(create, None)
        if until is not None:
            in_doubt[create] = until
        if not in_doubt:
            del self._in_doubt[key]

    def given_to_others(self, key: str, create: str = "") -> Collection[int]:
        """Return the ids that answers gave to other creates with this key."""
        halves = self._older, self._recent
        return [made for half in halves for made, other, _ in half.get(key, ()) if other != create]

    def contested(self, key: str, since: float, create: str = "") -> bool:
        """Whether another create with this key may have made what is found.

        Args:
            key: which.
            since: when the one that asks was sent first: what ended in doubt, and could be applied after that, counts.
            create: the one that asks.
        """
        if any(other != create for other in self._under_way.get(key, ())):
            return True
        return any(since < until for other, until in self._in_doubt.get(key, {}).items() if other != create)

    def idle(self, now: float) -> bool:
        """Whether nothing is under way, and nothing that ended could be taken for another's."""
        if now - self._turned_at > _MEMORY:
            self._turn(now)
        return not (self._under_way or self._in_doubt or self._recent or self._older)

    def _turn(self, now: float) -> None:
        """Forget what no create that is under way, or begins from now on, can take for its own."""
        since = {key: next(iter(self._under_way.get(key, {}).values()), now) for key in self._in_doubt}
        for key, began in since.items():
            doubts = {create: until for create, until in self._in_doubt[key].items() if until + _RESOLVED > began}
            if doubts:
                self._in_doubt[key] = doubts
            else:
                del self._in_doubt[key]
        forgotten = [self._older]
        if now - self._turned_at > 2 * _MEMORY:
            forgotten.append(self._recent)
            self._recent = defaultdict(list)
        self._older, self._recent = self._recent, defaultdict(list)
        for key in {*self._under_way, *self._in_doubt}:
            kept = [given for half in forgotten for given in half.get(key, ())]
            if key not in self._in_doubt:
                began = next(iter(self._under_way[key].values()))
                kept = [given for given in kept if given[2] + _MEMORY >= began]
            if kept:
                self._older[key] = kept + self._older[key]
        self._turned_at = now
