"""Promises of how the server is asked, and of when a call ends."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final

from clarus_async import AuthenticationError, ClarusError
from clarus_async.events import AttemptEvent, CallEvent
from clarus_async.retry.budget import MOST_UNCOUNTED_ATTEMPTS
from tests.simulation.history import Facts
from tests.simulation.tap import TOKEN, Attempt

LATE: Final = 0.05
"""Seconds by which an end may come after its deadline or its cancellation."""

_SHADE: Final = 1e-5  # what rounding to microseconds, twice, can make of a time


def typed_errors(facts: Facts) -> Iterator[str]:
    """Nothing is raised but the library's own errors, and a cancellation that was asked for."""
    for op in facts.history.ops:
        cancelled = isinstance(op.error, asyncio.CancelledError)
        if op.error is None or isinstance(op.error, ClarusError) or (cancelled and op.cancelled_at is not None):
            continue
        if not op.crashed and not (cancelled and op.life < facts.history.tap.life):
            yield f"{op}"


def waits_for_retry_after(facts: Facts) -> Iterator[str]:
    """Nothing goes out for a tenant before a 429's Retry-After, nor the same write before a 503's."""
    common = facts.plan.pacing.scope == "client"
    for refused in facts.attempts:
        if refused.retry_after is None or refused.path == TOKEN:
            continue
        until = refused.ended + refused.retry_after - _SHADE
        for later in facts.attempts[refused.number + 1 :]:
            if later.life != refused.life or later.path == TOKEN or not refused.ended < later.started < until:
                continue
            if (refused.result == 429 and (common or later.tenant == refused.tenant)) or (
                refused.result == 503 and later.key is not None and later.key == refused.key
            ):
                yield f"{later} came before {refused.retry_after} s had passed since {refused}"


def no_dead_token(facts: Facts) -> Iterator[str]:
    """No request is sent with a token that is known to be dead."""
    dead: dict[tuple[int, str], float] = {}
    moments: list[tuple[float, int, Callable[[], Iterator[str]]]] = []

    def refused(attempt: Attempt) -> Iterator[str]:
        dead.setdefault((attempt.life, attempt.token), attempt.ended)
        yield from ()

    def granted(attempt: Attempt) -> Iterator[str]:
        token, life = attempt.granted
        if life is not None:
            # One that took longer to come than it lives is tried all the same: the server began to count later.
            dead.setdefault((attempt.life, token), max(attempt.started + life, attempt.ended))
        yield from ()

    def sent(attempt: Attempt) -> Iterator[str]:
        died = dead.get((attempt.life, attempt.token))
        if died is not None and attempt.started > died + _SHADE:
            yield f"{attempt} was sent with a token that was dead since {died:.6f}"

    for attempt in facts.attempts:
        if attempt.path != TOKEN:
            moments.append((attempt.started, attempt.number, lambda a=attempt: sent(a)))
        if attempt.result == 401 and attempt.path != TOKEN:
            moments.append((attempt.ended, attempt.number, lambda a=attempt: refused(a)))
        if attempt.granted is not None:
            moments.append((attempt.ended, attempt.number, lambda a=attempt: granted(a)))
    for _, _, check in sorted(moments, key=lambda moment: moment[:2]):
        yield from check()


def early_deaths_fail_nothing(facts: Facts) -> Iterator[str]:
    """A token that dies early costs time and nothing else, as long as another one is to be had."""
    for op in facts.history.ops:
        if isinstance(op.error, AuthenticationError) and op.ended - op.began < facts.plan.timeouts.deadline / 4:
            yield f"{op}"
    for given in facts.history.given:
        for one in given:
            if one.outcome.error is not None and one.outcome.error.type == "AuthenticationError":
                yield one.outcome.to_json().decode()


def one_refresh_at_a_time(facts: Facts) -> Iterator[str]:
    """The token endpoint is asked by one at a time."""
    asked = [attempt for attempt in facts.attempts if attempt.path == TOKEN]
    for one, other in pairwise(asked):
        if one.life == other.life and (one.ended is None or other.started < one.ended - _SHADE):
            yield f"{other} began before the end of {one}"


def retry_budget(facts: Facts) -> Iterator[str]:
    """In any stretch of time, a tenant's retries stay within the reserve and a tenth of its calls."""
    if facts.plan.job is not None:
        return  # a run's looks have an allowance of their own
    by_tenant: defaultdict[tuple[int, str | None], list[tuple[float, bool]]] = defaultdict(list)
    earlier: dict[tuple[int, int], AttemptEvent] = {}
    looking = {op.number for op in facts.history.ops if op.what in {"create", "resolve"}}
    for attempt in facts.attempts:
        event = attempt.event
        if event is None or (attempt.op in looking and attempt.path == "/graphql"):
            continue
        before = earlier.get((attempt.life, event.call_id))
        earlier[attempt.life, event.call_id] = event
        if before is None:
            by_tenant[attempt.life, attempt.tenant].append((attempt.started, False))
        elif before.status not in {401, 429, 503}:
            by_tenant[attempt.life, attempt.tenant].append((attempt.started, True))
    for whose, sent in by_tenant.items():
        for first, (since, _) in enumerate(sent):
            retries = calls = 0
            for at, again in sent[first:]:
                retries += again
                calls += not again
                if retries > 11 + (at - since) / 6.0 + 0.1 * calls:
                    yield f"{whose}: {retries} retries and {calls} calls from {since:.3f} to {at:.3f}"
                    return


def attempts_are_bounded(facts: Facts) -> Iterator[str]:
    """No call costs more attempts than the policy says, those aside that a 429, a 401 or a limiter's 503 brought."""
    spent: defaultdict[tuple[int, int], list[Attempt]] = defaultdict(list)
    for attempt in facts.attempts:
        if attempt.event is not None:
            spent[attempt.life, attempt.event.call_id].append(attempt)
    for attempts in spent.values():
        costly = [attempt for attempt in attempts if attempt.result not in {401, 429}]
        limited = min(MOST_UNCOUNTED_ATTEMPTS, sum(attempt.result == 503 for attempt in attempts))
        if len(costly) - limited > facts.plan.retry.max_attempts:
            yield f"{len(costly)} attempts of one call: {', '.join(map(str, costly))}"


def deadline(facts: Facts) -> Iterator[str]:
    """No call outlives its deadline, and a cancelled one ends at once."""
    most = facts.plan.timeouts.deadline + LATE
    for op in facts.history.ops:
        if op.ended is None or op.what in {"list", "find"}:
            continue
        if op.ended - op.began > most:
            yield f"{op}: took {op.ended - op.began:.3f} s"
        if op.cancelled_at is not None and op.ended - op.cancelled_at > LATE:
            yield f"{op}: went on for {op.ended - op.cancelled_at:.3f} s after its cancellation"
    for number, event in facts.history.tap.events:
        if number and isinstance(event, CallEvent) and event.duration > most:
            yield f"of op {number}: {event}"
    for attempt in facts.attempts:
        if attempt.ended is not None and attempt.ended - attempt.started > facts.plan.timeouts.attempt + LATE:
            yield f"{attempt} outlived the timeout of an attempt"


def known_rate(facts: Facts) -> Iterator[str]:
    """A rate that the caller knows is never exceeded."""
    rate = facts.plan.pacing.rate
    if rate is None:
        return
    burst = max(1.0, rate / 10.0)
    lines: defaultdict[tuple[int, str | None], list[float]] = defaultdict(list)
    for attempt in facts.attempts:
        if attempt.path != TOKEN:
            tenant = None if facts.plan.pacing.scope == "client" else attempt.tenant
            lines[attempt.life, tenant].append(attempt.started)
    for whose, times in lines.items():
        for first, since in enumerate(times):
            for count, at in enumerate(times[first:], 1):
                if count > burst + (at - since) * rate + 1.0 + _SHADE:
                    yield f"{whose}: {count} requests from {since:.3f} to {at:.3f}"
                    return


def dead_processes_are_silent(facts: Facts) -> Iterator[str]:
    """What was cancelled sends nothing more."""
    for op in facts.history.ops:
        end = op.cancelled_at
        for attempt in facts.of_op[op.number]:
            if end is not None and attempt.started > end and attempt.path != TOKEN:
                yield f"{attempt} of a call that was cancelled at {end:.6f}"
