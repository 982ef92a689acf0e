"""What a pacer has to reach before each kind of limiter."""

from __future__ import annotations

from typing import Final, NamedTuple


class Wanted(NamedTuple):
    """What is wanted of one kind.

    Args:
        goodput: 5th percentile over the seeds; ``None``: nothing is promised.
        refused: part of the requests that may be refused, beside what was under way at the first refusal and five more.
    """

    goodput: float | None
    refused: float = 0.02


WANTED: Final[dict[str, Wanted]] = {
    "nginx-small": Wanted(0.93),
    "nginx-large": Wanted(0.98),
    "nginx-delay": Wanted(0.92),
    "nginx-burst0": Wanted(0.85),
    "nginx-burst0-swapped": Wanted(None),
    "conn": Wanted(0.90),
    "conn-far": Wanted(0.90),
    "bucket": Wanted(0.90),
    "bucket-ra": Wanted(0.83),
    "fixed-1s": Wanted(0.93),
    "fixed-1s-ra": Wanted(0.85),
    "fixed-long": Wanted(0.90),
    "first-request": Wanted(0.87),
    "log": Wanted(0.87),
    "counter": Wanted(0.90),
    "haproxy": Wanted(0.82, 0.04),
    "two-levels": Wanted(0.86, 0.04),
    "block": Wanted(0.50),
    "block-long": Wanted(None),
    "bursty": Wanted(None),
    "other-traffic": Wanted(0.75),
    "changed": Wanted(0.77),
    "steady-bucket": Wanted(0.95),
    "steady-fixed": Wanted(0.95),
    "steady-log": Wanted(0.95),
    "none": Wanted(0.95, 0.0),
    "told-draft6": Wanted(0.95),
    "told-draft7": Wanted(0.95),
    "told-draft8": Wanted(0.95),
    "told-legacy": Wanted(0.95),
    "told-stray429": Wanted(0.95),
    "given": Wanted(0.97),
    "given-stray429": Wanted(0.97),
}

# Kinds whose figures are not reached yet.
PENDING: Final = frozenset(WANTED) - {"none", "told-draft6", "told-draft7", "told-draft8"}
