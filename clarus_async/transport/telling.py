"""What observers and logs are told: named facts only, so that nothing else can get there."""

from __future__ import annotations

import asyncio
import logging

from clarus_async.events import AttemptEvent, CallEvent, WaitEvent, WaitReason
from clarus_async.policy.outcome import NoAnswer, Verdict
from clarus_async.transport.request import Call
from clarus_async.transport.session import Received
from clarus_async.transport.shared import Shared

_log = logging.getLogger("clarus_async")


class Teller:
    """Tells of one tenant's calls.

    Args:
        shared: has the observer.
        subdomain: the tenant, which stands in log lines and in no event.
    """

    def __init__(self, shared: Shared, subdomain: str) -> None:
        self._shared = shared
        self._subdomain = subdomain

    def waits(self, call: Call, reason: WaitReason, seconds: float | None) -> None:
        """Tell of a wait that begins.

        Args:
            call: whose.
            reason: what for.
            seconds: how long, where that is known.
        """
        if self._shared.observer is not None:
            self._shared.tell(
                WaitEvent(call_id=call.number, operation=call.request.operation, reason=reason, seconds=seconds)
            )

    def attempted(self, call: Call, received: Received | NoAnswer, verdict: Verdict) -> None:
        """Tell of an attempt that ended.

        Args:
            call: whose.
            received: the answer, or why there is none.
            verdict: what it proves.
        """
        if self._shared.observer is None and not _log.isEnabledFor(logging.DEBUG):
            return
        duration = asyncio.get_running_loop().time() - call.sent_at
        event = AttemptEvent(
            call_id=call.number,
            operation=call.request.operation,
            number=call.attempts,
            started_at=call.sent_at,
            duration=duration,
            status=call.status,
            failure=received.value if isinstance(received, NoAnswer) else None,
            proves=verdict.proof.value,
            request_id=call.request_id,
        )
        self._shared.tell(event)
        if _log.isEnabledFor(logging.DEBUG):
            said = event.failure or event.status
            _log.debug("attempt %d of %s: %s after %.3f s", call.attempts, event.operation, said, duration)

    def ended(self, call: Call, error: str | None) -> None:
        """Tell of a call that ended: one line at INFO where it was retried or failed, at DEBUG otherwise.

        Args:
            call: which.
            error: the class of what it raised.
        """
        trouble = error is not None or call.attempts > 1
        level = logging.INFO if trouble else logging.DEBUG
        if self._shared.observer is None and not _log.isEnabledFor(level):
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
        self._shared.tell(event)
        _log.log(
            level,
            "%s for %s: %s, status %s, applied %s, attempts %d, %.3f s, request id %s",
            request.operation, self._subdomain, error or "ok", event.status, call.applied if error else "yes",
            call.attempts, event.duration, call.request_id,
        )  # fmt: skip
