"""What a request waits for before it may be sent: a token, its tenant's rate limiter, and a connection."""

from __future__ import annotations

from typing import Final, NamedTuple

from clarus_async.auth.token import ALWAYS_REFUSED
from clarus_async.auth.token_manager import TokenManager
from clarus_async.calls.core import ClientCore
from clarus_async.calls.request import Call
from clarus_async.calls.telemetry import Telemetry
from clarus_async.calls.tenants import TenantState
from clarus_async.config import RetryPolicy
from clarus_async.errors import AuthenticationError, ClarusError, ConfigurationError, RateLimitedError, with_facts
from clarus_async.events import WaitReason
from clarus_async.ratelimit.pace import Sent
from clarus_async.ratelimit.queue import RequestQueue
from clarus_async.retry.backoff import backoff
from clarus_async.retry.deadline import LEAST_USEFUL, Deadline

# The grant has retries of its own; these come after them, and are as far apart as news may be.
_TOKEN_RETRIES: Final = RetryPolicy(base=1.0, cap=20.0)


class Permit(NamedTuple):
    """The permission to send one request: a connection, granted by the tenant's rate limiter, and a token."""

    sent: Sent
    tenant: TenantState
    token: str

    def __repr__(self) -> str:
        """Show nothing of it, for it holds a secret."""
        return object.__repr__(self)


class Permits:
    """Acquires the permits of one view of a client.

    Args:
        core: has the connections.
        subdomain: the tenant.
        token_manager: has the token.
        telemetry: is told of waits.
        token_timeout: seconds that a request waits for a token, where its waits do not count against the deadline.
    """

    def __init__(
        self,
        core: ClientCore,
        subdomain: str,
        token_manager: TokenManager,
        telemetry: Telemetry,
        token_timeout: float,
    ) -> None:
        self._core = core
        self._subdomain = subdomain
        self._token_manager = token_manager
        self._telemetry = telemetry
        self._token_timeout = token_timeout

    def try_acquire(self, call: Call, tenant: TenantState) -> Permit | None:
        """Return a permit if there is nothing to wait for, and nothing that stops the call."""
        # Hot path of a create: it saves the coroutine of acquire().
        now = self._core.time()
        token = self._token_manager.current(now)
        if token is None or tenant.refusals.wait(now) > 0.0 or self._stopped(call, now):
            return None
        sent = self._core.connections.try_acquire(tenant.queue, now)
        return None if sent is None else Permit(sent, tenant, token)

    async def acquire(self, call: Call, tenant: TenantState) -> Permit | None:
        """Wait until a request may be sent; ``None`` if the call was stopped instead.

        Whoever has a permit tells the tenant's queue what came of the request, and releases it.
        """
        core, token_manager = self._core, self._token_manager
        had_slot = False
        while not self._stopped(call, now := core.time()):
            token = None if tenant.refusals.wait(now) > 0.0 else token_manager.current(now)
            token = token or await self._token(call, tenant)
            if token is None:
                break
            now = core.time()
            sent = core.connections.try_acquire(tenant.queue, now)
            if sent is None:
                # What was begun goes before what is new: behind a slow server, a lookup would never be sent.
                again = had_slot or call.attempts > 0 or call.request.reconciles
                if not self._may_wait(call, tenant.queue, now, again=again):
                    break
                timeout = None if call.request.wait_for_pace else call.deadline.left(now)
                sent = await core.connections.acquire(tenant.queue, self._subdomain, timeout, priority=again)
                if timeout is None:
                    call.deadline = Deadline(call.deadline.at + core.time() - now)
                if sent is None:
                    continue
                # While it waited, the token may have been renewed, or died.
                now = core.time()
                token = token_manager.current(now) or (token if token_manager.is_current(token, now) else None)
                if token is None or core.problem is not None:
                    # It keeps its place in the queue: else a token that lives for less than that wait would never be
                    # used.
                    tenant.queue.release_unsent(sent)
                    had_slot = True
                    continue
            return Permit(sent, tenant, token)
        return None

    def _stopped(self, call: Call, now: float) -> bool:
        if call.stop_reason is not None:
            return True
        core = self._core
        if core.closed or core.session.closed:
            problem: str | None = (
                "the client is closed" if core.closed else "the aiohttp session that was passed in is closed"
            )
        else:
            problem = core.problem
        if problem is not None:
            call.stop(problem, error=_named(ConfigurationError(problem), call))
            return True
        if call.deadline.left(now) < LEAST_USEFUL:
            call.stop("the deadline has passed", out_of_time=True)
            return True
        return False

    async def _token(self, call: Call, tenant: TenantState) -> str | None:
        """Return a token, or stop the call; waiting for it counts against the deadline as waiting for the pace does."""
        core, request = self._core, call.request
        began = now = core.time()
        until = Deadline(began + self._token_timeout) if request.wait_for_pace else call.deadline
        if tenant.refusals.wait(now) > 0.0 or not self._token_manager.has_usable(now):
            self._telemetry.wait_began(call, WaitReason.TOKEN, None)
        tries = 0
        while True:
            if core.closed and self._stopped(call, now):
                return None
            # Even where a token is held: each one that is refused is lost for the other tenants that use it.
            wait = tenant.refusals.wait(now)
            if wait > 0 and not until.allows(now, wait):
                refused_error = AuthenticationError(f"{ALWAYS_REFUSED}; nothing was sent", retryable=True, **call.facts)
                call.stop(ALWAYS_REFUSED, error=None if call.result is not None else refused_error)
                return None
            if wait > 0:
                await core.sleep(wait)
                now = core.time()
                continue
            token = await self._token_manager.get(until.left(now))
            now = core.time()
            if isinstance(token, str):
                if request.wait_for_pace:
                    call.deadline = Deadline(call.deadline.at + now - began)
                return token
            tries += 1
            pause = max(token.retry_after or 0.0, backoff(_TOKEN_RETRIES, tries, core.random))
            refused = isinstance(token, AuthenticationError)
            if token.retry_after is not None and not refused and now + pause - began <= core.pacing.max_wait:
                # A server that says when to come back is waited for; after a refusal, this is the token manager's own
                # backoff.
                until = Deadline(until.at + pause)
            if not (request.wait_for_pace and token.retryable and until.allows(now, pause)) or core.closed:
                call.stop(token.reason, error=_named(token, call))
                return None
            await core.sleep(pause)
            now = core.time()

    def _may_wait(self, call: Call, queue: RequestQueue, now: float, *, again: bool) -> bool:
        """Tell of a wait that begins, or stop the call if it would take too long."""
        if queue.pace.ask(now) != 0.0 or (queue.tenants and not self._core.connections.is_bottleneck(queue, now)):
            pause = queue.pace.next_slot(now)
            wait = pause if again else queue.wait(self._subdomain, now)
            if why := self._too_long(call, wait, pause, now):
                call.pace_wait = wait
                paused = RateLimitedError(
                    f"{why}; nothing was sent", status=429, retryable=True, retry_after=wait, **call.facts
                )
                call.stop(why, error=None if call.result is not None else paused)
                return False
            self._telemetry.wait_began(call, WaitReason.PACE, wait or None)
        else:
            self._telemetry.wait_began(call, WaitReason.CONNECTION, None)
        return True

    def _too_long(self, call: Call, wait: float, pause: float, now: float) -> str | None:
        # The queue of a run is as long as the run is wide: that it moves slowly is no reason to stop.
        if (pause if call.request.wait_for_pace else wait) > self._core.pacing.max_wait:
            return "the wait for the tenant's rate limit would be longer than max_wait"
        # How fast the queue moves is an estimate, which may change; a pause is known.
        if not call.request.wait_for_pace and not call.deadline.allows(now, pause):
            return "the tenant's pause ends after the deadline"
        return None


def _named(error: ClarusError, call: Call) -> ClarusError:
    """Return an error with the facts of a call, unless it has those of another request."""
    if error.method is not None:
        return error
    return with_facts(error, **call.facts)
