"""What a call asks, and how far it has come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from clarus_async.errors import Applied, ClarusError, ErrorDetail
from clarus_async.policy.deadline import Deadline
from clarus_async.policy.outcome import Answer, Kind, Seen, Step
from clarus_async.policy.retry import RetryBudget
from clarus_async.wire.reading import Unreadable


@attrs.frozen(kw_only=True, eq=False)
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
        key: what the record can be looked up by, for a create.
        idempotency_key: the same for every attempt.
        secrets: lists what must not show in an error, should the server echo it.
        look: says whether the record is certainly not there yet, by the deadline; ``None`` where that can't be told.
        repeatable: a second effect does no harm.
        patient: what it waits for its turn does not count against its deadline.
        budget: the allowance that its retries come from; the tenant's where there is none.
    """

    operation: str
    kind: Kind
    method: str
    path: str
    template: str
    body: bytes | None = attrs.field(default=None, repr=False)
    read: Callable[[bytes], Any] | None = attrs.field(default=None, repr=False)
    key: str | None = None
    idempotency_key: str | None = None
    secrets: Callable[[], list[str]] = attrs.field(default=list, repr=False)
    look: Callable[[Deadline], Awaitable[bool | None]] | None = attrs.field(default=None, repr=False)
    repeatable: bool = False
    patient: bool = False
    budget: RetryBudget | None = attrs.field(default=None, repr=False)


class Call:
    """How far one call has come.

    Args:
        number: tells it from the client's other calls.
        request: what it asks.
        started: seconds on the loop's clock.
        deadline: by when it must have ended.
    """

    __slots__ = (
        "applied", "attempts", "because", "deadline", "delay", "details", "doubt_at", "look", "number", "out_of_time",
        "paced", "refreshed", "request", "request_id", "seen", "sent_at", "spent", "started", "starved", "stopped_by",
        "unreadable", "value",
    )  # fmt: skip

    def __init__(self, number: int, request: Request, started: float, deadline: Deadline) -> None:
        self.number = number
        self.request = request
        self.started = started
        self.deadline = deadline
        self.value: Any = None
        self.attempts = 0
        self.spent = 0  # attempts that count against the policy: a 429 and a first 401 cost none
        self.applied = Applied.NO
        self.sent_at = started
        self.doubt_at: float | None = None
        self.seen: Seen | None = None
        self.details: tuple[ErrorDetail, ...] = ()
        self.unreadable: Unreadable | None = None
        self.request_id: str | None = None
        self.refreshed = False
        self.look = False
        self.delay = 0.0
        self.because: str | None = None
        self.out_of_time = False
        self.starved = False  # another attempt was due, and the budget had none
        self.paced: float | None = None
        self.stopped_by: ClarusError | None = None

    @property
    def status(self) -> int | None:
        """The last answer's status."""
        return self.seen.status if isinstance(self.seen, Answer) else None

    def stop(self, because: str, *, out_of_time: bool = False, by: ClarusError | None = None) -> Step:
        """Note why there is no further attempt."""
        self.because = because
        self.out_of_time = out_of_time
        self.stopped_by = by
        return Step.RAISE
