"""What all views of one client share: the pool and its limiter, the tenants, the token managers, the observer."""

from __future__ import annotations

import asyncio
import functools
import random
import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from clarus_async.auth.token import TokenStores
from clarus_async.auth.token_manager import OnRequest, TokenManager, TokenManagers
from clarus_async.calls.telemetry import Notifier
from clarus_async.calls.tenants import Tenants, not_bound
from clarus_async.config import PacingPolicy, RetryPolicy, Timeouts
from clarus_async.credentials import AccessToken, ClientCredentials, Credentials
from clarus_async.errors import ConfigurationError
from clarus_async.events import Observer
from clarus_async.forking import watch
from clarus_async.http.session import ClientSession, Session
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.queue import ConnectionLimiter, RequestQueue
from clarus_async.wire.server_clock import Dated

if TYPE_CHECKING:
    from clarus_async.ratelimit.shared_pace import SharedPace  # few clients share one, and it takes a while to import


_REFRESHES_END: Final = 1.0  # seconds, thousands of times what giving a claim back takes


class Sharing(TokenStores, Protocol):
    """What one client shares with other processes: its tenants' paces and its credentials' tokens."""

    @property
    def problem(self) -> str | None:
        """Why nothing may be sent, where waiting does not help."""
        ...

    def pacer(self, tenant: str | None) -> SharedPace:
        """Return the pacer of a tenant, or of all together (``None``)."""
        ...

    async def close(self) -> None:
        """Release what it holds."""
        ...


@runtime_checkable
class SharesPace(Protocol):
    """A pacing policy whose pace is shared between processes."""

    def share(self, base_url: str) -> Sharing:
        """Begin to share."""
        ...


class ClientCore:
    """The part of a client that its views have in common; ``draw`` draws from 0 to 1, for jitter."""

    def __init__(
        self,
        base_url: str,
        max_connections: int,
        pacing: PacingPolicy,
        session: ClientSession | None,
        observer: Observer | None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.base_url = base_url
        self.pacing = pacing
        self.random = draw
        self.closed: bool = False
        self.notifier: Notifier = Notifier(observer, base_url)
        self.tenants: Tenants = Tenants(self._new_queue, one_limit=pacing.scope == "client")
        self.token_managers: TokenManagers = TokenManagers(self._new_token_manager)
        self._max_connections = max_connections
        self._callers_session = session
        self._calls = 0
        self._longest_attempt = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parents_loop: asyncio.AbstractEventLoop | None = None
        self._parents_session = False
        self._start()
        watch(self)

    def forked(self) -> Iterable[object]:
        """Begin afresh in a child process, and return what is its parent's."""
        parents = [self._loop, dict(self.__dict__), *self.token_managers.reset()]
        self._parents_loop, self._loop = self._loop or self._parents_loop, None
        self._parents_session = self._callers_session is not None
        return [*parents, *self._start()]

    def _start(self) -> Iterable[object]:
        """Begin on a new event loop, and return what was known of the tenants on the last one."""
        self.session: Session = Session(self._max_connections, self._callers_session)
        self.connections: ConnectionLimiter = ConnectionLimiter(self.session.width)
        self._sharing = self.pacing.share(self.base_url) if isinstance(self.pacing, SharesPace) else None
        self._sleepers: set[asyncio.Future[None]] = set()
        # The event loop's own: every call asks several times.
        self.time: Callable[[], float] = not_bound
        """Seconds on the event loop's clock; 0 before the client is bound to one."""
        self._key_prefix = ""
        self._keys = 0
        self.dated: Dated | None = None
        """The Date of the last response that had one."""
        return self.tenants.reset()

    def bind(self) -> asyncio.AbstractEventLoop:
        """Bind the client to the running event loop, and return that.

        Raises:
            ConfigurationError: the client is in use on another event loop that still runs, or the event loop or the
                session was taken over from the process that forked this one.
        """
        loop = asyncio.get_running_loop()
        if loop is self._loop:
            return loop
        if loop is self._parents_loop:
            raise ConfigurationError(
                "this event loop is the parent process's, from before the fork; "
                "use the client in a loop of this process's own, such as asyncio.run makes"
            )
        if self._parents_session:
            raise ConfigurationError(
                "the aiohttp session that was passed in was made before the fork, and its connections are the parent"
                " process's; make a session and a client in this process"
            )
        if self._loop is not None:
            if self._loop.is_running():
                raise ConfigurationError("this client is in use on another event loop; make one client per loop")
            self.session.abandon()
            self._start()
            self.token_managers.reset()
        self._loop = loop
        self.time = self.tenants.clock = loop.time
        # Each process has its own: a client may be made, and even used, before a fork.
        self._key_prefix = str(uuid.uuid4())[:24]
        return loop

    @property
    def problem(self) -> str | None:
        """Why nothing may be sent: the pace is shared, and that is set up wrongly."""
        return None if self._sharing is None else self._sharing.problem

    def _new_queue(self, subdomain: str | None) -> RequestQueue:
        if self._sharing is None:
            return RequestQueue(self.connections, AdaptiveRateLimiter(self.pacing))
        pacer = self._sharing.pacer(subdomain)
        queue = RequestQueue(self.connections, pacer)
        pacer.attach(queue.pace_changed, lambda: queue.ready)
        return queue

    def _new_token_manager(self, credentials: Credentials, timeouts: Timeouts, on_request: OnRequest) -> TokenManager:
        from clarus_async.auth.grants import TokenEndpoint, grant_for  # noqa: PLC0415  only a client pays for it

        endpoint = TokenEndpoint(
            session=lambda: self.session,
            base_url=self.base_url,
            timeouts=timeouts,
            retry=RetryPolicy(),
            random=self.random,
            on_date=self.note_date,
        )
        grant = grant_for(credentials, endpoint)
        on_reject: Callable[[str], None] | None = None
        if self._sharing is not None and isinstance(credentials, ClientCredentials):
            from clarus_async.auth.shared_tokens import SharedGrant  # noqa: PLC0415  few clients share

            grant = shared = SharedGrant(grant, credentials, lambda: self._sharing)
            on_reject = shared.refuse
        return TokenManager(
            grant,
            static=isinstance(credentials, AccessToken),
            notify=functools.partial(self.notifier.notify, observer=self.notifier.observer),
            on_request=on_request,
            on_reject=on_reject,
        )

    def note_date(self, dated: Dated) -> None:
        """Note what a response says of the server's clock."""
        self.dated = dated

    def next_call(self, attempt_timeout: float) -> int:
        """Return the number of a new call, whose attempts have this timeout in seconds."""
        self._calls += 1
        self._longest_attempt = max(self._longest_attempt, attempt_timeout)
        return self._calls

    def new_key(self) -> str:
        """Return a new Idempotency-Key: a UUID of which the end counts, and the rest is random for each event loop."""
        self._keys += 1
        return f"{self._key_prefix}{self._keys:012x}"

    async def sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until the client is closed."""
        if seconds <= 0 or self.closed:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, future)
        self._sleepers.add(future)
        try:
            await future
        finally:
            timer.cancel()
            self._sleepers.discard(future)

    async def close(self) -> None:
        """Refuse new calls, let those on the wire end within their attempt timeout, and close the pool.

        Raises:
            ConfigurationError: the client is in use on another event loop that still runs.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_running():
                raise ConfigurationError("this client is in use on another event loop; close it there")
            self.closed = True
            self.session.abandon()
            return
        self.closed = True
        self.connections.close()
        for tenant in self.tenants:
            tenant.queue.close()
        for future in tuple(self._sleepers):
            _wake(future)
        refreshes = self.token_managers.close()
        try:
            await self.connections.drain(self._longest_attempt)
        finally:
            await self.session.close()
            if refreshes:
                # Each gives back what it shares; a caller's own source may be deaf to its cancellation.
                await asyncio.wait(refreshes, timeout=_REFRESHES_END)
            if self._sharing is not None:
                await self._sharing.close()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
