"""Exponential backoff with full jitter."""

from __future__ import annotations

from collections.abc import Callable

from clarus_async.config import RetryPolicy


def backoff(policy: RetryPolicy, retry: int, random: Callable[[], float]) -> float:
    """Draw the seconds to wait before a retry, of which the first is 1.

    The jitter is full, so that callers who failed together do not retry together. ``random`` draws from 0 to 1.
    """
    # An exponent of 60 is far past any cap, and a much larger one overflows.
    return random() * min(policy.cap, policy.base * 2.0 ** min(retry - 1, 60))
