"""The error that a call ends with, built from the last result, and from nothing that is secret."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

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
from clarus_async.retry.effect import NEVER_SENDABLE, AttemptResult, NoResponse, OperationKind, ResponseSummary
from clarus_async.wire.reading import Unreadable

_SETTLED_BY: Final = {
    OperationKind.CREATE: "resolve(error), which looks the record up by its key once the server had time to settle",
    OperationKind.UPDATE: "sending the same changes again",
    OperationKind.DELETE: "deleting it again: a 404 then means that it is gone",
    OperationKind.ACTION: "the record's own state; the API does not tell",
    OperationKind.READ: "reading again",
}


class FailedCall(NamedTuple):
    """What is known of a call that failed."""

    kind: OperationKind
    method: str
    path: str
    result: AttemptResult | None  # of the last attempt; None if nothing was ever sent
    failure: str | None = None  # where and why the last attempt got no response, in words
    details: tuple[ErrorDetail, ...] = ()  # what the last response said, scrubbed of secrets
    unreadable: Unreadable | None = None  # why a 2xx can't be read
    applied: Applied = Applied.NO  # the most that any attempt may have done
    attempts: int = 0  # requests that were sent
    request_id: str | None = None  # of the last response
    out_of_time: bool = False  # the deadline ended the call
    stop_reason: str | None = None  # why no further attempt was made, in words
    sent_at: datetime | None = None  # when the last request that may have been applied was sent (UTC)
    wait: float | None = None  # seconds, where the rate limiter's wait was too long
    stop_error: ClarusError | None = None  # what else stopped it, such as a token that could not be obtained
    repeatable: bool = False  # repeating an action does no harm

    @property
    def facts(self) -> dict[str, Any]:
        """What every error says of its call."""
        return {
            "method": self.method,
            "path": self.path,
            "request_id": self.request_id,
            "attempts": self.attempts,
        }

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, as the rate limiter knows it, else as the last response says."""
        if self.wait is None and isinstance(self.result, ResponseSummary):
            return self.result.retry_after
        return self.wait

    def because(self, text: str) -> str:
        """Return a text with the stop reason, if there is one."""
        return f"{text}; {self.stop_reason}" if self.stop_reason else text


def call_error(failed: FailedCall) -> ClarusError:
    """Build the error that says what happened and, above all, whether the request was applied."""
    if isinstance(failed.result, ResponseSummary) and failed.result.faulty and failed.stop_error is None:
        return GraphQLError(
            "; ".join(map(str, failed.details)) or "the response reports errors, without details",
            errors=failed.details,
            applied=failed.applied,
            **failed.facts,
        )
    if failed.applied is Applied.NO:
        return _definite(failed, Applied.NO)
    last: ClarusError | None = None
    reason = failed.failure or str(failed.result)
    if failed.stop_error is not None or isinstance(failed.result, ResponseSummary):
        # The stop reason is said once, of the whole call.
        last = _definite(failed._replace(stop_reason=None), failed.applied)
        reason = last.reason or str(last) if failed.stop_error is not None else f"last answer: {last.reason}"
    error = OutcomeUnknownError(
        failed.because(f"the outcome is unknown ({reason})") + f"; settled by {_SETTLED_BY[failed.kind]}",
        applied=failed.applied,
        # Repeating an update or a delete does no harm; what a create or an action did must be looked up first.
        retryable=failed.repeatable or failed.kind in {OperationKind.UPDATE, OperationKind.DELETE},
        retry_after=failed.retry_after,
        **failed.facts,
        sent_at=failed.sent_at,
        settled_by=_SETTLED_BY[failed.kind],
    )
    error.__cause__ = last
    return error


def _definite(failed: FailedCall, applied: Applied) -> ClarusError:
    result = failed.result
    if failed.stop_error is not None:
        return with_facts(failed.stop_error, applied=applied)
    if isinstance(result, ResponseSummary):
        return _answered(failed, result, applied)
    cls: type[ClarusError]
    if result in NEVER_SENDABLE or result is NoResponse.RAISED_AFTER:
        cls, retryable = ConfigurationError, False
    elif result is None or (failed.out_of_time and result is NoResponse.TIMED_OUT):
        cls, retryable = DeadlineExceededError, True
    else:
        cls, retryable = ConnectionFailedError, result is not NoResponse.WITHHELD
    return cls(
        failed.because("nothing was sent" if result is None else failed.failure or str(result)),
        applied=applied,
        retryable=retryable,
        retry_after=failed.wait,
        **failed.facts,
    )


def _answered(failed: FailedCall, result: ResponseSummary, applied: Applied) -> ClarusError:
    status = result.status
    message = failed.because(_answer_in_words(failed, result))
    if 200 <= status < 300:
        unreadable = failed.unreadable or Unreadable("", "the whole body")
        return ResponseError(
            message,
            pointer=unreadable.pointer,
            expected=unreadable.expected,
            applied=applied,
            retryable=not result.whole,
            **failed.facts,
        )
    if 300 <= status < 400 or status == 401:
        cls = AuthenticationError if status == 401 else ConfigurationError
        return cls(message, applied=applied, retryable=status == 401, retry_after=failed.wait, **failed.facts)
    return api_error_class(status)(
        message,
        status=status,
        errors=failed.details,
        applied=applied,
        retryable=status in {408, 429} or status >= 500,
        retry_after=failed.retry_after,
        **failed.facts,
    )


def _answer_in_words(failed: FailedCall, result: ResponseSummary) -> str:
    status = result.status
    if 200 <= status < 300:
        if failed.unreadable is None or not result.whole:
            return f"{status}, but its body was cut short"
        where = failed.unreadable.pointer or "the body"
        return f"{status}, but it can't be read: {where} should be {failed.unreadable.expected}"
    details = "; ".join(map(str, failed.details))
    text = f"{status} {details}" if details else str(status)
    if 300 <= status < 400:
        return f"{text}: the server redirects; check base_url (redirects are never followed)"
    return f"{text}: the API refuses a token that was just issued" if status == 401 else text


def not_there(error: ClarusError) -> ClarusError:
    """Return the error of a create of which a lookup, after the server had time to settle, found nothing."""
    last = error.__cause__ if isinstance(error, OutcomeUnknownError) else error
    found = "a lookup found no record once the server had time to settle"
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
