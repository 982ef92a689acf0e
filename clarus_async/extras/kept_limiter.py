"""A limiter whose beliefs outlive it, so that another process goes on near the limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clarus_async.ratelimit.beliefs import Belief, LimitKind
from clarus_async.ratelimit.limiter import Limiter
from clarus_async.ratelimit.told import PaceSource


class KeptLimiter(Limiter):
    """A limiter that another can go on with."""

    def dump(self) -> dict[str, Any]:
        """Return what is believed, as JSON has it; times are on its clock."""
        return {
            "source": self.source,
            "belief": self.belief,
            "floor": self._floor,
            "next": self._next,
            "pace": self._pace,
            "range": [self._steps.low, self._steps.high],
            "cap": self._cap.most,
            "told": [self._quota.window, self._quota._limit],  # noqa: SLF001  they are one
        }

    def load(self, learned: Mapping[str, Any]) -> None:
        """Go on with what another believed."""
        source, belief = PaceSource(learned["source"]), learned["belief"]
        self._floor, self._next = float(learned["floor"]), float(learned["next"])
        if self._given is not None or source is PaceSource.NONE:
            return
        self.source = source
        self._pace, self._room = float(learned["pace"]), math.inf
        self._steps.pace = self._pace
        self._steps.low, self._steps.high = map(float, learned["range"])
        self._cap.most = float(learned["cap"])
        if source is PaceSource.TOLD:
            self._quota.window, self._quota._limit = learned["told"]  # noqa: SLF001  they are one
        if belief is not None:
            self.belief = Belief(LimitKind(belief[0]), *map(float, belief[1:]))
            self._room = min(self._cap.most, 16.0)
            self._contacts = 1
