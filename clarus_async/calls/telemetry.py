"""What observers and logs are told: named facts only, so that nothing else can get there."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from clarus_async.calls.core import ClientCore
from clarus_async.calls.request import Call
from clarus_async.events import AttemptEvent, CallEvent, Event, WaitEvent, WaitReason
from clarus_async.http.no_answer import Unanswered
from clarus_async.http.session import Received
from clarus_async.retry.effect import Conclusion, Effect

GIVEN_UP: Final = "it was given up before an answer came"
"""The failure of an attempt whose call was cancelled."""

_log = logging.getLogger("clarus_async")


class Telemetry:
    """Tells of one tenant's calls.

    Args:
        shared: has the observer.
        subdomain: the tenant, which stands in log lines and in no event.
    """

    def __init__(self, shared: ClientCore, subdomain: str) -> None:
        self._shared = shared
        self._subdomain = subdomain
        self._observer = shared.observer_for(subdomain)

    def waits(self, call: Call, reason: WaitReason, seconds: float | None) -> None:
        """Tell of a wait that begins.

        Args:
            call: whose.
            reason: what for.
            seconds: how long, where that is known.
        """
        if self._observer is not None:
            self._tell(WaitEvent(call_id=call.number, operation=call.request.operation, reason=reason, seconds=seconds))

    def attempted(self, call: Call, received: Received | Unanswered, verdict: Conclusion) -> None:
        """Tell of an attempt that ended.

        Args:
            call: whose.
            received: the answer, or why there is none.
            verdict: what it proves.
        """
        if self._observer is None and not _log.isEnabledFor(logging.DEBUG):
            return
        failure, said = None, None
        if isinstance(received, Unanswered):
            failure, said = received.why.value, received.said
        self._attempted(call, call.status, failure, verdict.proof, call.request_id, said)

    def given_up(self, call: Call) -> None:
        """Tell of an attempt that was cancelled.

        Args:
            call: whose.
        """
        if self._observer is not None or _log.isEnabledFor(logging.DEBUG):
            # What the call has seen is of an earlier attempt.
            self._attempted(call, None, GIVEN_UP, Effect.UNKNOWN, None, GIVEN_UP)

    def _attempted(
        self,
        call: Call,
        status: int | None,
        failure: str | None,
        proof: Effect,
        request_id: str | None,
        said: str | None,
    ) -> None:
        duration = asyncio.get_running_loop().time() - call.sent_at
        event = AttemptEvent(
            call_id=call.number,
            operation=call.request.operation,
            number=call.attempts,
            started_at=call.sent_at,
            duration=duration,
            status=status,
            failure=failure,
            proves=proof.value,
            request_id=request_id,
            pace=self._shared.queue(self._subdomain).pace.rate,
        )
        self._tell(event)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("attempt %d of %s: %s after %.3f s", call.attempts, event.operation, said or status, duration)

    def _tell(self, event: Event) -> None:
        self._shared.tell(event, self._observer)

    def ended(self, call: Call, error: str | None) -> None:
        """Tell of a call that ended: one line at INFO where it was retried or failed, at DEBUG otherwise.

        Args:
            call: which.
            error: the class of what it raised.
        """
        trouble = error is not None or call.attempts > 1
        level = logging.INFO if trouble else logging.DEBUG
        if self._observer is None and not _log.isEnabledFor(level):
            return
        request = call.request
        event = CallEvent(
            call_id=call.number,
            operation=request.operation,
            method=request.method,
            path=request.template,
            started_at=call.started,
            duration=asyncio.get_running_loop().time() - call.started,
            attempts=call.attempts,
            status=call.status,
            applied=None if error is None else call.applied,
            error=error,
        )
        self._tell(event)
        _log.log(
            level,
            "%s for %s: %s, status %s, applied %s, attempts %d, %.3f s, request id %s",
            request.operation, self._subdomain, error or "ok", event.status, call.applied if error else "yes",
            call.attempts, event.duration, call.request_id,
        )  # fmt: skip
