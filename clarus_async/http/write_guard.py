"""The permission to send, such as a lease: asked for as late as possible."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from clarus_async.redaction import describe_exception


class WithheldError(Exception):
    """Nothing was written: ``may_send`` returned false, or raised what ``raised`` describes."""

    def __init__(self, raised: str | None = None) -> None:
        super().__init__(raised)
        self.raised = raised


def check_may_send(may_send: Callable[[], bool]) -> None:
    """Raise ``WithheldError`` unless ``may_send`` allows sending."""
    try:
        allowed = may_send()
    except Exception as error:  # noqa: BLE001  what raises does not allow it
        raise WithheldError(describe_exception(error)) from None
    if not allowed:
        raise WithheldError


class WriteGuard:
    """A transport that asks ``may_send`` right before its first write: the process may have been stopped before.

    A write that is not allowed raises ``WithheldError``, and writes nothing.
    """

    def __init__(self, transport: asyncio.Transport, may_send: Callable[[], bool]) -> None:
        self._transport = transport
        self._may_send = may_send
        self._passed = False

    def write(self, data: bytes) -> None:
        """Write, if it is allowed."""
        if not self._passed:
            check_may_send(self._may_send)
        self._passed = True
        self._transport.write(data)

    def writelines(self, chunks: Iterable[bytes]) -> None:
        """Write all at once, if it is allowed."""
        self.write(b"".join(chunks))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever a transport has
        return getattr(self._transport, name)
