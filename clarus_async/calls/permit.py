"""What a request waits for before it may go out: a token, its tenant's pace, and a connection."""

from __future__ import annotations

from typing import Final, NamedTuple

from clarus_async.auth.token import ALWAYS_REFUSED
from clarus_async.auth.token_manager import TokenManager
from clarus_async.calls.core import ClientCore, TenantState
from clarus_async.calls.request import Call
from clarus_async.calls.telemetry import Telemetry
from clarus_async.config import RetryPolicy
from clarus_async.errors import AuthenticationError, ClarusError, ConfigurationError, RateLimitedError, with_facts
from clarus_async.events import WaitReason
from clarus_async.ratelimit.pace import Sent
from clarus_async.ratelimit.queue import RequestQueue
from clarus_async.retry.backoff import backoff
from clarus_async.retry.deadline import LEAST_USEFUL, Deadline

# The token endpoint had its own retries: who is patient asks again when there may be news.
_ASKING: Final = RetryPolicy(base=1.0, cap=20.0)


class Permit(NamedTuple):
    """Leave to send one request.

    Args:
        sent: the request that it is for.
        tenant: whose pace let it.
        token: what to send it with.
    """

    sent: Sent
    tenant: TenantState
    token: str

    def __repr__(self) -> str:
        """Nothing of it: it holds what must not show."""
        return object.__repr__(self)


class Permits:
    """Takes turns for one view of a client.

    Args:
        shared: has the connections and the tenants.
        subdomain: the tenant.
        keeper: has the token.
        teller: is told of waits.
        patience: seconds that who is patient waits for a token.
    """

    def __init__(
        self, shared: ClientCore, subdomain: str, keeper: TokenManager, teller: Telemetry, patience: float
    ) -> None:
        self._shared = shared
        self._subdomain = subdomain
        self._keeper = keeper
        self._teller = teller
        self._patience = patience

    def at_once(self, call: Call, tenant: TenantState) -> Permit | None:
        """Take a turn where there is nothing to wait for, and nothing that stops the call.

        Args:
            call: whose.
            tenant: the one that it is for.
        """
        now = self._shared.time()
        token = self._keeper.current(now)
        if token is None or tenant.refusals.wait(now) > 0.0 or self._stopped(call, now):
            return None
        sent = self._shared.connections.try_acquire(tenant.queue, now)
        return None if sent is None else Permit(sent, tenant, token)

    async def take(self, call: Call, tenant: TenantState) -> Permit | None:
        """Wait until a request may go out; ``None`` where the call was stopped instead.

        Who has a turn tells the queue what came of the request, and releases it.

        Args:
            call: whose.
            tenant: the one that it is for.
        """
        shared, keeper = self._shared, self._keeper
        had_a_turn = False
        while not self._stopped(call, now := shared.time()):
            token = None if tenant.refusals.wait(now) > 0.0 else keeper.current(now)
            token = token or await self._token(call, tenant)
            if token is None:
                break
            now = shared.time()
            sent = shared.connections.try_acquire(tenant.queue, now)
            if sent is None:
                # What was begun ends before more is begun: behind a slow server, a look would never have its turn.
                again = had_a_turn or call.attempts > 0 or call.request.settles
                if not self._may_wait(call, tenant.queue, now, again=again):
                    break
                patience = None if call.request.patient else call.deadline.left(now)
                sent = await shared.connections.acquire(tenant.queue, self._subdomain, patience, priority=again)
                if patience is None:
                    call.deadline = Deadline(call.deadline.at + shared.time() - now)
                if sent is None:
                    continue
                # While it waited, the token may have been renewed, or died.
                now = shared.time()
                token = keeper.current(now) or (token if keeper.alive(token, now) else None)
                if token is None or shared.problem is not None:
                    # Its turn is not lost: a token that lives for less than the wait for one would never be used.
                    tenant.queue.release_unsent(sent)
                    had_a_turn = True
                    continue
            return Permit(sent, tenant, token)
        return None

    def _stopped(self, call: Call, now: float) -> bool:
        if call.because is not None:
            return True
        shared = self._shared
        if shared.closed or shared.session.closed:
            problem: str | None = (
                "the client is closed" if shared.closed else "the aiohttp session that was passed in is closed"
            )
        else:
            problem = shared.problem
        if problem is not None:
            call.stop(problem, by=_named(ConfigurationError(problem), call))
            return True
        if call.deadline.left(now) < LEAST_USEFUL:
            call.stop("the deadline has passed", out_of_time=True)
            return True
        return False

    async def _token(self, call: Call, tenant: TenantState) -> str | None:
        """Return a token, or stop the call; who is patient has its whole deadline for it, and does not use it up."""
        shared, request = self._shared, call.request
        began = now = shared.time()
        until = Deadline(began + self._patience) if request.patient else call.deadline
        if tenant.refusals.wait(now) > 0.0 or not self._keeper.serves(now):
            self._teller.waits(call, WaitReason.TOKEN, None)
        tries = 0
        while True:
            if shared.closed and self._stopped(call, now):
                return None
            # Also where a token is held: each that is refused is lost for the other tenants that use it.
            wait = tenant.refusals.wait(now)
            if wait > 0 and not until.allows(now, wait):
                call.stop(ALWAYS_REFUSED, by=None if call.seen is not None else _refused(call))
                return None
            if wait > 0:
                await shared.sleep(wait)
                now = shared.time()
                continue
            token = await self._keeper.get(until.left(now))
            now = shared.time()
            if isinstance(token, str):
                if request.patient:
                    call.deadline = Deadline(call.deadline.at + now - began)
                return token
            tries += 1
            pause = max(token.retry_after or 0.0, backoff(_ASKING, tries, shared.random))
            refused = isinstance(token, AuthenticationError)
            if token.retry_after is not None and not refused and now + pause - began <= shared.pacing.max_wait:
                # A server that says when to come back is waited for; that of a refusal is the keeper's own backoff.
                until = Deadline(until.at + pause)
            if not (request.patient and token.retryable and until.allows(now, pause)) or shared.closed:
                call.stop(token.reason, by=_named(token, call))
                return None
            await shared.sleep(pause)
            now = shared.time()

    def _may_wait(self, call: Call, queue: RequestQueue, now: float, *, again: bool) -> bool:
        """Tell of a wait that begins, or stop the call where that would be too long."""
        if queue.pace.ask(now) != 0.0 or (queue.tenants and not self._shared.connections.is_bottleneck(queue, now)):
            pause = queue.pace.next_slot(now)
            wait = pause if again else queue.wait(self._subdomain, now)
            if why := self._too_long(call, wait, pause, now):
                call.paced = wait
                call.stop(why, by=None if call.seen is not None else _paused(call, wait, why))
                return False
            self._teller.waits(call, WaitReason.PACE, wait or None)
        else:
            self._teller.waits(call, WaitReason.GATE, None)
        return True

    def _too_long(self, call: Call, wait: float, pause: float, now: float) -> str | None:
        # The line of a run is as long as the run is wide: that it moves slowly is no reason to end it.
        if (pause if call.request.patient else wait) > self._shared.pacing.max_wait:
            return "the tenant's pace has it wait for longer than max_wait"
        # How fast the line moves is a belief that may change; a pause is known.
        if not call.request.patient and not call.deadline.allows(now, pause):
            return "the tenant's pause outlasts the deadline"
        return None


def _named(error: ClarusError, call: Call) -> ClarusError:
    """Say of which call an error is, unless it is of another request."""
    if error.method is not None:
        return error
    return with_facts(error, method=call.request.method, path=call.request.path, attempts=call.attempts)


def _refused(call: Call) -> AuthenticationError:
    request = call.request
    return AuthenticationError(
        f"{ALWAYS_REFUSED}; nothing was sent",
        retryable=True,
        method=request.method,
        path=request.path,
        attempts=call.attempts,
    )


def _paused(call: Call, wait: float, why: str) -> RateLimitedError:
    return RateLimitedError(
        f"{why}; nothing was sent",
        status=429,
        retryable=True,
        retry_after=wait,
        method=call.request.method,
        path=call.request.path,
        attempts=call.attempts,
    )
