"""A request, and the state of the call that makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import attrs

from clarus_async.errors import Applied, ClarusError, ErrorDetail
from clarus_async.retry.deadline import Deadline
from clarus_async.retry.effect import AttemptResult, NextAction, OperationKind, ResponseSummary
from clarus_async.wire.reading import Unreadable


# Not frozen, which would cost more for each call; nobody changes it. No repr: it holds what must not show.
@attrs.define(kw_only=True, eq=False, repr=False)
class Request:
    """What is asked of the server, and how its response is read."""

    operation: str  # the method's name, such as create
    kind: OperationKind
    method: str
    path: str
    template: str  # the path with its ids left out, for logs and events
    body: bytes | None = None
    read: Callable[[bytes], Any] | None = None  # makes a value of a 2xx's body; None where no body is needed
    idempotency_key: str | None = None
    secret: object = None  # plain data that is scrubbed from errors, in case the server echoes it
    repeatable: bool = False  # repeating an action does no harm
    wait_for_pace: bool = False  # waiting for the rate limiter does not count against the deadline
    new_connection: bool = False  # no connection is used that was used before
    # It looks up what an earlier request did: it goes before new work, and has a retry budget of its own.
    reconciles: bool = False


class MemberOperation(NamedTuple):
    """What a resource can do to one of its records besides changing it: a request without a body.

    Args:
        name: of the method, such as ``delete``.
        kind: what the request does.
        method: of HTTP.
        done: what an outcome says of a record to which it was done.
        action: what the path has after the id.
    """

    name: str
    kind: OperationKind
    method: str
    done: str
    action: str = ""


DELETE: Final = MemberOperation("delete", OperationKind.DELETE, "DELETE", "deleted")


class Call:
    """The state of one call, over all its attempts; ``number`` tells it from the client's other calls.

    Times are seconds on the event loop's clock.
    """

    # The defaults are the class's, so that a call pays only for what it sets.
    value: Any = None
    attempts: int = 0
    counted_attempts: int = 0  # those that count against the policy: a 429, a rate limiter's 503 and a 401 do not
    applied: Applied = Applied.NO
    sent_at: float = 0.0
    first_in_doubt_at: float | None = None  # when the first attempt was sent that may have been applied
    last_in_doubt_at: float | None = None  # when the last one was
    result: AttemptResult | None = None
    failure: str | None = None  # where and why the last attempt got no response
    details: tuple[ErrorDetail, ...] = ()
    unreadable: Unreadable | None = None
    request_id: str | None = None
    limiter_503: bool = False  # the last response was a 503 of a rate limiter
    uncounted_503s: int = 0  # how many of those cost no attempt
    unauthorized: int = 0  # 401s in a row
    unauthorized_since: float = 0.0
    stop_reason: str | None = None  # why there is no further attempt
    stop_error: ClarusError | None = None  # the error that stopped it, where that is not the result of an attempt
    out_of_time: bool = False
    budget_exhausted: bool = False  # another attempt was due, and the retry budget was empty
    pace_wait: float | None = None  # seconds, where the rate limiter's wait was too long

    def __init__(self, number: int, request: Request, started: float, deadline: Deadline) -> None:
        self.number = number
        self.request = request
        self.started = started
        self.deadline = deadline

    @property
    def facts(self) -> dict[str, Any]:
        """What an error says of the call that it ended."""
        return {"method": self.request.method, "path": self.request.path, "attempts": self.attempts}

    @property
    def status(self) -> int | None:
        """The status of the last response."""
        return self.result.status if isinstance(self.result, ResponseSummary) else None

    @property
    def retry_after(self) -> float:
        """Seconds that the last response asks to wait; 0 where it asks nothing."""
        return (self.result.retry_after or 0.0) if isinstance(self.result, ResponseSummary) else 0.0

    def note_in_doubt(self) -> None:
        """Note that the last attempt may have been applied."""
        self.last_in_doubt_at = self.sent_at
        if self.first_in_doubt_at is None:
            self.first_in_doubt_at = self.sent_at

    def stop(self, reason: str, *, out_of_time: bool = False, error: ClarusError | None = None) -> NextAction:
        """Note why there is no further attempt."""
        self.stop_reason = reason
        self.out_of_time = out_of_time
        self.stop_error = error
        return NextAction.RAISE
