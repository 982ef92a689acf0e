"""What limits us, as far as the evidence goes: hypotheses side by side, each with the rates that it allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

from clarus_async.ratelimit.evidence import Evidence, Fit, Turns
from clarus_async.ratelimit.walls import Walls

UNKNOWN_LOSS: Final = 7.0
"""What a limit of no known kind fails to explain."""

# How unlikely a kind is before there is evidence, in the unit of its loss.
_LOG: Final = 0.3
_FIXED: Final = 0.5
_BLOCK: Final = 1.0
_CONNECTIONS: Final = 0.5
# One contact says little of it. Nobody who limits what is under way knows when to come back.
_ONE_CONTACT: Final = 1.0
_KNOWS_WHEN: Final = 6.0
# Of a block's quota; a refusal costs all of its length.
_BELOW: Final = 0.97
# A loss grows with what is refused: a hypothesis that was worse than the likeliest by so much is looked at again only
# where that has become as bad.
_FAR: Final = 6.0
# Seconds and requests over which an average is taken: of fewer, it is the wall's that lies between.
_AVERAGED: Final = 3.0
_EXACTLY: Final = 20


class LimitKind(StrEnum):
    """What a limit is of."""

    BUCKET = "bucket"  # a rate, and a burst: a token bucket, GCRA, nginx limit_req
    WINDOW = "window"  # a quota a window, which turns for all of it at once
    LOG = "log"  # a quota in any stretch of a window
    CONNECTIONS = "connections"  # of what is under way
    BLOCK = "block"  # a quota, after which all is refused for a while
    UNKNOWN = "unknown"  # none of these explains it


class Belief(NamedTuple):
    """A kind of limit, and what it allows.

    Args:
        kind: of which.
        loss: what it fails to explain.
        low: requests a second that it surely allows; for connections, how many.
        high: those that it allows at the most.
        window: seconds; 0 where there is none.
        depth: of a bucket, in requests.
    """

    kind: LimitKind
    loss: float
    low: float
    high: float
    window: float = 0.0
    depth: float = 0.0


def weigh(
    evidence: Evidence,
    walls: Walls,
    *,
    now: float,
    uneven: float,
    openings: Sequence[float],
    fastest: float,
    believed: Sequence[float],
    failed: float,
    contacts: int,
    knows_when: bool,
    round_trip: float,
) -> list[Belief]:
    """Return what may limit us, the likeliest first.

    Args:
        evidence: with a refusal in it.
        walls: those that were met.
        now: when the last answer's request was sent, or what time it is.
        uneven: seconds by which requests may come closer to each other than they were sent.
        openings: when requests were sent that were admitted after a refusal.
        fastest: requests a second that were tried.
        believed: the least and the most that a bucket's rate was taken for so far.
        failed: requests a second at which the last refusal came; 0 where there was no pace.
        contacts: how often the limit was met.
        knows_when: whether refusals say when to come back.
        round_trip: seconds of one.
    """
    hypotheses: dict[str, Callable[[], Belief | None]] = {
        "bucket": partial(_bucket, evidence, uneven, fastest, believed),
        "block": partial(_block, evidence, uneven),
        "connections": partial(_connections, evidence, contacts, round_trip, knows_when=knows_when),
    }
    reopenings = evidence.openings()
    for window, unlikely in {1.0: 0.0, **walls.windows()}.items():
        turns = _turned(reopenings, window, uneven, walls.shut)
        for kind, prior, find in (
            (LimitKind.LOG, _LOG, partial(evidence.log, window, uneven)),
            (LimitKind.WINDOW, _FIXED, partial(evidence.fixed, window, turns, uneven)),
        ):
            hypotheses[f"{kind} {window:.1f}"] = partial(_window, kind, window, prior + unlikely, find)
    losses, least = evidence.losses, UNKNOWN_LOSS
    beliefs: list[Belief] = []
    for name in sorted(hypotheses, key=lambda name: losses.get(name, 0.0)):
        if losses.get(name, 0.0) <= least + _FAR and (belief := hypotheses[name]()) is not None:
            beliefs.append(belief)
            losses[name] = belief.loss
            least = min(least, belief.loss)
    # What was admitted from opening to opening is what any limiter admits.
    whole = (at for at in openings if now - at > _AVERAGED and evidence.admitted(at, now) >= _EXACTLY)
    since = max([evidence.began, *whole])
    average = evidence.admitted(since, now) / max(0.1, now - since)
    beliefs.append(Belief(LimitKind.UNKNOWN, UNKNOWN_LOSS, 0.98 * average, max(average, 0.95 * failed)))
    beliefs.sort(key=lambda belief: belief.loss)
    return beliefs


def _bucket(evidence: Evidence, uneven: float, fastest: float, believed: Sequence[float] = ()) -> Belief:
    found = evidence.bucket(uneven, fastest, believed)
    # One that holds a single request refuses the next that comes too early, however little.
    apart = uneven * max(0.0, 2.0 - found.depth)
    low = found.low / (1.0 + found.low * apart)
    high = found.high / (1.0 + found.high * apart) if found.high < math.inf else math.inf
    return Belief(LimitKind.BUCKET, found.loss, low, high, 0.0, found.depth)


def _window(kind: LimitKind, window: float, prior: float, find: Callable[[], Fit]) -> Belief:
    found = find()
    return Belief(kind, found.loss + prior, found.low, found.high, window)


def _block(evidence: Evidence, uneven: float) -> Belief:
    found = evidence.log(1.0, uneven, block=True)
    return Belief(LimitKind.BLOCK, found.loss + _BLOCK, found.low * _BELOW, found.high * _BELOW, 1.0)


def _connections(evidence: Evidence, contacts: int, round_trip: float, *, knows_when: bool) -> Belief | None:
    found = evidence.connections(round_trip)
    if not 1.0 < found.high < math.inf:
        return None
    prior = _CONNECTIONS + (_ONE_CONTACT if contacts < 2 else 0.0) + (_KNOWS_WHEN if knows_when else 0.0)
    return Belief(LimitKind.CONNECTIONS, found.loss + prior, found.high - 1.0, found.high - 1.0)


def _turned(openings: Sequence[Turns], window: float, uneven: float, shut: float) -> Turns:
    """When a window may have turned."""
    within = [one for one in openings if one[1] - one[0] < window]
    if not within:
        return shut - window, shut
    # The narrowest, made narrower by those that agree with it.
    low, high = min(within, key=lambda one: one[1] - one[0])
    low -= uneven
    for one, other in within:
        whole = window * round(((low + high) - (one + other)) / 2.0 / window)
        if max(low, one - uneven + whole) < min(high, other + whole):
            low, high = max(low, one - uneven + whole), min(high, other + whole)
    return low, high
