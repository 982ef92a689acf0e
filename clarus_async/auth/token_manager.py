"""The tokens of a client: for each credentials one manager, which refreshes their token for all callers at once.

A refresh is one task, which no caller's cancellation ends. ``TokenManagers`` finds the manager of credentials. A
view of a client holds its manager. Beyond that, a manager is kept for what it would cost to get again: a token, or the
reason why there is none. An ``clarus_async.AccessToken`` costs nothing, and the manager of a token source goes
with the source.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

from clarus_async.auth.token import HeldToken, life
from clarus_async.config import Timeouts
from clarus_async.credentials import AccessToken, ClientCredentials, Credentials, RefreshToken
from clarus_async.errors import AuthenticationError, ClarusError, ConfigurationError, DeadlineExceededError, with_facts
from clarus_async.events import TokenEvent
from clarus_async.redaction import describe_exception

if TYPE_CHECKING:
    from clarus_async.auth.grants import Grant

# Seconds. Refused credentials are not tried again for a while that doubles: they stay wrong until somebody acts, and a
# token endpoint locks accounts.
_FIRST_BACKOFF: Final = 1.0
_LONGEST_BACKOFF: Final = 60.0
# Managers that are kept without a view. Each takes 1 to 3 KiB, most of it the token.
_MOST_KEPT: Final = 4096
# Refresh tokens by which a manager is found: the one that was given, the one before the last, which somebody may have
# read a moment ago, and the last.
_ALIASES: Final = 3


class TokenManager:
    """The token of one set of credentials. Times are seconds on the loop's clock.

    ``on_reject`` is told of a token that was answered with 401.
    """

    def __init__(
        self,
        grant: Grant,
        *,
        static: bool,
        notify: Callable[[TokenEvent], None],
        on_request: OnRequest,
        on_reject: Callable[[str], None] | None = None,
    ) -> None:
        # There is no next token: what is refused once stays refused.
        self.static = static
        self._grant = grant
        self._notify = notify
        self._on_request = on_request
        self._on_reject = on_reject
        self._held: HeldToken | None = None
        self._refresh: asyncio.Task[HeldToken | ClarusError] | None = None
        self._refused: ClarusError | None = None
        self._refusals = 0
        self._not_before = 0.0

    def current(self, now: float) -> str | None:
        """Return the token if it is fresh."""
        held = self._held
        return held.value if held is not None and now < held.fresh_until else None

    def has_usable(self, now: float) -> bool:
        """Whether there is a token that can be sent, be it while another is fetched."""
        return self._held is not None and now < self._held.expires_at

    def is_current(self, token: str, now: float) -> bool:
        """Whether a token that was got a while ago is still the one to send."""
        held = self._held
        return held is not None and held.value == token and now < held.expires_at

    async def get(self, timeout: float) -> str | ClarusError:
        """Return a token, fetched if need be within ``timeout`` seconds, or why there is none."""
        now = asyncio.get_running_loop().time()
        usable = self._held if self.has_usable(now) else None
        if usable is not None and now < usable.fresh_until:
            return usable.value
        if self._refresh is None:
            if self._refused is not None and now < self._not_before:
                if usable is not None:
                    return usable.value
                return with_facts(self._refused, retry_after=self._not_before - now)
            self._on_request(self)
            self._refresh = asyncio.create_task(self._fetch(), name="clarus_async token refresh")
        if usable is not None:
            # It is good for a while yet, and the next one is on its way.
            return usable.value
        refresh = self._refresh
        # Waiting for the task, not in it: a caller's cancellation ends the caller's wait and nothing else.
        done, _ = await asyncio.wait([refresh], timeout=timeout)
        if not done:
            return DeadlineExceededError("no token came in time; nothing was sent", retryable=True)
        if refresh.cancelled():
            return ConfigurationError("the client was closed while it waited for a token; nothing was sent")
        result = refresh.result()
        # A shared error would collect everybody's traceback.
        return result.value if isinstance(result, HeldToken) else with_facts(result)

    def reject(self, token: str) -> HeldToken | None:
        """Discard a token that was answered with 401, and return it; ``None`` if another one is held by now."""
        held = self._held
        if held is None or held.value != token:
            return None
        self._held = None
        if self._on_reject is not None:
            self._on_reject(token)
        return held

    async def _fetch(self) -> HeldToken | ClarusError:
        loop = asyncio.get_running_loop()
        since = loop.time()
        try:
            token = await self._grant()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            token = AuthenticationError("asking for a token was cancelled from within")
        except ClarusError as error:
            token = error.with_traceback(None)
        except Exception as error:  # noqa: BLE001  1,000 callers wait for a token or for a reason
            token = AuthenticationError(f"asking for a token raised {describe_exception(error)}")
        finally:
            self._refresh = None
        now = loop.time()
        if isinstance(token, ClarusError):
            self._refused = token
            if isinstance(token, AuthenticationError):
                self._refusals += 1
                backoff = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(self._refusals - 1, 30))
                self._not_before = now + max(backoff, token.retry_after or 0.0)
            elif token.retry_after is not None:
                self._not_before = now + token.retry_after
            self._notify(TokenEvent(duration=now - since, expires_in=None, failure=type(token).__name__))
            return token
        self._refused = None
        self._refusals = 0
        self._held = HeldToken(token.value, since, life(token.expires_in))
        self._notify(TokenEvent(duration=now - since, expires_in=self._held.life, failure=None))
        return self._held

    def close(self) -> Iterable[asyncio.Task[Any]]:
        """End a refresh that is under way, and return it."""
        refreshes = () if self._refresh is None else (self._refresh,)
        for refresh in refreshes:
            refresh.cancel()
        return refreshes

    def reset(self) -> object:
        """Begin afresh on another event loop, whose clock is another, and return the refresh of the last one."""
        refresh, self._refresh = self._refresh, None
        self._held = None
        self._not_before = 0.0
        return refresh


OnRequest: TypeAlias = Callable[[TokenManager], None]
"""Is told of a manager that is about to ask for a token."""
NewTokenManager: TypeAlias = Callable[[Credentials, Timeouts, OnRequest], TokenManager]
"""Makes a manager, with the timeouts of the first view that has its credentials: a refresh serves all views."""


class TokenManagers:
    """The token managers of one client. A lookup takes the same time however many there are.

    Credentials of this package that hold the same values have the same token. A token source is known by its identity,
    however it compares.
    """

    def __init__(self, new: NewTokenManager) -> None:
        self._new = new
        self._by_value: weakref.WeakValueDictionary[object, TokenManager] = weakref.WeakValueDictionary()
        self._by_source: dict[int, tuple[weakref.ref[Any], TokenManager]] = {}
        self._rotations: weakref.WeakKeyDictionary[TokenManager, _Rotation] = weakref.WeakKeyDictionary()
        self._kept: OrderedDict[TokenManager, None] = OrderedDict()
        self._irreplaceable: set[TokenManager] = set()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds secrets and connections, and refuses to be pickled")

    def __iter__(self) -> Iterator[TokenManager]:
        """Go through all managers; one that is found by several refresh tokens comes as often."""
        yield from tuple(self._by_value.values())
        yield from [manager for _, manager in tuple(self._by_source.values())]

    def get(self, credentials: Credentials, timeouts: Timeouts) -> TokenManager:
        """Return the manager of these credentials' token."""
        if isinstance(credentials, RefreshToken):
            return self._of_refresh_token(credentials, timeouts)
        if isinstance(credentials, ClientCredentials):
            values = credentials.client_id, credentials.client_secret, credentials.scopes
            # What is sent is compared, not what a subclass adds.
            return self._of_value(_exactly(ClientCredentials, credentials, *values), credentials, timeouts)
        if isinstance(credentials, AccessToken):
            key = _exactly(AccessToken, credentials, credentials.token)
            return self._of_value(key, credentials, timeouts, keep=False)
        return self._of_source(credentials, timeouts)

    def _keep(self, manager: TokenManager) -> None:
        self._kept[manager] = None
        self._kept.move_to_end(manager)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _of_value(
        self, key: object, credentials: Credentials, timeouts: Timeouts, *, keep: bool = True
    ) -> TokenManager:
        manager = self._by_value.get(key)
        if manager is None:
            manager = self._new(credentials, timeouts, self._keep if keep else _do_not_keep)
            self._by_value[key] = manager
        elif manager in self._kept:
            self._kept.move_to_end(manager)
        return manager

    def _of_refresh_token(self, credentials: RefreshToken, timeouts: Timeouts) -> TokenManager:
        values = credentials.client_id, credentials.client_secret, credentials.refresh_token
        # Whoever stores it, it can be used once: two managers would spend each other's.
        key = RefreshToken(*values)
        new = _Rotation(self, key)
        manager = self._of_value(key, RefreshToken(*values, new), timeouts)
        rotation = self._rotations.setdefault(manager, new)
        if credentials.on_rotate is not None:
            # The caller that came last is the likeliest to be there still.
            rotation.on_rotate = credentials.on_rotate
        return manager

    def rotated(self, keys: list[RefreshToken], refresh_token: str, *, stored: bool) -> None:
        """Have the manager of ``keys`` found by its next refresh token as well, which the caller has from now on."""
        manager = self._by_value[keys[0]]
        keys.append(RefreshToken(keys[0].client_id, keys[0].client_secret, refresh_token))
        self._by_value.setdefault(keys[-1], manager)
        if len(keys) > _ALIASES and self._by_value.get(old := keys.pop(1)) is manager:
            del self._by_value[old]
        if stored:
            self._irreplaceable.discard(manager)
        else:
            # The refresh token that the caller has is spent, and nobody else has the next one.
            self._irreplaceable.add(manager)

    def _of_source(self, source: Credentials, timeouts: Timeouts) -> TokenManager:
        number = id(source)
        if number in self._by_source:
            return self._by_source[number][1]
        by_source = self._by_source
        try:
            reference = weakref.ref(source, lambda _: by_source.pop(number, None))
        except TypeError:
            # What can't be referred to weakly is held as long as its manager is.
            return self._of_value(number, source, timeouts)
        manager = self._new(weakref.proxy(source), timeouts, _do_not_keep)
        by_source[number] = reference, manager
        return manager

    def reset(self) -> list[object]:
        """Begin afresh, on another event loop or in a child process, and return the refreshes of the last one."""
        return [manager.reset() for manager in self]

    def close(self) -> set[asyncio.Task[Any]]:
        """End the refreshes that are under way and return them; let go of every manager that no view holds."""
        refreshes = {refresh for manager in self for refresh in manager.close()}
        self._kept.clear()
        self._by_source.clear()
        self._irreplaceable.clear()
        return refreshes


class _Rotation:
    """The ``on_rotate`` of all credentials that have one refresh token."""

    def __init__(self, managers: TokenManagers, key: RefreshToken) -> None:
        self.on_rotate: Callable[[str], Any] | None = None
        self._managers = managers
        self._keys = [key]

    def __call__(self, refresh_token: str) -> Any:  # noqa: ANN401  whatever theirs returns
        self._managers.rotated(self._keys, refresh_token, stored=self.on_rotate is not None)
        return None if self.on_rotate is None else self.on_rotate(refresh_token)


def _exactly(cls: type[Any], credentials: object, *fields: object) -> object:
    return credentials if type(credentials) is cls else cls(*fields)


def _do_not_keep(_: TokenManager) -> None:
    """Keep a manager no longer than its views, or its source, do."""
