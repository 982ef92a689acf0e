"""The token endpoint's requests and answers (RFC 6749; clarus-api.md §2 says no more than the grants)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote_plus, urlencode

import attrs

from clarus_async.credentials import bearer_problem
from clarus_async.wire.reading import Unreadable, parse_object


# No repr: it holds what must not show.
@attrs.frozen(eq=False, repr=False)
class TokenAnswer:
    """A token endpoint's success (RFC 6749, section 5.1).

    Args:
        access_token: the bearer token.
        expires_in: seconds of life, if the server said.
        refresh_token: for the next time, if the server gave one.
    """

    access_token: str
    expires_in: float | None
    refresh_token: str | None


def token_form(parameters: Mapping[str, str]) -> bytes:
    """Write a token request's form; empty parameters are left out.

    Args:
        parameters: names and values.
    """
    return urlencode({name: value for name, value in parameters.items() if value}).encode()


def basic_form(parameters: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Take the client's id and secret out of a token request's parameters.

    Args:
        parameters: names and values.

    Returns:
        What follows ``Basic`` in the header, both encoded as in a form first (RFC 6749, section 2.3.1); and the rest.
    """
    rest = dict(parameters)
    pair = ":".join(quote_plus(rest.pop(name, "")) for name in ("client_id", "client_secret"))
    return b64encode(pair.encode()).decode(), rest


def read_token(body: bytes) -> TokenAnswer | Unreadable:
    """Read a token endpoint's success.

    Args:
        body: as it came.
    """
    document = parse_object(body)
    if isinstance(document, Unreadable):
        return document
    access_token = document.get("access_token")
    if not isinstance(access_token, str) or bearer_problem(access_token) is not None:
        return Unreadable("/access_token", "a bearer token")
    kind = document.get("token_type", "bearer")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return Unreadable("/token_type", "bearer")
    refresh_token = document.get("refresh_token")
    return TokenAnswer(
        access_token,
        _seconds(document.get("expires_in")),
        refresh_token if isinstance(refresh_token, str) and refresh_token else None,
    )


def reports_error(body: bytes) -> bool:
    """Whether a token endpoint's 200 is an error all the same, as GitHub's is.

    Args:
        body: as it came.
    """
    document = parse_object(body)
    if isinstance(document, Unreadable) or "access_token" in document:
        return False
    return bool(document.get("error") or document.get("errors"))


def _seconds(value: object) -> float | None:
    # A number by the RFC; a string of one is common. Anything else is as good as nothing.
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 32:
        return None
    try:
        return float(value)
    except ValueError:
        return None
