"""Which keeper has the token of which credentials, and for how long: what nobody can ask for is let go of.

A view holds its keeper. Beyond that a keeper is held for what it would cost to get again: a token, or why there is
none. An :class:`AccessToken` costs nothing, and of a token source nobody can ask once the source itself is gone.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, TypeAlias

from clarus_async.auth.token_manager import TokenManager
from clarus_async.config import Timeouts
from clarus_async.credentials import AccessToken, ClientCredentials, Credentials, RefreshToken

# Those that asked for a token last. Each takes 1 to 3 KiB, of which the token is the most.
_ROOM: Final = 4096

Asks: TypeAlias = Callable[[TokenManager], None]
"""Is told of a keeper that is about to ask for a token."""
Make: TypeAlias = Callable[[Credentials, Timeouts, Asks], TokenManager]
"""Makes a keeper, by the timeouts of the first view that has its credentials: a refresh serves all that wait for it."""


class TokenManagers:
    """The keepers of one client. A look-up takes the same time however many there are.

    Credentials of ours that hold the same have the same token. A token source is known by itself, however it compares.

    Args:
        make: makes one.
    """

    def __init__(self, make: Make) -> None:
        self._make = make
        self._known: weakref.WeakValueDictionary[object, TokenManager] = weakref.WeakValueDictionary()
        self._sources: dict[int, tuple[weakref.ref[Any], TokenManager]] = {}
        self._rotations: weakref.WeakKeyDictionary[TokenManager, _Rotation] = weakref.WeakKeyDictionary()
        self._asked: OrderedDict[TokenManager, None] = OrderedDict()
        self._irreplaceable: set[TokenManager] = set()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds secrets and connections, and refuses to be pickled")

    def __iter__(self) -> Iterator[TokenManager]:
        """Go through all of them; one that is known by several tokens comes as often."""
        yield from tuple(self._known.values())
        yield from [keeper for _, keeper in tuple(self._sources.values())]

    def get(self, credentials: Credentials, timeouts: Timeouts) -> TokenManager:
        """Return who holds the token of these credentials.

        Args:
            credentials: whose.
            timeouts: of the view that has them.
        """
        if isinstance(credentials, RefreshToken):
            return self._of_refresh_token(credentials, timeouts)
        if isinstance(credentials, ClientCredentials):
            ours = credentials.client_id, credentials.client_secret, credentials.scopes
            # What is compared is what is sent, and not what a subclass adds.
            return self._of_value(_exactly(ClientCredentials, credentials, *ours), credentials, timeouts)
        if isinstance(credentials, AccessToken):
            key = _exactly(AccessToken, credentials, credentials.token)
            return self._of_value(key, credentials, timeouts, _nothing)
        return self._of_source(credentials, timeouts)

    def _hold(self, keeper: TokenManager) -> None:
        self._asked[keeper] = None
        self._asked.move_to_end(keeper)
        if len(self._asked) > _ROOM:
            self._asked.popitem(last=False)

    def _of_value(
        self, key: object, credentials: Credentials, timeouts: Timeouts, asks: Asks | None = None
    ) -> TokenManager:
        keeper = self._known.get(key)
        if keeper is None:
            keeper = self._known[key] = self._make(credentials, timeouts, self._hold if asks is None else asks)
        elif keeper in self._asked:
            self._asked.move_to_end(keeper)
        return keeper

    def _of_refresh_token(self, credentials: RefreshToken, timeouts: Timeouts) -> TokenManager:
        ours = credentials.client_id, credentials.client_secret, credentials.refresh_token
        # Whoever stores it, it can be used once: two keepers would spend each other's.
        key = RefreshToken(*ours)
        made = _Rotation(self, key)
        keeper = self._of_value(key, RefreshToken(*ours, made), timeouts)
        rotation = self._rotations.setdefault(keeper, made)
        if credentials.on_rotate is not None:
            # The caller that came last is the likeliest to be there still.
            rotation.on_rotate = credentials.on_rotate
        return keeper

    def rotated(self, keys: list[RefreshToken], refresh_token: str, *, stored: bool) -> None:
        """Have a keeper found by its next refresh token as well: that is what the caller has from now on.

        Args:
            keys: what it is found by, the first of which it was given.
            refresh_token: the next.
            stored: whether somebody is told of it.
        """
        keeper = self._known[keys[0]]
        keys.append(RefreshToken(keys[0].client_id, keys[0].client_secret, refresh_token))
        self._known.setdefault(keys[-1], keeper)
        if len(keys) > _ALIASES and self._known.get(old := keys.pop(1)) is keeper:
            del self._known[old]
        if stored:
            self._irreplaceable.discard(keeper)
        else:
            # The one that the caller has is spent.
            self._irreplaceable.add(keeper)

    def _of_source(self, source: Credentials, timeouts: Timeouts) -> TokenManager:
        number = id(source)
        if number in self._sources:
            return self._sources[number][1]
        sources = self._sources
        try:
            reference = weakref.ref(source, lambda _: sources.pop(number, None))
        except TypeError:
            # What can't be referred to weakly is held as long as its keeper is.
            return self._of_value(number, source, timeouts)
        keeper = self._make(weakref.proxy(source), timeouts, _nothing)
        sources[number] = reference, keeper
        return keeper

    def forget(self) -> None:
        """Start afresh, on another event loop."""
        for keeper in self:
            keeper.forget()

    def forked(self) -> list[object]:
        """Start afresh in a child, and return what is the parent's."""
        return [keeper.forget() for keeper in self]

    def close(self) -> None:
        """End what is under way, and let go of all that no view holds."""
        for keeper in self:
            keeper.close()
        self._asked.clear()
        self._sources.clear()
        self._irreplaceable.clear()


# The one that was given, the one before the last, which somebody may have read a moment ago, and the last.
_ALIASES: Final = 3


class _Rotation:
    """Stands for the ``on_rotate`` of all who have one refresh token.

    Args:
        keepers: have it found by each new one.
        key: the one that was given.
    """

    def __init__(self, keepers: TokenManagers, key: RefreshToken) -> None:
        self.on_rotate: Callable[[str], Any] | None = None
        self._keepers = keepers
        self._keys = [key]

    def __call__(self, refresh_token: str) -> Any:  # noqa: ANN401  whatever theirs returns
        self._keepers.rotated(self._keys, refresh_token, stored=self.on_rotate is not None)
        return None if self.on_rotate is None else self.on_rotate(refresh_token)


def _exactly(cls: type[Any], credentials: object, *fields: object) -> object:
    return credentials if type(credentials) is cls else cls(*fields)


def _nothing(_: TokenManager) -> None:
    """Hold it no longer than its views, or its source, do."""
