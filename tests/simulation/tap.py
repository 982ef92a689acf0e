"""What goes over the wire, and who is given a connection, noted as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from unittest.mock import patch

import attrs
import orjson

from clarus_async.events import AttemptEvent, Event
from clarus_async.http.direct import RequestHeaders
from clarus_async.http.session import Session
from clarus_async.http.transport_failure import TransportFailure
from clarus_async.ratelimit.queue import ConnectionLimiter, RequestQueue
from clarus_async.wire.headers import retry_after
from tests.support.virtual import now

TOKEN: Final = "/oauth/token"
MARK: Final = "X-Simulation-Attempt"  # tells the server's log which attempt a request was

_EPOCH: Final = datetime(2026, 1, 10, tzinfo=UTC)

doing: contextvars.ContextVar[int] = contextvars.ContextVar("doing", default=0)
"""The number of the operation that a request is made for; tasks that it starts inherit it."""


@attrs.define(eq=False, kw_only=True)
class Attempt:
    """One request as the client sent it, and what the client saw of its answer."""

    number: int  # counts up
    life: int  # of the process that sent it
    op: int  # the operation that it was made for
    method: str
    path: str
    tenant: str | None
    token: str | None
    key: str | None
    marker: str | None
    started: float  # when it was sent
    ended: float | None = None
    result: int | str | None = None  # a status, why there was none, or that it was cancelled
    retry_after: float | None = None  # seconds, where the answer said so
    granted: tuple[str, float | None] | None = None  # the token that the answer gave, and its life
    event: AttemptEvent | None = None  # what the observer was told of it

    def __str__(self) -> str:
        seen = f"{self.number} {self.method} {self.path} for {self.tenant} by {self.op}, marker {self.marker}"
        return f"{seen}: {self.result} from {self.started:.6f} to {self.ended or -1:.6f}"


class Tap:
    """Notes everything."""

    def __init__(self, width: int) -> None:
        self.trace: list[str] = []
        self.attempts: list[Attempt] = []
        self.events: list[tuple[int, Event]] = []
        self.broken: list[str] = []
        self.life = 0
        self._width = width
        self._open = 0
        self._latest: dict[asyncio.Task[Any] | None, Attempt] = {}
        self._places: dict[asyncio.Future[Any], tuple[RequestQueue, str, bool]] = {}
        self._lines: defaultdict[tuple[RequestQueue, str, bool], list[asyncio.Future[Any]]] = defaultdict(list)

    def say(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{now():.6f} {text}")

    def on_event(self, event: Event) -> None:
        """Be the client's observer."""
        self.say(f"op {doing.get()} {event}")
        self.events.append((doing.get(), event))
        if isinstance(event, AttemptEvent):
            self._latest[asyncio.current_task()].event = event

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Listen, while the block runs."""
        send, append, grant, try_acquire = (
            Session.send,
            RequestQueue.append,
            ConnectionLimiter.grant,
            ConnectionLimiter.try_acquire,
        )

        async def tapped_send(session, method, url, headers, body, **options):
            return await self._send(send, session, method, url, headers, body, **options)

        def tapped_append(queue, tenant, waiter, *, priority):
            place = queue, tenant, priority
            self._places[waiter] = place
            self._lines[place].append(waiter)
            return append(queue, tenant, waiter, priority=priority)

        def tapped_grant(connections, waiter, sent):
            place = self._places[waiter]
            line = [other for other in self._lines[place] if not other.done()]
            if line[0] is not waiter:
                self.broken.append(f"first come first served: number {line.index(waiter)} of a line was let in first")
            self._lines[place] = line[1:] if line[0] is waiter else line
            return grant(connections, waiter, sent)

        def tapped_try_acquire(connections, queue, at):
            sent = try_acquire(connections, queue, at)
            waiting = [w for place, line in self._lines.items() if place[0] is queue for w in line if not w.done()]
            if sent is not None and waiting:
                self.broken.append(f"first come first served: somebody passed {len(waiting)} who wait")
            return sent

        with (
            patch.object(Session, "send", tapped_send),
            patch.object(RequestQueue, "append", tapped_append),
            patch.object(ConnectionLimiter, "grant", tapped_grant),
            patch.object(ConnectionLimiter, "try_acquire", tapped_try_acquire),
        ):
            yield

    async def _send(self, send, session, method, url, headers, body, **options):
        attempt = self._begin(method, url.path, headers.fields, body, options.get("idempotency_key"))
        try:
            marked = RequestHeaders({**headers.fields, MARK: str(attempt.number)})
            received = await send(session, method, url, marked, body, **options)
        except BaseException as error:
            attempt.result = type(error).__name__
            raise
        else:
            self._note(attempt, received)
        finally:
            attempt.ended = now()
            self._open -= attempt.path != TOKEN
            self.say(f"ended {attempt}")
        return received

    def _begin(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, key: str | None
    ) -> Attempt:
        attempt = Attempt(
            number=len(self.attempts),
            life=self.life,
            op=doing.get(),
            method=method,
            path=path,
            tenant=headers.get("X-Clarus-Subdomain"),
            token=headers.get("Authorization", "").removeprefix("Bearer ") or None,
            key=key,
            marker=_marker(body) if path != TOKEN else None,
            started=now(),
        )
        self.attempts.append(attempt)
        self._latest[asyncio.current_task()] = attempt
        if path != TOKEN:
            self._open += 1
            if self._open > self._width:
                self.broken.append(f"the pool's width: {self._open} requests are on the wire, {attempt}")
        self.say(f"begun {attempt}")
        return attempt

    @staticmethod
    def _note(attempt: Attempt, received: Any) -> None:
        if isinstance(received, TransportFailure):
            attempt.result = received.reason.value
            return
        attempt.result = received.status
        if received.status in {429, 503}:
            # The server's clock and the client's may differ; what is said as a date is relative to the server's.
            attempt.retry_after = retry_after(received.headers.get("Retry-After"), None, _EPOCH)
        if attempt.path == TOKEN and received.status == 200:
            with contextlib.suppress(orjson.JSONDecodeError, LookupError, TypeError):
                answer = orjson.loads(received.body)
                attempt.granted = answer["access_token"], answer.get("expires_in")


def _marker(body: bytes | None) -> str | None:
    try:
        attributes = orjson.loads(body or b"")["data"]["attributes"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return None
    marker: str | None = attributes.get("external_system_reference2")
    return marker
