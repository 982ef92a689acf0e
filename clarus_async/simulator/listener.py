"""The listening socket: it opens, refuses for a while, and opens again on the same port."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

# A thousand callers may connect in one tick; a full queue would cost each of them a second.
_BACKLOG = 4096
# In which a connection that was accepted becomes one: its task begins in the next.
_TURNS = 4


class Listener:
    """A listening socket that keeps its port; 0 is any free one, chosen when it first opens."""

    def __init__(self, host: str, port: int, ssl_context: ssl.SSLContext | None) -> None:
        self.host = host
        self.port: int = port
        self._ssl = ssl_context
        self._factory: Callable[[], asyncio.Protocol] | None = None
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._refuse_until = -math.inf
        self._reopening: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether new connections are accepted."""
        return self._server is not None

    async def start(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Open; ``factory`` makes the protocol of each connection."""
        self._factory = factory
        await self._open()

    async def refuse(self) -> None:
        """Close until ``accept``: a client that connects is refused."""
        self._stay_closed(math.inf)
        self._close()
        await self._closed()

    async def accept(self) -> None:
        """Open again, whatever closed it."""
        self._stay_closed(-math.inf)
        await self._open()

    def refuse_for(self, delay: float) -> None:
        """Close for ``delay`` seconds, or for as long as an earlier call said if that is longer."""
        loop = asyncio.get_running_loop()
        self._refuse_until = max(self._refuse_until, loop.time() + delay)
        self._close()
        if self._reopening is None and self._refuse_until < math.inf:
            self._reopening = loop.create_task(self._reopen())

    async def stop(self) -> None:
        """Close for good and give the port back."""
        self._factory = None
        self._stay_closed(-math.inf)
        self._close()
        await self._closed()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def _open(self) -> None:
        await self._closed()
        if self._server is not None or self._factory is None:
            return
        loop = asyncio.get_running_loop()
        at: dict[str, Any] = {"host": self.host, "port": self.port}
        if self._reserved is not None:
            at = {"sock": self._reserved}
        server = await loop.create_server(self._factory, **at, ssl=self._ssl, backlog=_BACKLOG, start_serving=False)
        self._reserved = None
        # Kept before it serves, so that a cancellation in between leaves nothing open behind our back.
        self._server = server
        self.port = server.sockets[0].getsockname()[1]
        await server.start_serving()

    def _close(self) -> None:
        if self._server is None:
            return
        server, self._server = self._server, None
        _refuse(server)
        self._closing = asyncio.get_running_loop().create_task(self._finish(server))

    async def _finish(self, server: asyncio.Server) -> None:
        # asyncio would forget a connection that it accepted if the server closed before the connection is made.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        self._closing = None
        listening = server.sockets[0]
        family, real = listening.family, isinstance(listening.fileno(), int)
        server.close()
        if real and self._factory is not None:
            # A bound socket that doesn't listen: it refuses, and nobody else gets the port. Else a client that connects
            # to the closed port could be given that very port, and meet itself.
            self._reserved = socket.socket(family, socket.SOCK_STREAM)
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._reserved.setblocking(False)
            self._reserved.bind((self.host, self.port))

    async def _closed(self) -> None:
        if self._closing is not None:
            # Whoever waits may be cancelled; what was begun ends all the same.
            await asyncio.shield(self._closing)

    async def _reopen(self) -> None:
        loop = asyncio.get_running_loop()
        # A loop, because it may be closed for longer, or closed again, while this waits.
        while self._server is None:
            wait = self._refuse_until - loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            elif self._closing is not None:
                await self._closed()
            else:
                await self._open()
        self._reopening = None

    def _stay_closed(self, until: float) -> None:
        """Replace what was said of opening again."""
        self._refuse_until = until
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None


def _refuse(server: asyncio.Server) -> None:
    """Accept nothing more, at once; what was accepted is left to become a connection."""
    loop = asyncio.get_running_loop()
    for listening in server.sockets:
        descriptor = listening.fileno()
        # Other loops than asyncio's accept by other means, and a simulated network has no file descriptors.
        if loop.remove_reader(descriptor) and isinstance(descriptor, int):
            # Linux stops listening; elsewhere the kernel goes on until the socket is closed.
            with socket.socket(fileno=os.dup(descriptor)) as duplicate, contextlib.suppress(OSError):
                duplicate.shutdown(socket.SHUT_RD)
