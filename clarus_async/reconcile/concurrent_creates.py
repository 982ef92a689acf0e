"""Creates with the same key at about the same time: what one of them made must not answer for another."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

_MEMORY: Final = 10.0
"""Seconds. For so long after a create ended, one that begins may be too close to it for the server's clock to tell."""

_RESOLVED: Final = 600.0
"""Seconds. Ids that creates with the same key were given are kept for so long after a create in doubt can be settled:
``resolve`` is called within minutes where a program calls it."""


class _SameKey:
    """The creates with one key.

    Args:
        under_way: those that have not ended, and when they began; the oldest comes first.
        ids: what answers gave, to which create, and when.
        in_doubt: which ended in doubt, and until when that may be applied.
        queued: it is in the queue of what is to be checked.
    """

    __slots__ = ("ids", "in_doubt", "queued", "under_way")

    def __init__(self) -> None:
        self.under_way: dict[str, float] = {}
        self.ids: dict[int, tuple[str, float]] = {}
        self.in_doubt: dict[str, float] = {}
        self.queued = False


class ConcurrentCreates:
    """The creates of one resource of one tenant that are under way, or ended a moment ago, by key.

    A create is told from others by its idempotency key, also where it is resumed later. What is kept grows with these,
    and not with what was ever created. Times are seconds on a monotonic clock.
    """

    __slots__ = ("_by_key", "_queue")

    def __init__(self) -> None:
        self._by_key: dict[str, _SameKey] = {}
        self._queue: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        """How many keys are kept."""
        return len(self._by_key)

    def begin(self, key: str, now: float, create: str) -> None:
        """Note that a create begins."""
        self._check(now)
        same = self._by_key.get(key)
        if same is None:
            same = self._by_key[key] = _SameKey()
        same.under_way[create] = now

    def end(self, key: str, now: float, create: str, made: int | None = None, *, until: float | None = None) -> None:
        """Note that a create has ended.

        Args:
            key: the record's.
            now: what time it is.
            create: which.
            made: the record's id, where that is known.
            until: it ended in doubt, and may be applied until then.
        """
        same = self._by_key.get(key)
        if same is None:
            return
        same.under_way.pop(create, None)
        if not same.under_way:
            # Gives back what many at once had taken.
            same.under_way.clear()
        if same.in_doubt:
            same.in_doubt.pop(create, None)
        if until is not None:
            same.in_doubt[create] = until
        if made is not None:
            same.ids[made] = (create, now)
        if not same.queued:
            self._keep(key, same, now)

    def given_to_others(self, key: str, create: str = "") -> Collection[int]:
        """Return the ids that answers gave to other creates with this key."""
        same = self._by_key.get(key)
        return () if same is None else [i for i, (other, _) in same.ids.items() if other != create]

    def contested(self, key: str, since: float, create: str = "") -> bool:
        """Whether another create with this key may have made what is found.

        Args:
            key: which.
            since: when the one that asks was sent first: what ended in doubt, and could be applied after that, counts.
            create: the one that asks.
        """
        same = self._by_key.get(key)
        if same is None:
            return False
        if any(other != create for other in same.under_way):
            return True
        return any(since < until for other, until in same.in_doubt.items() if other != create)

    def idle(self, now: float) -> bool:
        """Whether nothing is under way, and nothing that ended could be taken for another's."""
        self._check(now)
        return not self._by_key

    def _check(self, now: float) -> None:
        while self._queue and self._queue[0][0] < now - _MEMORY:
            self._forget(self._queue.popleft()[1], now)

    def _forget(self, key: str, now: float) -> None:
        """Forget what no create that is under way, or begins from now on, can take for its own."""
        same = self._by_key[key]
        same.queued = False
        since = next(iter(same.under_way.values()), now)
        same.in_doubt = {create: until for create, until in same.in_doubt.items() if until + _RESOLVED > since}
        if not same.in_doubt:
            same.ids = {made: (create, ended) for made, (create, ended) in same.ids.items() if ended + _MEMORY >= since}
        self._keep(key, same, now)

    def _keep(self, key: str, same: _SameKey, now: float) -> None:
        if same.ids or same.in_doubt:
            same.queued = True
            self._queue.append((now, key))
        elif not same.under_way:
            del self._by_key[key]
