"""What all views of one client share: the pool and its limiter, and what is known of each tenant."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

import attrs

from clarus_async.auth.token import Refusals
from clarus_async.auth.token_manager import TokenManager
from clarus_async.auth.token_managers import Asks, TokenManagers
from clarus_async.calls.sharing import SharesPace
from clarus_async.config import PacingPolicy, RetryPolicy, Timeouts
from clarus_async.credentials import AccessToken, ClientCredentials, Credentials
from clarus_async.errors import ConfigurationError
from clarus_async.events import Event, Observer
from clarus_async.forking import watch
from clarus_async.http.session import ClientSession, Session
from clarus_async.ratelimit.limiter import AdaptiveRateLimiter
from clarus_async.ratelimit.queue import ConnectionLimiter, RequestQueue
from clarus_async.retry.backoff import RetryBudget
from clarus_async.wire.server_clock import Dated

_log = logging.getLogger("clarus_async")


class Memory(Protocol):
    """What a room above this one keeps of a tenant."""

    def idle(self, now: float) -> bool:
        """Whether all of it would be learned again.

        Args:
            now: seconds on the loop's clock.
        """
        ...


M = TypeVar("M", bound=Memory)

# What is known of a tenant takes some 5 KiB.
_ROOM: Final = 4096


@attrs.define(eq=False, repr=False)
class TenantState:
    """What is known of one tenant, on one event loop.

    Args:
        queue: its pace, and who waits for it.
        budget: its allowance of retries.
        looks: that of the lookups: creates that fail must not use up what settles them.
        called_at: when it was asked for last, in seconds on the loop's clock.
        refusals: the tokens that were refused.
        most_rows: how many rows of a page it has granted, once more were refused for their cost.
        memories: what rooms above this one know of it, by kind and by what it is of.
    """

    queue: RequestQueue
    budget: RetryBudget
    looks: RetryBudget
    called_at: float = 0.0
    refusals: Refusals = attrs.field(factory=Refusals)
    most_rows: int | None = None
    memories: dict[tuple[type, str], Any] = attrs.field(factory=dict)

    def memory(self, kind: type[M], of: str) -> M:
        """Return what is known of something of this tenant; it is forgotten together with the tenant.

        Args:
            kind: the class that keeps it, made without arguments where nothing is known yet.
            of: such as the name of a resource.
        """
        memory: M | None = self.memories.get((kind, of))
        if memory is None:
            memory = self.memories[kind, of] = kind()
        return memory

    def forgettable(self, name: str, now: float) -> bool:
        """Whether all that is known of it would be learned again: nothing is under way, in doubt or held back.

        Args:
            name: its own.
            now: seconds on the loop's clock.
        """
        return (
            name not in self.queue.tenants
            and all(memory.idle(now) for memory in self.memories.values())
            and self.refusals.wait(now) == 0.0
            and self.budget.full(now)
            and self.looks.full(now)
        )

    def budget_of(self, *, settles: bool) -> RetryBudget:
        """Return the allowance that a call's retries come from.

        Args:
            settles: it settles what was begun.
        """
        return self.looks if settles else self.budget


class ClientCore:
    """The part of a client that its views have in common.

    Args:
        base_url: the API's, without a slash at its end.
        max_connections: how many requests may be on the wire at once.
        pacing: how a rate limit is kept to.
        session: the caller's own aiohttp session, if any.
        observer: is told what happens.
        draw: draws from 0 to 1, for jitter.
    """

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
        self.observer = observer
        self._unheard: set[str] = set()
        self.random = draw
        self.closed: bool = False
        self._max_connections = max_connections
        self._theirs = session
        self._calls = 0
        self._longest_attempt = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parents_loop: asyncio.AbstractEventLoop | None = None
        self._parents_session = False
        self.keepers: TokenManagers = TokenManagers(self._keeper)
        self._start()
        watch(self)

    def forked(self) -> Iterable[object]:
        """Begin afresh in a child, and return what is the parent's."""
        parents = [self._loop, dict(self.__dict__), *self.keepers.forked()]
        self._parents_loop, self._loop = self._loop or self._parents_loop, None
        self._parents_session = self._theirs is not None
        self._start()
        return parents

    def _start(self) -> None:
        self.session: Session = Session(self._max_connections, self._theirs)
        self.connections: ConnectionLimiter = ConnectionLimiter(self.session.width)
        self._tenants: dict[str, TenantState] = {}
        self._room = _ROOM
        self._sharing = self.pacing.share(self.base_url) if isinstance(self.pacing, SharesPace) else None
        self._common = self._queue_of(None) if self.pacing.scope == "client" else None
        self._sleepers: set[asyncio.Future[None]] = set()
        self._key_prefix = ""
        self._keys = 0
        self.dated: Dated | None = None
        """The Date of the last answer that had one."""

    def bind(self) -> asyncio.AbstractEventLoop:
        """Return the running event loop, having made it ours.

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
            self.keepers.forget()
        self._loop = loop
        # Of each process its own: a client may be made, and even used, before a fork.
        self._key_prefix = str(uuid.uuid4())[:24]
        return loop

    def time(self) -> float:
        """Seconds on our event loop's clock."""
        return 0.0 if self._loop is None else self._loop.time()

    @property
    def problem(self) -> str | None:
        """Why nothing may be sent, where the pace is shared and that is set up wrongly."""
        return None if self._sharing is None else self._sharing.problem

    def tenant(self, subdomain: str) -> TenantState:
        """Return what is known of a tenant.

        Args:
            subdomain: its name.
        """
        tenant = self._tenants.get(subdomain)
        now = self.time()
        if tenant is None:
            self._forget_idle(now)
            tenant = self._tenants[subdomain] = TenantState(
                self._new_queue(subdomain), RetryBudget(now), RetryBudget(now)
            )
        tenant.called_at = now
        return tenant

    def _forget_idle(self, now: float) -> None:
        """Make room for another tenant: forget those that were called longest ago."""
        if len(self._tenants) < self._room:
            return
        for name in sorted(self._tenants, key=lambda name: self._tenants[name].called_at):
            if len(self._tenants) <= _ROOM // 2:
                break
            # Who waits, or is under way, or may not send yet, must not be a stranger afterwards. A pace that all share
            # is not forgotten with one of them.
            tenant = self._tenants[name]
            if tenant.forgettable(name, now) and (self._common is not None or tenant.queue.idle(now)):
                del self._tenants[name]
        self._room = max(_ROOM, 2 * len(self._tenants))

    def queue(self, subdomain: str) -> RequestQueue:
        """Return where the calls of a tenant wait, without making it one that was called.

        Args:
            subdomain: its name.
        """
        tenant = self._tenants.get(subdomain)
        return self._new_queue(subdomain) if tenant is None else tenant.queue

    def _new_queue(self, subdomain: str) -> RequestQueue:
        return self._common or self._queue_of(subdomain)

    def _queue_of(self, subdomain: str | None) -> RequestQueue:
        if self._sharing is None:
            return RequestQueue(self.connections, AdaptiveRateLimiter(self.pacing))
        pacer = self._sharing.pacer(subdomain)
        queue = RequestQueue(self.connections, pacer)
        pacer.attach(queue.pace_changed, lambda: queue.ready)
        return queue

    def _keeper(self, credentials: Credentials, timeouts: Timeouts, asks: Asks) -> TokenManager:
        from clarus_async.auth.grants import TokenEndpoint, grant_for  # noqa: PLC0415  only a client pays for it

        endpoint = TokenEndpoint(
            session=lambda: self.session,
            base_url=self.base_url,
            timeouts=timeouts,
            retry=RetryPolicy(),
            random=self.random,
            dated=self.note_date,
        )
        grant = grant_for(credentials, endpoint)
        if self._sharing is not None and isinstance(credentials, ClientCredentials):
            from clarus_async.auth.shared_grant import SharedGrant  # noqa: PLC0415  the same

            grant = SharedGrant(grant, credentials, lambda: self._sharing)
        return TokenManager(
            grant,
            static=isinstance(credentials, AccessToken),
            tell=functools.partial(self.tell, to=self.observer),
            asks=asks,
        )

    def note_date(self, dated: Dated) -> None:
        """Note what an answer says of the server's clock.

        Args:
            dated: its Date.
        """
        self.dated = dated

    def next_call(self, attempt: float) -> int:
        """Number a call.

        Args:
            attempt: seconds that one of its attempts may take.
        """
        self._calls += 1
        self._longest_attempt = max(self._longest_attempt, attempt)
        return self._calls

    def new_key(self) -> str:
        """Make an Idempotency-Key, on our event loop: a UUID that is random but for its end, which counts."""
        self._keys += 1
        return f"{self._key_prefix}{self._keys:012x}"

    def observer_for(self, subdomain: str) -> Observer | None:
        """Return who is told of a tenant's calls.

        Args:
            subdomain: the tenant.
        """
        for_tenant: Callable[[str, str], Observer] | None = getattr(self.observer, "for_tenant", None)
        if for_tenant is None:
            return self.observer
        try:
            return for_tenant(subdomain, self.base_url)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001  watching must not fail what is watched
            self._note_unheard("tenant")
            return self.observer

    def tell(self, event: Event, to: Observer | None) -> None:
        """Tell an observer, and keep what it raises from the call.

        Args:
            event: what happened.
            to: who is told.
        """
        if to is not None:
            try:
                to.on_event(event)
            except (Exception, asyncio.CancelledError):  # noqa: BLE001  watching must not fail what is watched
                self._note_unheard(type(event).__name__)

    def _note_unheard(self, what: str) -> None:
        """Log what the observer raises, once for each kind of event: it may be told of thousands a second."""
        if what not in self._unheard:
            self._unheard.add(what)
            _log.exception("the observer raised on a %s; this is not said again", what)

    async def sleep(self, seconds: float) -> None:
        """Sleep, at most until the client closes.

        Args:
            seconds: how long.
        """
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
        for tenant in self._tenants.values():
            tenant.queue.close()
        for future in tuple(self._sleepers):
            _wake(future)
        self.keepers.close()
        try:
            await self.connections.drain(self._longest_attempt)
        finally:
            await self.session.close()
            if self._sharing is not None:
                await self._sharing.close()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
