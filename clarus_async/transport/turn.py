"""What a request waits for before it may go out: a token, its tenant's pace, and a slot of the gate."""

from __future__ import annotations

import asyncio

from clarus_async.errors import ClarusError, ConfigurationError, RateLimitedError
from clarus_async.events import WaitReason
from clarus_async.policy.deadline import LEAST_USEFUL
from clarus_async.policy.pacing import Turn
from clarus_async.transport.auth import TokenKeeper
from clarus_async.transport.request import Call
from clarus_async.transport.shared import Shared
from clarus_async.transport.telling import Teller


class Turns:
    """Takes turns for one view of a client.

    Args:
        shared: has the gate and the tenants.
        subdomain: the tenant.
        keeper: has the token.
        teller: is told of waits.
    """

    def __init__(self, shared: Shared, subdomain: str, keeper: TokenKeeper, teller: Teller) -> None:
        self._shared = shared
        self._subdomain = subdomain
        self._keeper = keeper
        self._teller = teller

    async def take(self, call: Call) -> tuple[Turn, str | None]:
        """Wait until a request may go out; return its turn and its token, with a slot that the caller gives back.

        Where there is no token in what is returned, the call was stopped, no slot is held, and no probe either.

        Args:
            call: whose.
        """
        loop = asyncio.get_running_loop()
        gate, keeper = self._shared.gate, self._keeper
        turnstile = self._shared.tenant(self._subdomain).turnstile
        turn = Turn.GO
        ready = False
        try:
            while not self._stopped(call, loop.time()):
                token = keeper.current(loop.time()) or await self._token(call)
                if token is None:
                    break
                waited = False
                if turn is Turn.GO and turnstile.pace.paused_until is not None:
                    waited = True
                    came = await self._pace(call)
                    if came is None:
                        continue
                    turn = came
                if not gate.enter_now():
                    self._teller.waits(call, WaitReason.GATE, None)
                    if not await gate.enter(self._subdomain, call.deadline.left(loop.time())):
                        continue
                    waited = True
                if waited:
                    # While it waited, the tenant may have been paused, for longer still if this is the probe, and the
                    # token may have died.
                    if turn is Turn.PROBE and turnstile.pace.wait(loop.time()) > 0:
                        turnstile.lost()
                        turn = Turn.GO
                    paused = turn is Turn.GO and turnstile.pace.paused_until is not None
                    if paused or not keeper.alive(token, loop.time()):
                        gate.leave()
                        continue
                ready = True
                return turn, token
            return turn, None
        finally:
            if not ready and turn is Turn.PROBE:
                turnstile.lost()

    def _stopped(self, call: Call, now: float) -> bool:
        if call.because is not None:
            return True
        shared = self._shared
        if shared.closed or shared.session.closed:
            error = ConfigurationError(
                "the client is closed" if shared.closed else "the aiohttp session that was passed in is closed"
            )
            _name(error, call)
            call.stop(error.message, by=error)
            return True
        if call.deadline.left(now) < LEAST_USEFUL:
            call.stop("the deadline has passed", out_of_time=True)
            return True
        return False

    async def _token(self, call: Call) -> str | None:
        now = asyncio.get_running_loop().time()
        if not self._keeper.serves(now):
            self._teller.waits(call, WaitReason.TOKEN, None)
        token = await self._keeper.get(call.deadline.left(now))
        if isinstance(token, str):
            return token
        _name(token, call)
        call.stop(token.message, by=token)
        return None

    async def _pace(self, call: Call) -> Turn | None:
        now = asyncio.get_running_loop().time()
        turnstile = self._shared.tenant(self._subdomain).turnstile
        wait, left = turnstile.pace.wait(now), call.deadline.left(now)
        if wait > self._shared.pacing.max_wait or not call.deadline.allows(now, wait):
            why = "the tenant is paused for longer than max_wait" if wait < left else "the pause outlasts the deadline"
            call.paced = wait
            call.stop(why, by=None if call.seen is not None else _paused(call, wait, why))
            return None
        self._teller.waits(call, WaitReason.PACE, wait)
        turn = await turnstile.enter(left)
        if turn is None and not self._shared.closed:
            call.stop("the tenant's pause outlasted the deadline", out_of_time=True)
        return turn


def _name(error: ClarusError, call: Call) -> None:
    """Say of which call an error is, unless it is of another request."""
    if error.method is None:
        error.method, error.path, error.attempts = call.request.method, call.request.path, call.attempts


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
