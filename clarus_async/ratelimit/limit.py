"""What limits a tenant, as far as that is known or believed: what a person is told of it."""

from __future__ import annotations

from typing import NamedTuple

from clarus_async.ratelimit.beliefs import LimitKind


class Limit(NamedTuple):
    """A limit.

    Args:
        kind: what it is of.
        burst: requests that may go out at once: what a bucket holds, or how many may be under way; ``None`` where that
            is not known.
        window: seconds; ``None`` where there is none.
        certainty: 0 to 1: the lowest rate that the evidence allows, by the highest; 1 for one that is given or told.
    """

    kind: LimitKind
    burst: int | None = None
    window: float | None = None
    certainty: float = 1.0
