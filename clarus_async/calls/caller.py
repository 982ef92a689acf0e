"""One call: its attempts, and the one value or error it ends with.

An attempt returns what happened as a value; errors are raised by ``Caller.run``, in whose frames no secret is in scope.

The hot path of a create is ``Caller.begin``, ``Caller.perform`` and ``Caller._attempt``. A call that succeeds at once
makes no closure, starts no task, imports nothing, and awaits nothing but the response. What it costs is counted in
opcodes, by ``python -m benchmarks opcodes``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from yarl import URL

from clarus_async.auth.token import ALWAYS_REFUSED
from clarus_async.calls.core import ClientCore
from clarus_async.calls.permit import Permit, Permits
from clarus_async.calls.request import Call, Request
from clarus_async.calls.telemetry import Telemetry
from clarus_async.calls.tenants import TenantState
from clarus_async.config import RetryPolicy, Timeouts
from clarus_async.credentials import Credentials
from clarus_async.errors import Applied, AuthenticationError, ClarusError
from clarus_async.events import WaitReason
from clarus_async.http.direct import RequestHeaders
from clarus_async.http.response import HttpResponse
from clarus_async.http.session import BODY_CAP, USER_AGENT
from clarus_async.http.transport_failure import TransportFailure
from clarus_async.ratelimit.headers import read_rate_limit
from clarus_async.retry.budget import MOST_UNCOUNTED_ATTEMPTS
from clarus_async.retry.deadline import LEAST_USEFUL, Deadline
from clarus_async.retry.effect import (
    AttemptResult,
    Classification,
    Effect,
    NextAction,
    NoResponse,
    ResponseSummary,
    classify,
    merge_applied,
)
from clarus_async.wire.error_bodies import read_error_body, secrets_in
from clarus_async.wire.graphql import GraphQLAnswer
from clarus_async.wire.headers import request_id, retry_after
from clarus_async.wire.reading import Unreadable
from clarus_async.wire.server_clock import Dated

# So many 401s in a row to one call are no accident of short-lived tokens, whatever other calls of its tenant are
# answered.
_MOST_401S: Final = 10
_SAYS_NOTHING_OF_THE_TOKEN: Final = frozenset({401, 408, 429})


class Caller:
    """Makes the calls of one view of a client.

    ``may_send`` is asked before each request, and again right before its body is written.
    """

    def __init__(
        self,
        core: ClientCore,
        subdomain: str,
        credentials: Credentials,
        timeouts: Timeouts,
        retry: RetryPolicy,
        may_send: Callable[[], bool] | None = None,
    ) -> None:
        self.core = core
        self.subdomain = subdomain
        self.credentials = credentials
        self.timeouts = timeouts
        self.retry = retry
        self.may_send = may_send
        self._token_manager = core.token_managers.get(credentials, timeouts)
        self._telemetry = Telemetry(core.notifier, core.tenants, subdomain)
        self._permits = Permits(core, subdomain, self._token_manager, self._telemetry, timeouts.deadline)
        self._urls: dict[str, URL] = {}
        # Every request has these (CLARUS_API.md §2), and says what can be read.
        self._fields = {
            "X-Clarus-Subdomain": subdomain,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        }
        self._headers = "", RequestHeaders(self._fields)

    async def run(self, request: Request, deadline: Deadline | None = None) -> Call:
        """Make a call, and raise what ended it unless it succeeded; without a deadline, the view's timeout holds.

        Raises:
            ClarusError: the call failed; the class says how.
        """
        call = self.begin(request, deadline)
        error = await self.perform(call)
        if error is not None:
            raise error
        return call

    def begin(self, request: Request, deadline: Deadline | None = None) -> Call:
        """Return a call of which nothing is sent yet."""
        now = self.core.bind().time()
        by = Deadline(now + self.timeouts.deadline) if deadline is None else deadline
        return Call(self.core.next_call(self.timeouts.attempt), request, now, by)

    async def perform(self, call: Call) -> ClarusError | None:
        """Make the attempts of a call, and return the error that ended it; ``None`` if it succeeded."""
        try:
            # Nearly every call ends here: tenacity would cost it 20 µs.
            action = await self._attempt(call)
            if action is not NextAction.DONE:
                action = await self._retry(call, action)
        except asyncio.CancelledError as error:
            # A new one is raised below: the frames of this one hold the token, and may become the context of an error.
            cancelled = asyncio.CancelledError(*error.args)
        else:
            ended = None if action is NextAction.DONE else self._error(call)
            self._telemetry.call_ended(call, None if ended is None else type(ended).__name__)
            return ended
        self._telemetry.call_ended(call, type(cancelled).__name__)
        raise cancelled

    async def _retry(self, call: Call, action: NextAction) -> NextAction:
        """Make further attempts, as the policy says, after one that did not succeed."""
        from clarus_async.retry.policy import retrying  # noqa: PLC0415  only a failure pays for tenacity

        async def sleep(seconds: float) -> None:
            if seconds > 0:
                self._telemetry.wait_began(call, WaitReason.BACKOFF, seconds)
                await self.core.sleep(seconds)

        async for attempt in retrying(
            call,
            self.retry,
            budget=self.core.tenants.get(self.subdomain).retry_budget(reconciles=call.request.reconciles),
            tokens_refused=lambda: self._after_refused_token(call),
            clock=self.core.time,
            random=self.core.random,
            sleep=sleep,
        ):
            # The first one was made already. Nothing is raised into tenacity: a cancellation just ends the loop.
            if attempt.retry_state.attempt_number > 1:
                action = await self._attempt(call)
            attempt.retry_state.set_result(action)
        return action

    def _after_refused_token(self, call: Call) -> str | None:
        """Return why no other token would help a call that was answered with 401; ``None`` where one may.

        A run's call gets back what the refused attempt took: its deadline is later by that.
        """
        now = self.core.time()
        if not call.request.wait_for_pace:
            # When the next token may be asked for is known where it is asked for.
            goes_on = call.deadline.allows(now, 0.0)
        else:
            # Tokens may die early again and again, such as where two runs end each other's; each record still gets its
            # whole deadline, and what ends the call is that no token is accepted any more.
            call.deadline = Deadline(call.deadline.at + now - call.sent_at)
            refusals = self.core.tenants.get(self.subdomain).refusals
            # A request that the token's scope does not cover is answered with 401 whatever the token.
            always = call.unauthorized >= _MOST_401S and now - call.unauthorized_since >= 2 * self.timeouts.deadline
            goes_on = not always and not refusals.hopeless(now, self.timeouts.deadline)
        return None if goes_on else ALWAYS_REFUSED

    async def _attempt(self, call: Call) -> NextAction:
        """Send a call's request once, as soon as it may be sent, and return what follows."""
        # 1. The permit. Where nothing has to be waited for, no coroutine is made.
        request = call.request
        tenant = self.core.tenants.get(self.subdomain)
        if call.attempts == 0:
            tenant.retry_budget(reconciles=request.reconciles).count_call(self.retry.max_attempts - 1)
        permit = self._permits.try_acquire(call, tenant) or await self._permits.acquire(call, tenant)
        if permit is None:
            return NextAction.RAISE
        call.sent_at = permit.sent.at
        call.limiter_503 = False
        call.attempts += 1
        call.counted_attempts += 1
        tenant.queue.requests += 1
        # 2. The request, and what its result proves.
        try:
            received = await self.core.session.send(
                request.method,
                self._url(request),
                self._headers_with(permit.token),
                request.body,
                idempotency_key=request.idempotency_key,
                now=call.sent_at,
                connect=self.timeouts.connect,
                attempt=call.deadline.attempt(call.sent_at, self.timeouts.attempt),
                may_send=self.may_send,
                new_connection=request.new_connection or call.result is NoResponse.CONNECTION_LOST,
            )
            effect, action = self._classified(call, received, permit)
        except BaseException as error:
            # Cancelled: the server may apply what is on the wire all the same.
            call.applied = merge_applied(call.applied, Effect.UNKNOWN, request.kind)
            if isinstance(error, asyncio.CancelledError):
                self._telemetry.attempt_ended(call, None, Effect.UNKNOWN)
            raise
        finally:
            tenant.queue.release(permit.sent)
        # 3. What follows. A create that succeeded ends here.
        if action is NextAction.DONE:
            return action
        if effect in {Effect.UNKNOWN, Effect.APPLIED}:
            call.note_in_doubt()
            tenant.queue.unclear += 1
        if action is NextAction.RETRY and call.limiter_503 and call.uncounted_503s < MOST_UNCOUNTED_ATTEMPTS:
            # It costs no attempt, as a 429 costs none.
            call.uncounted_503s += 1
            action = NextAction.RETRY_WHEN_PERMITTED
        if action is NextAction.RETRY_WHEN_PERMITTED or action is NextAction.REFRESH_TOKEN:
            call.counted_attempts -= 1
        return self._token_refused(call, permit.token, tenant) if action is NextAction.REFRESH_TOKEN else action

    def _token_refused(self, call: Call, token: str, tenant: TenantState) -> NextAction:
        if self._token_manager.static:
            refused = AuthenticationError(
                "the API refuses the access token, and there is no way to get another",
                request_id=call.request_id,
                **call.facts,
            )
            return call.stop(refused.reason, error=refused)
        if (held := self._token_manager.reject(token)) is not None:
            tenant.refusals.refused(held, self.core.time(), self.core.random)
        return NextAction.REFRESH_TOKEN

    def _classified(self, call: Call, received: HttpResponse | TransportFailure, permit: Permit) -> Classification:
        """Note what an attempt brought, tell the rate limiter, and return what it proves."""
        request = call.request
        result: AttemptResult
        if isinstance(received, TransportFailure):
            result, call.failure = received
            call.details, call.unreadable, call.request_id = (), None, None
        else:
            result = self._read(call, received, permit.token)
            date, now, wall = received.headers.get("Date"), self.core.time(), datetime.now(UTC)
            if date is not None:
                self.core.note_date(Dated(date, call.sent_at, now, wall))
            told = read_rate_limit(received.headers, date, wall)
            queue = permit.tenant.queue
            if result.status == 429:
                queue.refused(permit.sent, now, result.retry_after, told)
            elif result.status == 503:
                call.limiter_503 = queue.unavailable(permit.sent, now, result.retry_after, told, path=request.template)
            else:
                queue.answered(permit.sent, now, told, path=request.template)
            if result.status != 401:
                call.unauthorized = 0
            else:
                call.unauthorized_since = call.unauthorized_since if call.unauthorized else call.sent_at
                call.unauthorized += 1
            if result.status < 500 and result.status not in _SAYS_NOTHING_OF_THE_TOKEN:
                permit.tenant.refusals.accepted = True
        classification = classify(
            request.kind, result, repeatable=request.repeatable, in_doubt=call.applied is not Applied.NO
        )
        call.result = result
        call.applied = merge_applied(call.applied, classification.effect, request.kind)
        self._telemetry.attempt_ended(call, received, classification.effect)
        return classification

    @staticmethod
    def _read(call: Call, received: HttpResponse, token: str) -> ResponseSummary:
        """Read a response into its call: a value, or what it reports instead."""
        request = call.request
        call.request_id = request_id(received.headers.get("X-Request-Id"), (token,))
        call.details, call.unreadable = (), None
        if 200 <= received.status < 300:
            if request.read is None:
                return ResponseSummary(received.status)
            if received.too_large:
                value: Any = Unreadable("", f"at most {BODY_CAP} bytes")
            else:
                value = request.read(received.body) if received.whole else Unreadable("", "the whole body")
            if isinstance(value, Unreadable):
                call.unreadable = value
                return ResponseSummary(received.status, readable=False, whole=received.whole)
            if isinstance(value, GraphQLAnswer):
                call.details = read_error_body(received.body, [token, *secrets_in(request.secret)])
                return ResponseSummary(received.status, faulty=True, executed=value.executed)
            call.value = value
            return ResponseSummary(received.status)
        challenge = received.headers.get("WWW-Authenticate")
        call.details = read_error_body(received.body, [token, *secrets_in(request.secret)], challenge)
        wait = retry_after(received.headers.get("Retry-After"), received.headers.get("Date"), datetime.now(UTC))
        return ResponseSummary(received.status, wait)

    def _headers_with(self, token: str) -> RequestHeaders:
        # The session encodes them once for all requests with one token.
        held, headers = self._headers
        if held != token:
            fields = {**self._fields, "Authorization": f"Bearer {token}"}
            headers = RequestHeaders(fields)
            self._headers = token, headers
        return headers

    def _url(self, request: Request) -> URL:
        # Parsing a URL costs more than looking it up; those with an id in them are not kept.
        url = self._urls.get(request.path)
        if url is None:
            url = URL(self.core.base_url + request.path, encoded=True)
            if request.path == request.template:
                self._urls[request.path] = url
        return url

    def _error(self, call: Call) -> ClarusError:
        """Build the error of a call that failed."""
        from clarus_async.retry.call_error import FailedCall, call_error  # noqa: PLC0415  only a failure pays for it

        request = call.request
        now = asyncio.get_running_loop().time()
        sent_at = None
        if call.last_in_doubt_at is not None:
            sent_at = datetime.now(UTC) - timedelta(seconds=now - call.last_in_doubt_at)
        return call_error(
            FailedCall(
                **call.facts,
                kind=request.kind,
                result=call.result,
                failure=call.failure,
                details=call.details,
                unreadable=call.unreadable,
                applied=call.applied,
                request_id=call.request_id,
                out_of_time=call.out_of_time or call.deadline.left(now) < LEAST_USEFUL,
                stop_reason=call.stop_reason,
                sent_at=sent_at,
                wait=call.pace_wait,
                stop_error=call.stop_error,
                repeatable=request.repeatable,
            )
        )
