"""Where the right to send is asked for: as late as can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from clarus_async.redaction import raised


class WithheldError(Exception):
    """The right to send has ended, or could not be asked for.

    Args:
        raised: what asking for it raised.
    """

    def __init__(self, raised: str | None = None) -> None:
        super().__init__(raised)
        self.raised = raised


def ask(may_send: Callable[[], bool]) -> None:
    """Ask for the right to send.

    Args:
        may_send: says whether there is one.

    Raises:
        WithheldError: there is none.
    """
    try:
        may = may_send()
    except Exception as error:  # noqa: BLE001  what raises denies it
        raise WithheldError(raised(error)) from None
    if not may:
        raise WithheldError


class WriteGuard:
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
        if not self._passed:
            ask(self._may_send)
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
