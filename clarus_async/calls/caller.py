"""One call: its turn, its token, its attempts, and the one error or value it ends with.

The first attempt runs on its own; the retry engine is entered only when it failed. An attempt returns what happened
as a value, and the error is raised by :meth:`Caller.run`, in whose frames no secret is in scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from yarl import URL

from clarus_async.auth.token import ALWAYS_REFUSED
from clarus_async.calls.core import ClientCore, TenantState
from clarus_async.calls.permit import Permit, Permits
from clarus_async.calls.request import Call, Request
from clarus_async.calls.telemetry import Telemetry
from clarus_async.config import RetryPolicy, Timeouts
from clarus_async.credentials import Credentials
from clarus_async.errors import Applied, AuthenticationError, ClarusError
from clarus_async.events import WaitReason
from clarus_async.http.no_answer import Unanswered
from clarus_async.http.session import BODY_CAP, USER_AGENT, Received
from clarus_async.ratelimit.headers import read_rate_limit
from clarus_async.retry.backoff import MOST_LIMITED, backoff
from clarus_async.retry.deadline import LEAST_USEFUL, Deadline
from clarus_async.retry.effect import Answered, AttemptResult, Conclusion, Effect, NextAction, NoAnswer, judge, worst
from clarus_async.wire.error_bodies import read_error_body, secrets_in
from clarus_async.wire.graphql import GraphQLAnswer
from clarus_async.wire.headers import request_id, retry_after
from clarus_async.wire.reading import Unreadable
from clarus_async.wire.server_clock import Dated

# That so many tokens in a row die under one call is no accident, whatever others of its tenant are answered.
_MOST_REFUSED: Final = 10
_SAYS_NOTHING_OF_THE_TOKEN: Final = frozenset({401, 408, 429})


class Caller:
    """Makes the calls of one view of a client.

    Args:
        shared: what the views share.
        subdomain: the tenant.
        credentials: whose token is sent.
        timeouts: how long to wait.
        retry: when to send again.
        may_send: is asked before each request, and again right before its body is written; what it denies is not sent.
    """

    def __init__(
        self,
        shared: ClientCore,
        subdomain: str,
        credentials: Credentials,
        timeouts: Timeouts,
        retry: RetryPolicy,
        may_send: Callable[[], bool] | None = None,
    ) -> None:
        self.shared = shared
        self.subdomain = subdomain
        self.credentials = credentials
        self.timeouts = timeouts
        self.retry = retry
        self.may_send = may_send
        self._keeper = shared.keepers.get(credentials, timeouts)
        self._teller = Telemetry(shared, subdomain)
        self._turns = Permits(shared, subdomain, self._keeper, self._teller, timeouts.deadline)
        self._urls: dict[str, URL] = {}
        # Every request carries these (CLARUS_API.md §2), and says what we read.
        self._headers = {
            "X-Clarus-Subdomain": subdomain,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        }

    async def run(self, request: Request, deadline: Deadline | None = None) -> Call:
        """Make a call and return it done.

        Args:
            request: what to ask.
            deadline: by when, where that is not this view's own.

        Raises:
            ClarusError: whatever ended it.
        """
        call = self.begin(request, deadline)
        error = await self.end(call)
        if error is not None:
            raise error
        return call

    def begin(self, request: Request, deadline: Deadline | None = None) -> Call:
        """Begin a call, of which nothing is sent yet.

        Args:
            request: what to ask.
            deadline: by when, where that is not this view's own.
        """
        now = self.shared.bind().time()
        by = Deadline(now + self.timeouts.deadline) if deadline is None else deadline
        return Call(self.shared.next_call(self.timeouts.attempt), request, now, by)

    async def end(self, call: Call) -> ClarusError | None:
        """Make a call, and return what ended it; ``None`` where it is done.

        Args:
            call: from :meth:`begin`.
        """
        try:
            step = await self._attempt(call)
            if step is not NextAction.DONE:
                step = await self._again(call, step)
        except asyncio.CancelledError as error:
            # Raised anew below: the frames it came through hold the token, and may end up as the context of an error.
            cancelled = asyncio.CancelledError(*error.args)
        else:
            ended = None if step is NextAction.DONE else self.failure(call)
            self._teller.ended(call, None if ended is None else type(ended).__name__)
            return ended
        self._teller.ended(call, type(cancelled).__name__)
        raise cancelled

    async def _again(self, call: Call, first: NextAction) -> NextAction:
        from tenacity import AsyncRetrying, retry_if_result, stop_never  # noqa: PLC0415  only a failure pays for it

        earlier: list[NextAction] = [first]

        async def attempt() -> NextAction:
            if earlier:
                return earlier.pop()
            return await self._attempt(call)

        async def sleep(seconds: float) -> None:
            if seconds > 0:
                self._teller.waits(call, WaitReason.BACKOFF, seconds)
                await self.shared.sleep(seconds)

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda step: self._goes_on(call, step)),
            wait=lambda _: call.delay,
            stop=stop_never,
            sleep=sleep,
        )
        step: NextAction = await retrying(attempt)
        return step

    def _goes_on(self, call: Call, step: NextAction) -> bool:
        """Decide whether another attempt follows, and after how long."""
        call.delay = 0.0
        if step is NextAction.REFRESH:
            return self._refreshes(call)
        if step is NextAction.PACE:
            if self.retry.max_attempts == 1:
                call.because = "retries are off"
                return False
            return True
        if step is not NextAction.AGAIN:
            return False
        call.delay = backoff(self.retry, max(call.spent, 1), self.shared.random)
        if isinstance(call.seen, Answered):
            call.delay += call.seen.retry_after or 0.0
        now = asyncio.get_running_loop().time()
        if call.spent >= self.retry.max_attempts:
            call.because = "out of attempts" if self.retry.max_attempts > 1 else "retries are off"
        elif not call.deadline.allows(now, call.delay):
            call.because = f"another attempt in {call.delay:.3g} s would be past the deadline"
        elif not self.shared.tenant(self.subdomain).budget_of(settles=call.request.settles).take(now):
            call.because = "the tenant's retry budget is empty"
            call.starved = True
        else:
            return True
        return False

    def _refreshes(self, call: Call) -> bool:
        """Decide whether a call that was answered with 401 goes on with another token."""
        now = self.shared.time()
        if not call.request.patient:
            # When the next token is to be had is known where it is asked for.
            goes_on = call.deadline.allows(now, 0.0)
        else:
            call.deadline = Deadline(call.deadline.at + now - call.sent_at)
            refusals = self.shared.tenant(self.subdomain).refusals
            goes_on = not refusals.hopeless(now, self.timeouts.deadline) and not self._always_refused(call, now)
        if not goes_on:
            call.because = ALWAYS_REFUSED
        return goes_on

    def _always_refused(self, call: Call, now: float) -> bool:
        """Whether a call is answered with 401 whatever its token, as one that its scope does not cover may be."""
        return call.unauthorized >= _MOST_REFUSED and now - call.unauthorized_since >= 2 * self.timeouts.deadline

    async def _attempt(self, call: Call) -> NextAction:
        request = call.request
        tenant = self.shared.tenant(self.subdomain)
        if call.attempts == 0:
            tenant.budget_of(settles=request.settles).called(self.retry.max_attempts - 1)
        turn = self._turns.at_once(call, tenant) or await self._turns.take(call, tenant)
        if turn is None:
            return NextAction.RAISE
        call.sent_at = turn.sent.at
        call.limited = False
        call.attempts += 1
        call.spent += 1
        headers = {**self._headers, "Authorization": f"Bearer {turn.token}"}
        if request.idempotency_key is not None:
            headers["Idempotency-Key"] = request.idempotency_key
        try:
            received = await self.shared.session.send(
                request.method,
                self._url(request),
                headers,
                request.body,
                now=call.sent_at,
                connect=self.timeouts.connect,
                attempt=call.deadline.attempt(call.sent_at, self.timeouts.attempt),
                may_send=self.may_send,
                fresh=request.fresh or call.seen is NoAnswer.CONNECTION_LOST,
            )
            verdict = self._judged(call, received, turn)
        except BaseException as error:
            # Cancelled: what is on the wire may be applied all the same.
            call.applied = worst(call.applied, Conclusion(Effect.UNKNOWN, NextAction.UNSETTLED), request.kind)
            if isinstance(error, asyncio.CancelledError):
                self._teller.given_up(call)
            raise
        finally:
            tenant.queue.release(turn.sent)
        if verdict.step is NextAction.DONE:
            return NextAction.DONE
        if verdict.proof in {Effect.UNKNOWN, Effect.APPLIED}:
            call.doubt()
        if verdict.step is NextAction.AGAIN and call.limited and call.kept_out < MOST_LIMITED:
            # As a 429 does, it costs no attempt.
            call.kept_out += 1
            call.spent -= 1
            return NextAction.PACE
        if verdict.step in {NextAction.PACE, NextAction.REFRESH}:
            call.spent -= 1
        if verdict.step is NextAction.REFRESH:
            return self._reject(call, turn.token, tenant)
        return verdict.step

    def _reject(self, call: Call, token: str, tenant: TenantState) -> NextAction:
        if self._keeper.static:
            refused = AuthenticationError(
                "the API refuses the access token, and there is no way to get another",
                method=call.request.method,
                path=call.request.path,
                attempts=call.attempts,
                request_id=call.request_id,
            )
            return call.stop(refused.reason, by=refused)
        if (held := self._keeper.reject(token)) is not None:
            tenant.refusals.refused(held, self.shared.time(), self.shared.random)
        return NextAction.REFRESH

    def _judged(self, call: Call, received: Received | Unanswered, turn: Permit) -> Conclusion:
        request = call.request
        seen: AttemptResult
        if isinstance(received, Unanswered):
            seen, call.said = received
            call.details, call.unreadable, call.request_id = (), None, None
        else:
            seen = self._seen(call, received, turn.token)
            date, now, wall = received.headers.get("Date"), self.shared.time(), datetime.now(UTC)
            if date is not None:
                self.shared.note_date(Dated(date, call.sent_at, now, wall))
            told = read_rate_limit(received.headers, date, wall)
            queue = turn.tenant.queue
            if seen.status == 429:
                queue.refused(turn.sent, now, seen.retry_after, told)
            elif seen.status == 503:
                call.limited = queue.unavailable(turn.sent, now, seen.retry_after, told, path=request.template)
            else:
                queue.answered(turn.sent, now, told, path=request.template)
            if seen.status != 401:
                call.unauthorized = 0
            else:
                call.unauthorized_since = call.unauthorized_since if call.unauthorized else call.sent_at
                call.unauthorized += 1
            if seen.status < 500 and seen.status not in _SAYS_NOTHING_OF_THE_TOKEN:
                turn.tenant.refusals.accepted = True
        verdict = judge(request.kind, seen, repeatable=request.repeatable, doubt=call.applied is not Applied.NO)
        call.seen = seen
        call.applied = worst(call.applied, verdict, request.kind)
        self._teller.attempted(call, received, verdict)
        return verdict

    @staticmethod
    def _seen(call: Call, received: Received, token: str) -> Answered:
        request = call.request
        call.request_id = request_id(received.headers.get("X-Request-Id"), (token,))
        call.details, call.unreadable = (), None
        if 200 <= received.status < 300:
            if request.read is None:
                return Answered(received.status)
            if received.too_large:
                value: Any = Unreadable("", f"at most {BODY_CAP} bytes")
            else:
                value = request.read(received.body) if received.whole else Unreadable("", "the whole body")
            if isinstance(value, Unreadable):
                call.unreadable = value
                return Answered(received.status, readable=False, whole=received.whole)
            if isinstance(value, GraphQLAnswer):
                call.details = read_error_body(received.body, [token, *secrets_in(request.secret)])
                return Answered(received.status, faulty=True, executed=value.executed)
            call.value = value
            return Answered(received.status)
        challenge = received.headers.get("WWW-Authenticate")
        call.details = read_error_body(received.body, [token, *secrets_in(request.secret)], challenge)
        wait = retry_after(received.headers.get("Retry-After"), received.headers.get("Date"), datetime.now(UTC))
        return Answered(received.status, wait)

    def _url(self, request: Request) -> URL:
        url = self._urls.get(request.path)
        if url is None:
            url = URL(self.shared.base_url + request.path, encoded=True)
            if request.path == request.template:
                self._urls[request.path] = url
        return url

    def failure(self, call: Call) -> ClarusError:
        """Build the error that says how a call ended.

        Args:
            call: one that is not done.
        """
        from clarus_async.retry.failure import Ending, failure  # noqa: PLC0415  only a failure pays for it

        request = call.request
        sent_at = None
        if call.doubt_at is not None:
            sent_at = datetime.now(UTC) - timedelta(seconds=asyncio.get_running_loop().time() - call.doubt_at)
        return failure(
            Ending(
                kind=request.kind,
                method=request.method,
                path=request.path,
                seen=call.seen,
                said=call.said,
                details=call.details,
                unreadable=call.unreadable,
                applied=call.applied,
                attempts=call.attempts,
                request_id=call.request_id,
                out_of_time=call.out_of_time or call.deadline.left(asyncio.get_running_loop().time()) < LEAST_USEFUL,
                because=call.because,
                sent_at=sent_at,
                wait=call.paced,
                stopped_by=call.stopped_by,
                repeatable=request.repeatable,
            )
        )
