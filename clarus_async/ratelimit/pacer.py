"""What the queue asks before a request goes out: a tenant's own pacer, or one whose pace processes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from clarus_async.ratelimit.headers import Told
from clarus_async.ratelimit.limit import Limit
from clarus_async.ratelimit.measured import Sent
from clarus_async.ratelimit.told import PaceSource


class Pacer(Protocol):
    """Decides when a tenant may send. Times are seconds on the event loop's clock."""

    @property
    def source(self) -> PaceSource:
        """Where the rate comes from."""
        ...

    @property
    def rate(self) -> float | None:
        """Requests a second that are believed to be right now; ``None`` where nothing limits them."""
        ...

    @property
    def limit(self) -> Limit | None:
        """What limits, as far as is known or believed; ``None`` where nothing does."""
        ...

    def idle(self, now: float) -> float:
        """Seconds for which nothing was sent that might have been; 0 while a request is under way.

        Args:
            now: what time it is.
        """
        ...

    def pause(self, now: float) -> float:
        """Seconds for which the server takes nothing, as far as is known.

        Args:
            now: what time it is.
        """
        ...

    def slot(self, now: float) -> float:
        """Seconds until the next may go out, as far as is known.

        Args:
            now: what time it is.
        """
        ...

    def ask(self, now: float) -> float | None:
        """Say how long a request has to wait: 0 if it may go out now, ``None`` if something has to come first.

        Args:
            now: what time it is.
        """
        ...

    def send(self, now: float) -> Sent:
        """Note that a request goes out, after :meth:`ask` let it.

        Args:
            now: what time it is.
        """
        ...

    def lost(self, sent: Sent) -> None:
        """Note that a request brought no answer, or never went out.

        Args:
            sent: the request.
        """
        ...

    def unsent(self, sent: Sent) -> None:
        """Note that a request does not go out after all: another may in its place.

        Args:
            sent: the request.
        """
        ...

    def answered(self, sent: Sent, now: float, told: Told | None = None) -> None:
        """Note an answer that is no 429.

        Args:
            sent: the request that it answers.
            now: what time it is.
            told: what it says of the rate limit.
        """
        ...

    def refused(self, sent: Sent, now: float, retry_after: float | None, told: Told | None = None) -> None:
        """Note a 429.

        Args:
            sent: the request that was refused.
            now: what time it is.
            retry_after: seconds, where the server said.
            told: what it says of the rate limit.
        """
        ...

    def forget(self) -> None:
        """Begin to look for a limit anew: what was taken for one is none."""
        ...

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for a while, as a server asks that can't answer.

        Args:
            seconds: how long.
            now: what time it is.
        """
        ...


class Estimator(Pacer, Protocol):
    """A pacer that another process can go on with. Times are seconds on whatever clock it is asked by."""

    def dump(self) -> dict[str, Any]:
        """Return what was learned, as JSON has it; times are on its clock."""
        ...

    def load(self, learned: Mapping[str, Any]) -> None:
        """Go on with what another learned.

        Args:
            learned: from :meth:`dump`.

        Raises:
            Exception: it is none.
        """
        ...


class SharedPacer(Pacer, Protocol):
    """One that others have a part in: what it waits for comes from elsewhere."""

    def attach(self, wake: Callable[[], None], waiting: Callable[[], int]) -> None:
        """Learn whom to tell of news.

        Args:
            wake: looks again whether the next may go, or should.
            waiting: how many wait, and could go at once.
        """
        ...
