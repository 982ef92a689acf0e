"""What an attempt proves about its effect, and what follows: the one table that decides it.

The server honours no idempotency key and has no bulk endpoint (CLARUS_API.md §1 and §3), so what matters about a
failure is whether the server may have applied the request. ``classify`` is a pure function of the result of an
attempt, the kind of the operation, and what earlier attempts left in doubt; nothing else in this package decides what
a failure proves.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from clarus_async.errors import Applied


class OperationKind(StrEnum):
    """What an operation does, on which it depends whether it may be repeated."""

    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    ACTION = "action"  # synchronize, a GraphQL mutation: a second one is a second effect


class NoResponse(StrEnum):
    """Why an attempt got no response."""

    NO_CONNECTION = "no connection could be made"
    BAD_CERTIFICATE = "the server's certificate is not valid"
    PROXY_REFUSED = "the proxy refused the connection"
    CONNECTION_LOST = "the connection was lost before a response came"
    TIMED_OUT = "no response came in time"
    WITHHELD = "the request was not sent: the permission to send has ended"
    RAISED_BEFORE = "a middleware, connector, resolver, trace or mock of aiohttp raised before the request was sent"
    RAISED_AFTER = "a middleware, trace or mock of aiohttp raised after the request was sent"


class ResponseSummary(NamedTuple):
    """What of a response decides what follows."""

    status: int
    retry_after: float | None = None  # seconds, where the response has a Retry-After
    readable: bool = True  # the body of a 2xx holds what it must; no other body decides anything
    whole: bool = True  # the body was received completely; if not, repeating a read may succeed
    faulty: bool = False  # it is a 2xx that reports errors, as GraphQL does (CLARUS_API.md §3)
    executed: bool = True  # what a faulty response answers may have been executed in part


AttemptResult: TypeAlias = ResponseSummary | NoResponse

NEVER_SENDABLE: Final = frozenset({NoResponse.BAD_CERTIFICATE, NoResponse.PROXY_REFUSED, NoResponse.RAISED_BEFORE})
"""Reasons that hold for every request until somebody changes a setting or their own code."""


class Effect(StrEnum):
    """What an attempt did on the server, as far as its result proves it."""

    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    APPLIED = "applied"
    DONE = "done"
    MISCONFIGURED = "misconfigured"


class NextAction(StrEnum):
    """What follows an attempt."""

    DONE = "done"
    RETRY = "retry"  # after a backoff, and not before Retry-After; costs an attempt
    RETRY_WHEN_PERMITTED = "retry_when_permitted"  # retry when the rate limiter permits it; costs no attempt
    REFRESH_TOKEN = "refresh_token"  # noqa: S105  retry with a new token; costs no attempt
    RAISE = "raise"  # no further attempt; the effect says what may have been applied
    IN_DOUBT = "in_doubt"  # it may have been applied: never retry blindly


class Classification(NamedTuple):
    """What an attempt proves, and what follows."""

    effect: Effect
    next_action: NextAction


_DONE = Classification(Effect.DONE, NextAction.DONE)
_REJECTED = Classification(Effect.REJECTED, NextAction.RAISE)
_IDEMPOTENT: Final = frozenset({OperationKind.READ, OperationKind.UPDATE, OperationKind.DELETE})


def classify(
    kind: OperationKind, result: AttemptResult, *, repeatable: bool = False, in_doubt: bool = False
) -> Classification:
    """Decide what an attempt proves, and what follows.

    Args:
        kind: what the operation does.
        result: the response, or why there is none.
        repeatable: the caller says that repeating an action does no harm.
        in_doubt: an earlier attempt of the same call may have been applied.
    """
    if isinstance(result, NoResponse):
        return _without_response(kind, result, repeatable=repeatable)
    status = result.status
    if 200 <= status < 300:
        if result.faulty:
            # A mutation that reports errors may have been applied in part.
            partly = kind is OperationKind.ACTION and result.executed
            return Classification(Effect.UNKNOWN, NextAction.RAISE) if partly else _REJECTED
        if result.readable:
            return _DONE
        return _applied(kind, result)
    if 300 <= status < 400:
        return Classification(Effect.MISCONFIGURED, NextAction.RAISE)
    if status == 401:
        return Classification(Effect.REJECTED, NextAction.REFRESH_TOKEN)
    if status == 429:
        return Classification(Effect.REJECTED, NextAction.RETRY_WHEN_PERMITTED)
    if 400 <= status < 500 and status != 408:
        if status == 404 and kind is OperationKind.DELETE and in_doubt:
            # It is gone, and only this call was deleting it.
            return _DONE
        return _REJECTED
    # A 503 too, whatever its headers: a gateway sends one for a request that its origin applies later.
    return _unknown(kind, repeatable=repeatable)


def _applied(kind: OperationKind, unreadable: ResponseSummary) -> Classification:
    if kind is OperationKind.READ:
        return Classification(Effect.APPLIED, NextAction.RAISE if unreadable.whole else NextAction.RETRY)
    if kind in _IDEMPOTENT:
        # What was asked for is done, whatever the response lacks.
        return _DONE
    # The record exists and its id is not known: sending the request again would make a second one.
    return Classification(Effect.APPLIED, NextAction.IN_DOUBT)


def _without_response(kind: OperationKind, reason: NoResponse, *, repeatable: bool) -> Classification:
    if reason is NoResponse.NO_CONNECTION:
        return Classification(Effect.NOT_SENT, NextAction.RETRY)
    if reason in NEVER_SENDABLE or reason is NoResponse.WITHHELD:
        return Classification(Effect.NOT_SENT, NextAction.RAISE)
    if reason is NoResponse.RAISED_AFTER:
        # It would raise again on a retry; what was sent may have been applied all the same.
        return Classification(Effect.UNKNOWN, NextAction.RAISE if kind in _IDEMPOTENT else NextAction.IN_DOUBT)
    return _unknown(kind, repeatable=repeatable)


def _unknown(kind: OperationKind, *, repeatable: bool) -> Classification:
    again = kind in _IDEMPOTENT or (kind is OperationKind.ACTION and repeatable)
    return Classification(Effect.UNKNOWN, NextAction.RETRY if again else NextAction.IN_DOUBT)


def merge_applied(applied: Applied, effect: Effect, kind: OperationKind) -> Applied:
    """Return the most that the attempts of a call may have done, when the last one is added to the earlier ones."""
    if kind is OperationKind.READ or applied is Applied.YES:
        return applied
    if effect is Effect.DONE or effect is Effect.APPLIED:
        return Applied.YES
    return Applied.MAYBE if effect is Effect.UNKNOWN else applied
