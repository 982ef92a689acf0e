"""The error that a call ends with, built from what was seen and nothing that is secret."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from clarus_async.errors import (
    ApiError,
    Applied,
    AuthenticationError,
    ClarusError,
    ConfigurationError,
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorDetail,
    GraphQLError,
    OutcomeUnknownError,
    ResponseError,
    api_error_class,
    with_facts,
)
from clarus_async.retry.effect import NO_WAY, Answered, AttemptResult, Kind, NoAnswer
from clarus_async.wire.reading import Unreadable

_SETTLED_BY: Final = {
    Kind.CREATE: "resolve(error), which looks it up by its key, once the server had time to settle",
    Kind.UPDATE: "sending the same changes again",
    Kind.DELETE: "deleting it again: a 404 then means that it is gone",
    Kind.ACTION: "the integration's own state; the API does not tell",
    Kind.READ: "reading again",
}


class Ending(NamedTuple):
    """What is known of a call that failed.

    Args:
        kind: what repeating it would do.
        method: the HTTP method.
        path: the request's path.
        seen: the last answer, or why there was none; ``None`` where nothing was ever sent.
        said: where and why there was none, in words.
        details: what the last answer's body said, scrubbed.
        unreadable: why a 2xx can't be read.
        applied: the most that any attempt may have done.
        attempts: how many requests went out.
        request_id: the last answer's.
        out_of_time: the deadline ended it.
        because: why there was no further attempt, in words.
        sent_at: when the last request that may have been applied was sent (UTC).
        wait: seconds until the pace allows another, where that is what stopped the call.
        stopped_by: what else stopped it, such as a token that could not be had.
        repeatable: a second effect does no harm.
    """

    kind: Kind
    method: str
    path: str
    seen: AttemptResult | None
    said: str | None = None
    details: tuple[ErrorDetail, ...] = ()
    unreadable: Unreadable | None = None
    applied: Applied = Applied.NO
    attempts: int = 0
    request_id: str | None = None
    out_of_time: bool = False
    because: str | None = None
    sent_at: datetime | None = None
    wait: float | None = None
    stopped_by: ClarusError | None = None
    repeatable: bool = False


def failure(ending: Ending) -> ClarusError:
    """Build the error that says what happened and, above all, whether the thing was applied.

    Args:
        ending: what is known.
    """
    if isinstance(ending.seen, Answered) and ending.seen.faulty and ending.stopped_by is None:
        return GraphQLError(
            "; ".join(map(str, ending.details)) or "the answer reports errors, and no details",
            errors=ending.details,
            applied=ending.applied,
            method=ending.method,
            path=ending.path,
            request_id=ending.request_id,
            attempts=ending.attempts,
        )
    if ending.applied is Applied.NO:
        return _definite(ending, Applied.NO)
    last: ClarusError | None = None
    reason = ending.said or str(ending.seen)
    if ending.stopped_by is not None or isinstance(ending.seen, Answered):
        # Why there was no further attempt is said once, of the whole.
        last = _definite(ending._replace(because=None), ending.applied)
        reason = last.reason or str(last) if ending.stopped_by is not None else f"last answer: {last.reason}"
    error = OutcomeUnknownError(
        _because(f"the outcome is unknown ({reason})", ending) + f"; settled by {_SETTLED_BY[ending.kind]}",
        applied=ending.applied,
        # Repeating an update or a delete does no harm; a create or an action must be looked at first.
        retryable=ending.repeatable or ending.kind in {Kind.UPDATE, Kind.DELETE},
        retry_after=_retry_after(ending),
        method=ending.method,
        path=ending.path,
        request_id=ending.request_id,
        attempts=ending.attempts,
        sent_at=ending.sent_at,
        settled_by=_SETTLED_BY[ending.kind],
    )
    error.__cause__ = last
    return error


def _definite(ending: Ending, applied: Applied) -> ClarusError:
    seen = ending.seen
    if ending.stopped_by is not None:
        return with_facts(ending.stopped_by, applied=applied)
    if isinstance(seen, Answered):
        return _answered(ending, seen, applied)
    cls: type[ClarusError]
    if seen in NO_WAY or seen is NoAnswer.RAISED_AFTER:
        cls, retryable = ConfigurationError, False
    elif seen is None or (ending.out_of_time and seen is NoAnswer.TIMED_OUT):
        cls, retryable = DeadlineExceededError, True
    else:
        cls, retryable = ConnectionFailedError, seen is not NoAnswer.WITHHELD
    return cls(
        _because("nothing was sent" if seen is None else ending.said or str(seen), ending),
        applied=applied,
        retryable=retryable,
        retry_after=ending.wait,
        method=ending.method,
        path=ending.path,
        attempts=ending.attempts,
    )


def _answered(ending: Ending, seen: Answered, applied: Applied) -> ClarusError:
    status = seen.status
    message = _because(_answer_in_words(ending, seen), ending)
    if 200 <= status < 300:
        unreadable = ending.unreadable or Unreadable("", "the whole body")
        return ResponseError(
            message,
            pointer=unreadable.pointer,
            expected=unreadable.expected,
            applied=applied,
            retryable=not seen.whole,
            method=ending.method,
            path=ending.path,
            request_id=ending.request_id,
            attempts=ending.attempts,
        )
    if 300 <= status < 400 or status == 401:
        cls = AuthenticationError if status == 401 else ConfigurationError
        return cls(
            message,
            applied=applied,
            retryable=status == 401,
            retry_after=ending.wait,
            method=ending.method,
            path=ending.path,
            request_id=ending.request_id,
            attempts=ending.attempts,
        )
    return api_error_class(status)(
        message,
        status=status,
        errors=ending.details,
        applied=applied,
        retryable=status in {408, 429} or status >= 500,
        retry_after=_retry_after(ending),
        method=ending.method,
        path=ending.path,
        request_id=ending.request_id,
        attempts=ending.attempts,
    )


def _answer_in_words(ending: Ending, seen: Answered) -> str:
    status = seen.status
    if 200 <= status < 300:
        if ending.unreadable is None or not seen.whole:
            return f"{status}, and its body did not come whole"
        where = ending.unreadable.pointer or "the body"
        return f"{status}, and it can't be read: {where} should be {ending.unreadable.expected}"
    details = "; ".join(map(str, ending.details))
    text = f"{status} {details}" if details else str(status)
    if 300 <= status < 400:
        return f"{text}: the server redirects; check base_url (redirects are never followed)"
    return f"{text}: the API refuses a token that was just made" if status == 401 else text


def _retry_after(ending: Ending) -> float | None:
    if ending.wait is not None:
        return ending.wait
    return ending.seen.retry_after if isinstance(ending.seen, Answered) else None


def _because(text: str, ending: Ending) -> str:
    return f"{text}; {ending.because}" if ending.because else text


def not_there(error: ClarusError) -> ClarusError:
    """Say of a create that a look, after the server had time to settle, found nothing of it.

    Args:
        error: what ended its last send.
    """
    last = error.__cause__ if isinstance(error, OutcomeUnknownError) else error
    found = "a look found nothing of it once the server had time to settle"
    if isinstance(last, ApiError):
        return with_facts(last, applied=Applied.NO, reason=f"{last.reason}; {found}")
    if isinstance(error, OutcomeUnknownError):
        return ConnectionFailedError(
            f"no clear answer came; {found}",
            retryable=True,
            method=error.method,
            path=error.path,
            request_id=error.request_id,
            attempts=error.attempts,
        )
    return error
