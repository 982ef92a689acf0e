"""The pool of connections of our own session."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final
from weakref import WeakSet

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from clarus_async.http.transport_failure import UnsolicitedDataError

# Seconds. A call on a new connection costs 2.4 times one on a pooled connection, and 11 times with TLS (python -m
# benchmarks connections). But this is below the 5 s of Apache, Node and uvicorn: a POST on a connection that the server
# is about to close has an unknown outcome, which costs far more than a handshake.
_KEEP_ALIVE: Final = 4.0
# Seconds. Resolving a name costs as much as a call; a minute is the usual TTL of cloud providers' names.
_DNS_CACHE: Final = 60


class Checkout:
    """A request's checkout of a connection: what it wants of the pool, and whether it got one."""

    __slots__ = ("done", "new_connection")

    def __init__(self, new_connection: bool) -> None:
        self.new_connection: bool = new_connection
        self.done: bool = False


checkout_of_task: ContextVar[Checkout] = ContextVar("checkout_of_task")
"""That of the task's request: aiohttp's session has no other way to pass something to its connector."""


class Connector(aiohttp.TCPConnector):
    """Hands out no connection that received something unasked, and no used one to a request that wants a new one.

    aiohttp checks a connection when it is returned to the pool, and not again when it is handed out: what it received
    in between, such as a response that a proxy sent twice, aiohttp takes for the response to the next request. And
    where a gateway has closed one idle connection, it has closed the others: each would cost a request whose outcome is
    unknown.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=_DNS_CACHE)
        self._used: WeakSet[object] = WeakSet()

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Check a connection out for a request of aiohttp's session."""
        return await self.check_out(req, traces, timeout, checkout_of_task.get())

    async def check_out(
        self, request: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout, checkout: Checkout
    ) -> Connection:
        """Check a connection out: one of the pool, or a new one."""
        while True:
            connection = await super().connect(request, traces, timeout)
            protocol = connection.protocol
            if protocol is None:
                return connection
            if protocol.should_close:
                connection.close()
                raise UnsolicitedDataError
            if not checkout.new_connection or protocol not in self._used:
                self._used.add(protocol)
                checkout.done = True
                return connection
            connection.close()
