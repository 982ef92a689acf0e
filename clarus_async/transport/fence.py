"""Where the right to send is asked for: as late as can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any


class WithheldError(Exception):
    """The right to send has ended."""


class Fence:
    """A transport that asks right before it writes: a process that was stopped in between goes on with the question.

    Args:
        transport: the real one.
        may_send: is asked before the first write.

    Raises:
        WithheldError: nothing was written.
    """

    def __init__(self, transport: asyncio.Transport, may_send: Callable[[], bool]) -> None:
        self._transport = transport
        self._may_send = may_send
        self._passed = False

    def write(self, data: bytes) -> None:
        """Write, or refuse to.

        Args:
            data: what.
        """
        if not self._passed and not self._may_send():
            raise WithheldError
        self._passed = True
        self._transport.write(data)

    def writelines(self, chunks: Iterable[bytes]) -> None:
        """Write, or refuse to.

        Args:
            chunks: what.
        """
        self.write(b"".join(chunks))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a transport has
        return getattr(self._transport, name)
