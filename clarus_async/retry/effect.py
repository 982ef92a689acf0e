"""What an attempt proves, and what follows: the one table that decides it.

The server has no idempotency key and no bulk endpoint (CLARUS_API.md §1 and §3), so what matters of a failure is
whether the thing may have been applied. :func:`judge` is a pure function of what was seen; nothing else in this
package decides it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from clarus_async.errors import Applied


class Kind(StrEnum):
    """What repeating a call would do."""

    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    ACTION = "action"  # synchronize, a GraphQL mutation: a second one is a second effect


class NoAnswer(StrEnum):
    """Why an attempt has no answer, as far as it decides anything."""

    NO_CONNECTION = "no connection could be made"
    BAD_CERTIFICATE = "the server's certificate is not valid"
    PROXY_REFUSED = "the proxy refused the connection"
    CONNECTION_LOST = "the connection was lost before an answer came"
    TIMED_OUT = "no answer came in time"
    WITHHELD = "it was not sent, for the right to send has ended"
    RAISED_BEFORE = "code in the request's way raised before it was sent"
    RAISED_AFTER = "code in the request's way raised after it was sent"


class Answered(NamedTuple):
    """An answer whose status line was read.

    Args:
        status: the HTTP status code.
        retry_after: seconds, where Retry-After was there.
        readable: whether a 2xx holds what it must; whatever other bodies hold decides nothing.
        faulty: a 2xx that reports errors, as GraphQL's do (CLARUS_API.md §3).
        executed: whether something may have been executed of what a faulty answer answers.
        whole: whether the body came whole; where it did not, the same read may do better next time.
    """

    status: int
    retry_after: float | None = None
    readable: bool = True
    whole: bool = True
    faulty: bool = False
    executed: bool = True


AttemptResult: TypeAlias = Answered | NoAnswer

NO_WAY: Final = frozenset({NoAnswer.BAD_CERTIFICATE, NoAnswer.PROXY_REFUSED, NoAnswer.RAISED_BEFORE})
"""What keeps every request from being sent, until somebody changes a setting, or a middleware."""


class Effect(StrEnum):
    """What an attempt proves."""

    NOT_SENT = "not_sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    APPLIED = "applied"
    DONE = "done"
    MISCONFIGURED = "misconfigured"


class NextAction(StrEnum):
    """What follows an attempt."""

    DONE = "done"
    AGAIN = "again"  # after a backoff, and not before Retry-After; costs an attempt
    PACE = "pace"  # when the pace allows; costs no attempt
    REFRESH = "refresh"  # with a new token; costs no attempt
    RAISE = "raise"  # nothing of it was applied, or it does not matter
    UNSETTLED = "unsettled"  # it may have been applied: never again blindly


class Conclusion(NamedTuple):
    """What an attempt proves, and what follows."""

    proof: Effect
    step: NextAction


_DONE = Conclusion(Effect.DONE, NextAction.DONE)
_REJECTED = Conclusion(Effect.REJECTED, NextAction.RAISE)
_APPLIED = {
    # The record is there and its id is not known: sending it again would make a second one.
    Kind.CREATE: Conclusion(Effect.APPLIED, NextAction.UNSETTLED),
    Kind.READ: Conclusion(Effect.APPLIED, NextAction.RAISE),
    # What it asked for was done, whatever is missing of the answer.
    Kind.UPDATE: _DONE,
    Kind.DELETE: _DONE,
    Kind.ACTION: Conclusion(Effect.APPLIED, NextAction.UNSETTLED),
}
_UNKNOWN = {
    Kind.READ: Conclusion(Effect.UNKNOWN, NextAction.AGAIN),
    Kind.UPDATE: Conclusion(Effect.UNKNOWN, NextAction.AGAIN),
    Kind.DELETE: Conclusion(Effect.UNKNOWN, NextAction.AGAIN),
    Kind.CREATE: Conclusion(Effect.UNKNOWN, NextAction.UNSETTLED),
    Kind.ACTION: Conclusion(Effect.UNKNOWN, NextAction.UNSETTLED),
}


def judge(kind: Kind, seen: AttemptResult, *, repeatable: bool = False, doubt: bool = False) -> Conclusion:
    """Say what an attempt proves, and what follows.

    Args:
        kind: what repeating the call would do.
        seen: the answer, or why there is none.
        repeatable: the caller says that a second effect of an action does no harm.
        doubt: an earlier attempt of the same call may have been applied.
    """
    if isinstance(seen, NoAnswer):
        return _no_answer(kind, seen, repeatable=repeatable)
    status = seen.status
    if 200 <= status < 300:
        if seen.faulty:
            # A mutation that fails in part may have done the other part.
            return Conclusion(Effect.UNKNOWN, NextAction.RAISE) if kind is Kind.ACTION and seen.executed else _REJECTED
        if seen.readable:
            return _DONE
        if kind is Kind.READ and not seen.whole:
            # Reading again may bring the body.
            return Conclusion(Effect.APPLIED, NextAction.AGAIN)
        return _APPLIED[kind]
    if 300 <= status < 400:
        return Conclusion(Effect.MISCONFIGURED, NextAction.RAISE)
    if status == 401:
        return Conclusion(Effect.REJECTED, NextAction.REFRESH)
    if status == 429:
        return Conclusion(Effect.REJECTED, NextAction.PACE)
    if 400 <= status < 500 and status != 408:
        if status == 404 and kind is Kind.DELETE and doubt:
            # It is gone, and nobody but us was asked to delete it.
            return _DONE
        return _REJECTED
    # A 503 too, whatever its headers: a gateway sends one for a request that its origin applies later.
    return _unknown(kind, repeatable=repeatable)


def _no_answer(kind: Kind, seen: NoAnswer, *, repeatable: bool) -> Conclusion:
    if seen is NoAnswer.NO_CONNECTION:
        return Conclusion(Effect.NOT_SENT, NextAction.AGAIN)
    if seen in NO_WAY or seen is NoAnswer.WITHHELD:
        return Conclusion(Effect.NOT_SENT, NextAction.RAISE)
    if seen is NoAnswer.RAISED_AFTER:
        # It would be raised again; what was sent may be there all the same.
        known = _UNKNOWN[kind]
        return known if known.step is NextAction.UNSETTLED else Conclusion(Effect.UNKNOWN, NextAction.RAISE)
    return _unknown(kind, repeatable=repeatable)


def _unknown(kind: Kind, *, repeatable: bool) -> Conclusion:
    if kind is Kind.ACTION and repeatable:
        return Conclusion(Effect.UNKNOWN, NextAction.AGAIN)
    return _UNKNOWN[kind]


def worst(applied: Applied, verdict: Conclusion, kind: Kind) -> Applied:
    """Add an attempt to the most that a call's attempts may have done.

    Args:
        applied: what the attempts before it may have done.
        verdict: what this one proves.
        kind: reads apply nothing.
    """
    if kind is Kind.READ or applied is Applied.YES:
        return applied
    proof = verdict.proof
    if proof is Effect.DONE or proof is Effect.APPLIED:
        return Applied.YES
    return Applied.MAYBE if proof is Effect.UNKNOWN else applied
