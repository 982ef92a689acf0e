"""Whole tests in virtual time: hours pass at once, and what waits for nothing fails instead of hanging.

Sockets are simulated too, so that client and simulator talk to each other as they would over a network, and every run
takes the same course.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import selectors
import warnings
from asyncio.base_events import MAXIMUM_SELECT_TIMEOUT
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from unittest.mock import patch

import async_solipsism
from async_solipsism import clock, selector
from async_solipsism.exceptions import ResolutionWarning, SleepForeverError


class _Clock(clock.Clock):
    """Knows the time before it is asked, which is far more often than it passes."""

    now = 0.0

    def advance(self, delta: float) -> None:
        super().advance(delta)
        self.now = round(self.time(), 6)


class _Selector(selector.Selector):
    """The same, without a lookup of each socket in each turn of the loop."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = []
        for key in self._fd_to_key.values():
            wanted, socket = key.events, key.fd.socket
            events = selectors.EVENT_READ if wanted & selectors.EVENT_READ and socket.read_ready() else 0
            if wanted & selectors.EVENT_WRITE and socket.write_ready():
                events |= selectors.EVENT_WRITE
            if events:
                ready.append((key, events))
        if ready or timeout == 0:
            return ready
        if timeout is None or timeout >= MAXIMUM_SELECT_TIMEOUT:
            raise SleepForeverError("select with no timeout and no ready events")
        self.clock.advance(timeout)
        return ready


class VirtualLoop(async_solipsism.EventLoop):
    """Counts in whole microseconds, and no timer fires before its time.

    One that did would find the clock standing still, and whoever asks again what time it is would do so for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._clock_resolution = 1e-7
        self.clock = _Clock()
        self._selector = _Selector(self.clock)

    def time(self) -> float:
        return self.clock.now

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        whole = round(when, 6)
        return super().call_at(whole if whole >= when else round(whole + 1e-6, 6), callback, *args, context=context)


def each_test(decorate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a decorator of async tests be one of classes, too: it decorates each async test of the class."""

    def apply(test: Any) -> Any:
        if not isinstance(test, type):
            return decorate(test)
        for name, member in [*vars(test).items()]:
            if name.startswith("test") and inspect.iscoroutinefunction(member):
                setattr(test, name, decorate(member))
        return test

    return apply


@each_test
def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test, or those of a class, on a loop whose clock jumps to the next thing that happens.

    It fails where a callback raised, or where a task is left when the test is over.
    """

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        random.seed(0)
        run_virtually(lambda: test(*args, **kwargs))

    return run


def run_virtually(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine as :func:`virtual` does."""
    troubles: list[dict[str, Any]] = []

    async def checked() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        await main()
        # What was cancelled last may still have to notice.
        await settle()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    with (
        warnings.catch_warnings(),
        patch("aiohttp.connector.aiohappyeyeballs.start_connection", _connect),
    ):
        warnings.simplefilter("ignore", ResolutionWarning)
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(checked())
    assert not troubles, troubles


async def _connect(*args: Any, **kwargs: Any) -> Any:
    """Connect; like the real thing, close what was connected where nobody waits for it any more."""
    connecting = asyncio.ensure_future(async_solipsism.aiohappyeyeballs_start_connection(*args, **kwargs))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(lambda done: done.exception() or done.result().close())
        raise


async def settle(turns: int = 10) -> None:
    """Let everything that is ready run, some turns of the loop long."""
    for _ in range(turns):
        await asyncio.sleep(0)


def now() -> float:
    """Seconds on the running loop's clock."""
    return asyncio.get_running_loop().time()


async def took(awaitable: Awaitable[object]) -> float:
    """Seconds that something took."""
    began = now()
    await awaitable
    return now() - began


class Turns:
    """Counts the turns of a loop, and does something before one of them."""

    def __init__(self, loop: Any) -> None:
        self.count = 0
        self._at: dict[int, list[Callable[[], object]]] = {}
        run_once = loop._run_once

        def counted() -> None:
            self.count += 1
            for act in self._at.pop(self.count, ()):
                act()
            run_once()

        loop._run_once = counted

    def before(self, turn: int, act: Callable[[], object]) -> None:
        self._at.setdefault(turn, []).append(act)
