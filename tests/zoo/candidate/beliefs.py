"""What limits us, as far as the evidence goes: hypotheses side by side, each with the rates that it allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from tests.zoo.candidate.evidence import Evidence, Range
from tests.zoo.candidate.walls import Walls

# How unlikely a kind is before there is evidence, in the unit of its loss.
_LOG: Final = 0.3
_FIXED: Final = 0.5
_COUNTER: Final = 1.0
_HAPROXY: Final = 1.5
_BLOCK: Final = 1.0
_CONNECTIONS: Final = 0.5
# It explains many contacts at far distances by chance; nobody who limits what is under way knows when to come back.
_EACH_CONTACT: Final = 0.7
_CONTACTS: Final = 4.0
_KNOWS_WHEN: Final = 6.0
_SINCE_A_WALL: Final = 2.0
_EQUAL_WALLS: Final = 4.0
_UNKNOWN: Final = 7.0
# Of a block's quota; a refusal costs all of its length.
_BELOW: Final = 0.97
_AVERAGED: Final = 3.0
_PARTS: Final = (0.03, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 0.97)


class LimitKind(StrEnum):
    """What a limit is of."""

    BUCKET = "bucket"  # a rate, and a burst: a token bucket, GCRA, nginx limit_req
    WINDOW = "window"  # a quota a window, which turns for all of it at once
    LOG = "log"  # a quota in any stretch of a window
    COUNTER = "counter"  # a quota a window, of which the last one counts in part
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
    failed: float,
    strikes: int,
    knows_when: bool,
) -> list[Belief]:
    """Return what may limit us, the likeliest first.

    Args:
        evidence: with a refusal in it.
        walls: those that were met.
        now: when the last answer's request was sent, or what time it is.
        uneven: seconds by which requests may come closer to each other than they were sent.
        openings: when requests were sent that were admitted after a refusal.
        fastest: requests a second that were tried.
        failed: requests a second at which the last refusal came; 0 where there was no pace.
        strikes: how often fewer connections were refused than were believed to be allowed.
        knows_when: whether refusals say when to come back.
    """
    beliefs = [_bucket(evidence.bucket(uneven, fastest), 0.0, uneven)]
    turns = evidence.openings()
    for window, unlikely in {1.0: 0.0, **walls.windows()}.items():
        phases = _phases(turns, window, uneven, walls.shut)
        for kind, prior, found in (
            (LimitKind.LOG, _LOG, evidence.log(window, uneven)),
            (LimitKind.WINDOW, _FIXED, evidence.fixed(window, phases, uneven)),
            (LimitKind.COUNTER, _COUNTER, evidence.counter(window, phases, uneven, refused=False)),
            (LimitKind.COUNTER, _HAPROXY, evidence.counter(window, phases, uneven, refused=True)),
        ):
            beliefs.append(Belief(kind, found.loss + prior + unlikely, found.low, found.high, window))
    found = evidence.log(1.0, uneven, block=True)
    beliefs.append(Belief(LimitKind.BLOCK, found.loss + _BLOCK, found.low * _BELOW, found.high * _BELOW, 1.0))
    found = evidence.connections(uneven)
    if 1.0 < found.high < math.inf:
        prior = _CONNECTIONS + min(_CONTACTS, _EACH_CONTACT * (evidence.contacts - 1))
        prior += 3.0 * max(0, strikes - 2) + (_KNOWS_WHEN if knows_when else 0.0)
        beliefs.append(Belief(LimitKind.CONNECTIONS, found.loss + prior, found.high - 1.0, found.high - 1.0))
    # What was admitted from opening to opening is what any limiter admits.
    since = max([evidence.began, *(opened for opened in openings if now - opened > _AVERAGED)])
    average = evidence.admitted(since, now) / max(0.1, now - since)
    beliefs.append(Belief(LimitKind.UNKNOWN, _UNKNOWN, 0.98 * average, max(average, 0.95 * failed)))
    if walls.blocks():
        beliefs.append(Belief(LimitKind.BLOCK, _EQUAL_WALLS, average, max(average, 0.9 * failed)))
    if walls.long and (part := evidence.since(walls.opened)).count():
        # A counter drips after it has turned.
        beliefs.append(_bucket(part.bucket(uneven, fastest), _SINCE_A_WALL, uneven))
    beliefs.sort(key=lambda belief: belief.loss)
    return beliefs


def _bucket(found: Range, prior: float, uneven: float) -> Belief:
    # One that holds a single request refuses the next that comes too early, however little.
    apart = uneven * max(0.0, 2.0 - found.depth)
    low = found.low / (1.0 + found.low * apart)
    high = found.high / (1.0 + found.high * apart) if found.high < math.inf else math.inf
    return Belief(LimitKind.BUCKET, found.loss + prior, low, high, 0.0, found.depth)


def _phases(turns: Sequence[tuple[float, float]], window: float, uneven: float, shut: float) -> list[float]:
    """When a window may have turned."""
    turns = [turn for turn in turns if turn[1] - turn[0] < window]
    if not turns:
        return [shut - window * part / len(_PARTS) for part in range(len(_PARTS))]
    # The narrowest, made narrower by those that agree with it.
    low, high = min(turns, key=lambda turn: turn[1] - turn[0])
    low -= uneven
    for one, other in turns:
        whole = window * round(((low + high) - (one + other)) / 2.0 / window)
        if max(low, one - uneven + whole) < min(high, other + whole):
            low, high = max(low, one - uneven + whole), min(high, other + whole)
    return [low + (high - low) * part for part in _PARTS]
