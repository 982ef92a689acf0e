"""What a call asks, and how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from clarus_async.errors import Applied, ClarusError, ErrorDetail
from clarus_async.retry.deadline import Deadline
from clarus_async.retry.effect import Answered, AttemptResult, Kind, NextAction
from clarus_async.wire.reading import Unreadable


# Not frozen, for one is made for each call; nobody changes it. No repr: it holds what must not show.
@attrs.define(kw_only=True, eq=False, repr=False)
class Request:
    """What is asked of the server, and how its answer is read.

    Args:
        operation: the method's name, such as ``create``.
        kind: what repeating it would do.
        method: the HTTP method.
        path: where to, with the ids in it.
        template: the path with its ids left out, for logs and events.
        body: what is sent.
        read: turns a 2xx body into a value; ``None`` where no body is needed.
        idempotency_key: the same for every attempt.
        secret: plain data of which nothing must show in an error, should the server echo it.
        repeatable: a second effect does no harm.
        patient: what it waits for its turn does not count against its deadline.
        fresh: it wants a connection that was not used before.
        settles: it settles what was begun: it goes before what is new, and has an allowance of retries of its own.
    """

    operation: str
    kind: Kind
    method: str
    path: str
    template: str
    body: bytes | None = None
    read: Callable[[bytes], Any] | None = None
    idempotency_key: str | None = None
    secret: object = None
    repeatable: bool = False
    patient: bool = False
    fresh: bool = False
    settles: bool = False


class Call:
    """How far one call has come.

    Args:
        number: tells it from the client's other calls.
        request: what it asks.
        started: seconds on the loop's clock.
        deadline: by when it must have ended.
    """

    # Defaults stand here, so that a call costs what it comes to.
    value: Any = None
    attempts: int = 0
    spent: int = 0  # attempts that count against the policy: a 429, a rate limiter's 503 and a 401 cost none
    applied: Applied = Applied.NO
    sent_at: float = 0.0
    doubt_since: float | None = None  # when the first attempt was sent that may have been applied
    doubt_at: float | None = None  # when the last one was
    seen: AttemptResult | None = None
    said: str | None = None  # where and why the last attempt had no answer
    details: tuple[ErrorDetail, ...] = ()
    unreadable: Unreadable | None = None
    request_id: str | None = None
    delay: float = 0.0
    limited: bool = False  # the last answer was a rate limiter's 503
    kept_out: int = 0  # how many were that cost no attempt
    unauthorized: int = 0  # 401s in a row
    unauthorized_since: float = 0.0
    because: str | None = None
    out_of_time: bool = False
    starved: bool = False  # another attempt was due, and the budget had none
    paced: float | None = None
    stopped_by: ClarusError | None = None

    def __init__(self, number: int, request: Request, started: float, deadline: Deadline) -> None:
        self.number = number
        self.request = request
        self.started = started
        self.deadline = deadline

    @property
    def status(self) -> int | None:
        """The last answer's status."""
        return self.seen.status if isinstance(self.seen, Answered) else None

    def doubt(self) -> None:
        """Note that the last attempt may have been applied."""
        self.doubt_at = self.sent_at
        if self.doubt_since is None:
            self.doubt_since = self.sent_at

    def stop(self, because: str, *, out_of_time: bool = False, by: ClarusError | None = None) -> NextAction:
        """Note why there is no further attempt."""
        self.because = because
        self.out_of_time = out_of_time
        self.stopped_by = by
        return NextAction.RAISE
