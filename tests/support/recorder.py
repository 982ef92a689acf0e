"""An observer that keeps what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clarus_async.events import AttemptEvent, CallEvent, Event, WaitEvent


class Recorder:
    """Keeps events in the order in which they came, and gives each to ``react``."""

    def __init__(self, react: Callable[[Event], object] = lambda _: None) -> None:
        self.events: list[Event] = []
        self._react = react

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self._react(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def calls(self) -> list[CallEvent]:
        return self.of(CallEvent)

    @property
    def attempts(self) -> list[AttemptEvent]:
        return self.of(AttemptEvent)

    @property
    def waits(self) -> list[tuple[Any, float | None]]:
        return [(event.reason, event.seconds) for event in self.of(WaitEvent)]
