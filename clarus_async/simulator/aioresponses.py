"""aioresponses that works with the aiohttp that is installed, for tests that have it (``pip install aioresponses``).

Its 0.7.9 can't make an answer of aiohttp 3.14, which wants a ``stream_writer``. Take this class in its place::

    from clarus_async.simulator.aioresponses import aioresponses

No connection, timeout or middleware runs under it: what comes of a lost answer, the simulator shows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

from aiohttp import ClientResponse

try:
    from aioresponses import CallbackResult, core
except ImportError as missing:
    raise ImportError("clarus_async.simulator.aioresponses needs aioresponses: pip install aioresponses") from missing

__all__ = ["CallbackResult", "Response", "aioresponses"]


class Response(ClientResponse):
    """An answer that aioresponses can make, for its ``response_class``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  whatever aiohttp's own takes
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


class aioresponses(core.aioresponses):  # noqa: N801  it stands in for theirs
    """Theirs, whose answers aiohttp accepts."""

    def add(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  whatever theirs takes
        """Answer a request; the arguments are those of aioresponses."""
        super().add(*args, **kwargs)
        match = self._matches[next(reversed(self._matches))]
        match.response_class = match.response_class or Response
        match.callback = match.callback and _accepted(match.callback)


def _accepted(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Have what a callback returns be made into an answer that aiohttp accepts."""

    async def called(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  whatever theirs takes and returns
        result = callback(*args, **kwargs)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, CallbackResult) and result.response_class is None:
            result.response_class = Response
        return result

    return called
