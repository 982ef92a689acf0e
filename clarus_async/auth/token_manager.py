"""Who holds the token: one refresh at a time, shielded from its callers, and told apart by token and tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from clarus_async.auth.shared_grant import SharedGrant
from clarus_async.auth.token import HeldToken, Phase, life
from clarus_async.errors import AuthenticationError, ClarusError, ConfigurationError, DeadlineExceededError, with_facts
from clarus_async.events import TokenEvent
from clarus_async.redaction import raised

if TYPE_CHECKING:
    from clarus_async.auth.grants import Grant

# After a refusal the same credentials are not tried again for a while that doubles: they are wrong until somebody
# acts, and a token endpoint locks accounts.
_FIRST_BACKOFF: Final = 1.0
_LONGEST_BACKOFF: Final = 60.0


class TokenManager:
    """The token of one set of credentials.

    Args:
        grant: gets the next one.
        static: there is no next one: what is refused once stays refused.
        tell: is told of each token that was asked for.
        asks: is told before one is asked for.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        static: bool,
        tell: Callable[[TokenEvent], None],
        asks: Callable[[TokenManager], None],
    ) -> None:
        self.static = static
        self._grant = grant
        self._tell = tell
        self._asks = asks
        self._held: HeldToken | None = None
        self._refresh: asyncio.Task[HeldToken | ClarusError] | None = None
        self._refused: ClarusError | None = None
        self._refusals = 0
        self._not_before = 0.0

    def current(self, now: float) -> str | None:
        """Return the token if it is fresh.

        Args:
            now: seconds on the loop's clock.
        """
        held = self._held
        return held.value if held is not None and now < held.fresh_until else None

    def serves(self, now: float) -> bool:
        """Whether there is a token that can be sent while another is fetched, or need not be.

        Args:
            now: seconds on the loop's clock.
        """
        return self._held is not None and self._held.phase(now) is not Phase.EXPIRED

    def alive(self, token: str, now: float) -> bool:
        """Whether a token that was got a while ago is still the one to send.

        Args:
            token: the bearer token.
            now: seconds on the loop's clock.
        """
        held = self._held
        return held is not None and held.value == token and held.phase(now) is not Phase.EXPIRED

    async def get(self, patience: float) -> str | ClarusError:
        """Return a token, fetched if need be, or why there is none.

        Args:
            patience: seconds to wait at the most.
        """
        now = asyncio.get_running_loop().time()
        held = self._held
        phase = Phase.EXPIRED if held is None else held.phase(now)
        if held is not None and phase is Phase.FRESH:
            return held.value
        if self._refresh is None:
            if self._refused is not None and now < self._not_before:
                if held is not None and phase is Phase.STALE:
                    return held.value
                return with_facts(self._refused, retry_after=self._not_before - now)
            self._asks(self)
            self._refresh = asyncio.create_task(self._fetch(), name="clarus_async token refresh")
        if held is not None and phase is Phase.STALE:
            # It is good for a while yet, and the next one is on its way.
            return held.value
        refresh = self._refresh
        # Waiting for the task, not in it: a caller's cancellation ends the caller's wait and nothing else.
        done, _ = await asyncio.wait([refresh], timeout=patience)
        if not done:
            return DeadlineExceededError("no token came in time; nothing was sent", retryable=True)
        if refresh.cancelled():
            return ConfigurationError("the client was closed while it waited for a token; nothing was sent")
        result = refresh.result()
        # One that is shared would collect everybody's traceback.
        return result.value if isinstance(result, HeldToken) else with_facts(result)

    def reject(self, token: str) -> HeldToken | None:
        """Let go of a token that was answered with 401, and return it; ``None`` where another one is held by now.

        Args:
            token: the bearer token.
        """
        held = self._held
        if held is None or held.value != token:
            return None
        self._held = None
        if isinstance(self._grant, SharedGrant):
            self._grant.refuse(token)
        return held

    async def _fetch(self) -> HeldToken | ClarusError:
        loop = asyncio.get_running_loop()
        since = loop.time()
        try:
            token = await self._grant()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            token = AuthenticationError("asking for a token was cancelled from within")
        except ClarusError as error:
            token = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001  1,000 callers wait for a token or for a reason
            token = AuthenticationError(f"asking for a token raised {raised(error)}")
        finally:
            self._refresh = None
        now = loop.time()
        if isinstance(token, ClarusError):
            self._refused = token
            if isinstance(token, AuthenticationError):
                self._refusals += 1
                backoff = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(self._refusals - 1, 30))
                self._not_before = now + max(backoff, token.retry_after or 0.0)
            elif token.retry_after is not None:
                self._not_before = now + token.retry_after
            self._tell(TokenEvent(duration=now - since, expires_in=None, failure=type(token).__name__))
            return token
        self._refused = None
        self._refusals = 0
        self._held = HeldToken(token.value, since, life(token.expires_in))
        self._tell(TokenEvent(duration=now - since, expires_in=self._held.life, failure=None))
        return self._held

    def close(self) -> None:
        """End a refresh that is under way."""
        if self._refresh is not None:
            self._refresh.cancel()

    def forget(self) -> object:
        """Start afresh: the event loop that the token's clock belonged to is gone, and its task, which is returned."""
        refresh, self._refresh = self._refresh, None
        self._held = None
        self._not_before = 0.0
        return refresh
