"""The token endpoint's requests and answers (RFC 6749; CLARUS_API.md §2 says no more than the grants)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import attrs

from clarus_async.credentials import bearer_problem, vschar_problem
from clarus_async.wire.reading import Unreadable, parse_object

# RFC 6749, section 5.2. The last two are what some servers call the first.
_OF_THE_CLIENT: Final = frozenset({"invalid_client", "unauthorized_client", "invalid_request"})


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


def basic_forms(parameters: Mapping[str, str]) -> tuple[list[str], Mapping[str, str]]:
    """Take the client's id and secret out of a token request's parameters.

    Args:
        parameters: names and values.

    Returns:
        What may follow ``Basic`` in the header, the likeliest first; and the rest. Both halves are form-encoded (RFC
        6749, section 2.3.1), a space as ``%20``, which is the same to those who decode percents alone (Authlib). Some
        decode nothing (Doorkeeper): for them as they are.
    """
    rest = dict(parameters)
    client, secret = (rest.pop(name, "") for name in ("client_id", "client_secret"))
    pairs = [f"{quote(client, safe='')}:{quote(secret, safe='')}"]
    if ":" not in client and f"{client}:{secret}" not in pairs:
        pairs.append(f"{client}:{secret}")
    return [b64encode(pair.encode()).decode() for pair in pairs], rest


def refuses_client(status: int, body: bytes) -> bool:
    """Whether a refusal may be about how the client identified itself, and not about what it asked for.

    Args:
        status: the answer's.
        body: as it came.
    """
    document = parse_object(body)
    error = None if isinstance(document, Unreadable) else document.get("error")
    # Whatever the challenge: Doorkeeper's is Bearer where it wants Basic.
    return status == 401 or (status < 500 and isinstance(error, str) and error in _OF_THE_CLIENT)


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
    # Some leave out what RFC 6749 requires, or send null for it.
    kind = document.get("token_type") or "bearer"
    if not isinstance(kind, str) or kind.strip().lower() != "bearer":
        return Unreadable("/token_type", "bearer")
    refresh_token = document.get("refresh_token")
    if not isinstance(refresh_token, str) or not refresh_token:
        refresh_token = None
    elif vschar_problem(refresh_token) is not None:
        return Unreadable("/refresh_token", "printable ASCII characters")
    return TokenAnswer(access_token, _seconds(document.get("expires_in")), refresh_token)


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
