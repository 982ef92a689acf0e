"""What a client authenticates with; none of it shows, logs or pickles its secret (CLARUS_API.md §2)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, Protocol, Self, TypeAlias, runtime_checkable

import attrs

from clarus_async.pydantic_schema import PydanticRecord
from clarus_async.validation import checked, refuse, shown

# RFC 6749, appendix A: VSCHAR.
_VSCHARS: Final = r"[\x20-\x7e]+"
# RFC 6750, section 2.1, allows less, but Laravel's tokens, for one, have a "|". A space would end the token, and a
# control character the header.
_BEARER_TOKEN: Final = r"[\x21-\x7e]+"  # noqa: S105  the form of one
# RFC 6749, section 3.3.
_SCOPE: Final = r"[\x21\x23-\x5b\x5d-\x7e]+"


class Secretive(PydanticRecord):
    """Refuses to be pickled, for a secret in a queue or a cache is a secret lost; a copy is the frozen value itself."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds a secret and refuses to be pickled")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def vschar_problem(value: object) -> str | None:
    """Return why a value can't be an id, a secret or a code of OAuth (RFC 6749, appendix A), or ``None``."""
    return _problem_unless(_VSCHARS, value, "must be printable ASCII characters only")


def bearer_problem(value: object) -> str | None:
    """Return why a value can't be a bearer token, or ``None``."""
    return _problem_unless(_BEARER_TOKEN, value, "must be a bearer token: printable ASCII characters without spaces")


def _problem_unless(form: str, value: object, problem: str) -> str | None:
    if not isinstance(value, str) or not value:
        return "must be a string that is not empty"
    if re.fullmatch(form, value):
        return None
    # What was read from a file or a shell often has one.
    return "must have no line end: strip it" if value.strip("\r\n") != value else problem


def scopes_problem(value: object) -> str | None:
    """Return why a value can't be a tuple of scopes (RFC 6749, section 3.3), or ``None``."""
    if isinstance(value, tuple) and all(isinstance(s, str) and re.fullmatch(_SCOPE, s) for s in value):
        return None
    return "must be scope names without spaces"


def as_scopes(value: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Turn a list of scopes into a tuple."""
    return tuple(value) if isinstance(value, list) else value


@checked
@attrs.frozen(repr=False)
class ClientCredentials(Secretive):
    """The client credentials grant (RFC 6749, section 4.4; CLARUS_API.md §2).

    Args:
        client_id: as the vendor gave it.
        client_secret: as the vendor gave it; never shown, logged or pickled.
        scopes: scope names, if the vendor named any.

    Raises:
        InvalidInputError: a value is missing or malformed.
    """

    __repr__ = shown

    client_id: str
    client_secret: str = attrs.field(repr=False)
    scopes: tuple[str, ...] = attrs.field(default=(), converter=as_scopes)

    def __attrs_post_init__(self) -> None:
        refuse("ClientCredentials", [
            ("client_id", vschar_problem(self.client_id)),
            ("client_secret", vschar_problem(self.client_secret)),
            ("scopes", scopes_problem(self.scopes)),
        ])  # fmt: skip


@checked
@attrs.frozen(repr=False)
class RefreshToken(Secretive):
    """The refresh token grant, with rotation (RFC 6749, section 6; CLARUS_API.md §2).

    Args:
        client_id: as the vendor gave it.
        client_secret: as the vendor gave it.
        refresh_token: the token to start from.
        on_rotate: called with each new refresh token before its first use, so that it can be stored; may be async. Of
            several credentials with the same refresh token, the last one's is called. Without it, a client keeps the
            newest refresh token until it is closed.

    Raises:
        InvalidInputError: a value is missing or malformed.
    """

    __repr__ = shown

    client_id: str
    client_secret: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)
    on_rotate: Callable[[str], Awaitable[None] | None] | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        on_rotate = None if self.on_rotate is None or callable(self.on_rotate) else "must be callable"
        refuse("RefreshToken", [
            ("client_id", vschar_problem(self.client_id)),
            ("client_secret", vschar_problem(self.client_secret)),
            ("refresh_token", vschar_problem(self.refresh_token)),
            ("on_rotate", on_rotate),
        ])  # fmt: skip


@checked
@attrs.frozen(repr=False)
class AccessToken(Secretive):
    """An access token from elsewhere; when it is refused, there is no other.

    Args:
        token: the bearer token.

    Raises:
        InvalidInputError: it can't be a bearer token.
    """

    __repr__ = shown

    token: str = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        refuse("AccessToken", [("token", bearer_problem(self.token))])


@checked
@attrs.frozen(repr=False)
class Token(Secretive):
    """What a ``TokenSource`` returns.

    Args:
        value: the bearer token.
        expires_in: lifetime in seconds, counted from when it was asked for; ``None`` if unknown.

    Raises:
        InvalidInputError: the value can't be a bearer token, or the lifetime is not a number.
    """

    __repr__ = shown

    value: str = attrs.field(repr=False)
    expires_in: float | None = None

    def __attrs_post_init__(self) -> None:
        life = self.expires_in
        ok = life is None or (isinstance(life, int | float) and not isinstance(life, bool))
        refuse("Token", [
            ("value", bearer_problem(self.value)),
            ("expires_in", None if ok else "must be a number of seconds, or None"),
        ])  # fmt: skip


@runtime_checkable
class TokenSource(Protocol):
    """Where tokens come from, if not from the token endpoint: a vault, a sidecar.

    A client knows a source by its identity, and keeps its token for as long as the object, or a view that has it,
    lives: make one object for each account, and keep it.
    """

    async def fetch(self) -> Token:
        """Return a new token; called once at a time, and only when one is needed."""
        ...


Credentials: TypeAlias = ClientCredentials | RefreshToken | AccessToken | TokenSource
"""What a client can authenticate with."""


def credentials_problem(credentials: object) -> str | None:
    """Return why a value can't be credentials, or ``None``."""
    if isinstance(credentials, ClientCredentials | RefreshToken | AccessToken):
        return None
    fetch = getattr(credentials, "fetch", None)
    # A decorator may have made something else of an async function, which may be awaited all the same.
    plain = inspect.isroutine(fetch) and not inspect.iscoroutinefunction(fetch)
    if isinstance(credentials, type) or not callable(fetch) or plain:
        return (
            "credentials: must be ClientCredentials, RefreshToken, AccessToken or an object with "
            f"`async def fetch(self) -> Token`, not {type(credentials).__name__}"
        )
    return None
