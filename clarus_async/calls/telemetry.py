"""What observers and logs are told of calls: named facts only, so that nothing secret can get there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from clarus_async.calls.request import Call
from clarus_async.calls.tenants import Tenants
from clarus_async.events import AttemptEvent, CallEvent, Event, Observer, WaitEvent, WaitReason
from clarus_async.http.response import HttpResponse
from clarus_async.http.transport_failure import TransportFailure
from clarus_async.retry.effect import Effect

GIVEN_UP: Final = "it was given up before a response came"
"""The failure of an attempt whose call was cancelled."""

_log = logging.getLogger("clarus_async")


class Notifier:
    """Passes events to a client's observer, and keeps what that raises from the calls."""

    def __init__(self, observer: Observer | None, base_url: str) -> None:
        self.observer = observer
        self._base_url = base_url
        self._logged: set[str] = set()

    def for_tenant(self, subdomain: str) -> Observer | None:
        """Return the observer of a tenant's calls."""
        for_tenant: Callable[[str, str], Observer] | None = getattr(self.observer, "for_tenant", None)
        if for_tenant is None:
            return self.observer
        try:
            return for_tenant(subdomain, self._base_url)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001  watching must not fail what is watched
            self._log_once("tenant")
            return self.observer

    def notify(self, event: Event, observer: Observer | None) -> None:
        """Pass an event to an observer, if there is one."""
        if observer is not None:
            try:
                observer.on_event(event)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001  watching must not fail what is watched
                self._log_once(type(event).__name__)

    def _log_once(self, what: str) -> None:
        """Log what the observer raises, once for each kind of event: there may be thousands a second."""
        if what not in self._logged:
            self._logged.add(what)
            _log.exception("the observer raised on a %s; this is not logged again", what)


class Telemetry:
    """Tells of the calls of one view of a client."""

    def __init__(self, notifier: Notifier, tenants: Tenants, subdomain: str) -> None:
        self._notifier = notifier
        self._tenants = tenants
        # It is in log lines, and in no event.
        self._subdomain = subdomain
        self._observer = notifier.for_tenant(subdomain)

    def wait_began(self, call: Call, reason: WaitReason, seconds: float | None) -> None:
        """Tell of a wait that begins, and how long it takes where that is known."""
        if self._observer is not None:
            self._notify(
                WaitEvent(call_id=call.number, operation=call.request.operation, reason=reason, seconds=seconds)
            )

    def attempt_ended(self, call: Call, received: HttpResponse | TransportFailure | None, effect: Effect) -> None:
        """Tell of an attempt that ended; ``received`` is ``None`` where it was cancelled."""
        # Nearly every create comes here with nobody to tell.
        if self._observer is None and not _log.isEnabledFor(logging.DEBUG):
            return
        failure, message, status, request_id = None, None, call.status, call.request_id
        if isinstance(received, TransportFailure):
            failure, message = received.reason.value, received.message
        elif received is None:
            # The result that the call holds is that of an earlier attempt.
            failure, message, status, request_id = GIVEN_UP, GIVEN_UP, None, None
        duration = asyncio.get_running_loop().time() - call.sent_at
        event = AttemptEvent(
            call_id=call.number,
            operation=call.request.operation,
            number=call.attempts,
            started_at=call.sent_at,
            duration=duration,
            status=status,
            failure=failure,
            proves=effect.value,
            request_id=request_id,
            pace=self._tenants.queue(self._subdomain).pace.rate,
        )
        self._notify(event)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("attempt %d of %s: %s after %.3f s", call.attempts, event.operation, message or status, duration)

    def _notify(self, event: Event) -> None:
        self._notifier.notify(event, self._observer)

    def call_ended(self, call: Call, error: str | None) -> None:
        """Tell of a call that ended: it is logged at INFO if it was retried or failed, else at DEBUG."""
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
        self._notify(event)
        _log.log(
            level,
            "%s for %s: %s, status %s, applied %s, attempts %d, %.3f s, request id %s",
            request.operation, self._subdomain, error or "ok", event.status, call.applied if error else "yes",
            call.attempts, event.duration, call.request_id,
        )  # fmt: skip
