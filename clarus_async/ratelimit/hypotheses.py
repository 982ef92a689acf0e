"""What may limit a tenant: the hypotheses side by side, the likeliest first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from clarus_async.ratelimit.evidence import Boundary, Evidence, Hypothesis
from clarus_async.ratelimit.lockouts import Lockouts
from clarus_async.ratelimit.pace import LimitKind

UNKNOWN_LOSS: Final = 7.0
"""The loss of a limit of no known kind: what explains less than that is not believed alone."""

# How unlikely a kind is before there is evidence, in the unit of a loss. Buckets are the most common.
_LOG: Final = 0.3
_FIXED: Final = 0.5
_BLOCK: Final = 1.0
_CONNECTIONS: Final = 0.5
# One hit says little of what is in flight; and nobody who limits that knows when to come back.
_ONE_HIT: Final = 1.0
_ANNOUNCED: Final = 6.0
# Part of a block's quota that is used: exceeding it costs the length of the block.
_BELOW: Final = 0.97
# A loss grows with each refusal. A hypothesis whose loss was as much above the least is looked at again only when the
# least has come near it.
_FAR: Final = 6.0
# Seconds and requests over which an average is taken: in fewer, the lockout between them weighs too much.
_AVERAGED: Final = 3.0
_EXACTLY: Final = 20
# Where nothing explains the refusals, the rate may be a little below the average, or the one that was refused.
_LEAST: Final = 0.98
_MOST: Final = 0.95


def weigh(
    evidence: Evidence,  # with a refusal in it
    lockouts: Lockouts,
    *,
    now: float,  # when the last request was sent that was answered
    jitter: float,  # seconds by which requests may arrive closer together than they were sent
    reopened: Sequence[float],  # when requests were sent that ended lockouts
    fastest: float,  # requests a second that were tried
    believed: Sequence[float],  # the lowest and the highest rate that a bucket was taken to have; may be empty
    refused_rate: float,  # requests a second at which the last refusal came; 0 where there was no rate
    hits: int,
    announced: bool,  # refusals say when to come back
    round_trip: float,  # seconds
) -> list[Hypothesis]:
    """Return the hypotheses, the likeliest first; that nothing explains the evidence is always one of them."""
    prior = _CONNECTIONS + (_ONE_HIT if hits < 2 else 0.0) + (_ANNOUNCED if announced else 0.0)
    finders: dict[str, tuple[float, Callable[[], Hypothesis | None]]] = {
        "bucket": (0.0, partial(_bucket, evidence, jitter, fastest, believed)),
        "block": (_BLOCK, partial(_block, evidence, jitter)),
        "connections": (prior, partial(_connections, evidence, round_trip)),
    }
    reopenings = evidence.reopenings()
    for window, unlikely in {1.0: 0.0, **lockouts.windows()}.items():
        boundary = _boundary(reopenings, window, jitter, lockouts.began)
        finders[f"log {window:.1f}"] = _LOG + unlikely, partial(evidence.log, window, jitter)
        finders[f"window {window:.1f}"] = _FIXED + unlikely, partial(evidence.fixed, window, boundary, jitter)
    losses, least = evidence.losses, UNKNOWN_LOSS
    hypotheses: list[Hypothesis] = []
    for name in sorted(finders, key=lambda name: losses.get(name, 0.0)):
        prior, find = finders[name]
        if losses.get(name, 0.0) <= least + _FAR and (found := find()) is not None:
            losses[name] = found.loss + prior
            hypotheses.append(found._replace(loss=losses[name]))
            least = min(least, losses[name])
    # From reopening to reopening, any limiter admits its rate on average.
    whole = (at for at in reopened if now - at > _AVERAGED and evidence.admitted(at, now) >= _EXACTLY)
    since = max([evidence.began, *whole])
    average = evidence.admitted(since, now) / max(0.1, now - since)
    unknown = Hypothesis(LimitKind.UNKNOWN, UNKNOWN_LOSS, _LEAST * average, max(average, _MOST * refused_rate))
    return sorted([*hypotheses, unknown], key=lambda hypothesis: hypothesis.loss)


def _bucket(evidence: Evidence, jitter: float, fastest: float, believed: Sequence[float]) -> Hypothesis:
    found = evidence.bucket(jitter, fastest, believed)
    # A bucket of a single request refuses the next one that arrives too early, however little.
    gap = jitter * max(0.0, 2.0 - found.depth)
    return found._replace(low=_with_gap(found.low, gap), high=_with_gap(found.high, gap))


def _with_gap(rate: float, gap: float) -> float:
    return rate / (1.0 + rate * gap) if rate < math.inf else rate


def _block(evidence: Evidence, jitter: float) -> Hypothesis:
    found = evidence.log(1.0, jitter, block=True)
    return found._replace(low=found.low * _BELOW, high=found.high * _BELOW)


def _connections(evidence: Evidence, round_trip: float) -> Hypothesis | None:
    most = evidence.connections(round_trip)
    allowed = most.high - 1.0  # one less than the least that was refused
    return most._replace(low=allowed, high=allowed) if 0.0 < allowed < math.inf else None


def _boundary(reopenings: Sequence[Boundary], window: float, jitter: float, lockout_began: float) -> Boundary:
    """Return between which moments a fixed window began."""
    within = [one for one in reopenings if one[1] - one[0] < window]
    if not within:
        return lockout_began - window, lockout_began
    # The narrowest, made narrower by those that agree with it.
    low, high = min(within, key=lambda one: one[1] - one[0])
    low -= jitter
    for one, other in within:
        whole = window * round(((low + high) - (one + other)) / 2.0 / window)
        if max(low, one - jitter + whole) < min(high, other + whole):
            low, high = max(low, one - jitter + whole), min(high, other + whole)
    return low, high
