"""What a turnstile asks before a request goes out: :class:`~clarus_async.policy.pacing.Pace`, or one that is shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from clarus_async.credentials import Credentials
from clarus_async.ratelimit.headers import Told
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


class SharedPacer(Pacer, Protocol):
    """One that others have a part in: what it waits for comes from elsewhere."""

    def attach(self, wake: Callable[[], None], waiting: Callable[[], int]) -> None:
        """Learn whom to tell of news.

        Args:
            wake: looks again whether the next may go, or should.
            waiting: how many wait.
        """
        ...


class Claim(NamedTuple):
    """What was found where a token is shared.

    Args:
        owner: names who asks.
        ours: whoever asked is to get the next token; nobody else does meanwhile.
        token: the one that is shared, if any; beside ``ours``, one that is due.
        left: seconds that it has yet to live.
    """

    owner: str
    ours: bool
    token: str | None
    left: float

    def __repr__(self) -> str:
        """Nothing of it: it holds what must not show."""
        return object.__repr__(self)


class TokenStore(Protocol):
    """Where the token of one set of credentials is shared."""

    async def claim(self, refused: str | None) -> Claim | None:
        """Look for a token; ``None`` where nobody can be asked.

        Args:
            refused: one that is good no more, and is forgotten if it is the one that is shared.
        """
        ...

    async def share(self, claim: Claim, token: str, life: float, age: float) -> None:
        """Share a token.

        Args:
            claim: for which it was got.
            token: the bearer token.
            life: seconds that it lives in all.
            age: seconds since it was asked for.
        """
        ...

    def give_up(self, claim: Claim) -> None:
        """Let another get the next token.

        Args:
            claim: the one that is given up.
        """
        ...


class Sharing(Protocol):
    """What the pacers of one client share with other processes."""

    @property
    def problem(self) -> str | None:
        """Why nothing may be sent, where no waiting heals it."""
        ...

    def pacer(self, tenant: str | None) -> SharedPacer:
        """Return the pacer of a tenant.

        Args:
            tenant: which; ``None``: of all together.
        """
        ...

    async def tokens(self, credentials: Credentials) -> TokenStore | None:
        """Return where the token of these credentials is shared; ``None`` where it is not.

        Args:
            credentials: whose.
        """
        ...

    async def close(self) -> None:
        """Give up what it holds."""
        ...


@runtime_checkable
class SharesPace(Protocol):
    """Settings of a pace that processes share."""

    def share(self, base_url: str) -> Sharing:
        """Begin to share.

        Args:
            base_url: the API's.
        """
        ...
