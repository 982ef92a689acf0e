"""The token endpoint's requests and responses (RFC 6749; CLARUS_API.md §2 names only the grants)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import attrs

from clarus_async.credentials import bearer_problem, vschar_problem
from clarus_async.wire.reading import Unreadable, parse_object

# RFC 6749, section 5.2. Some servers say the last two where the first is meant.
_OF_THE_CLIENT: Final = frozenset({"invalid_client", "unauthorized_client", "invalid_request"})


# No repr: it holds a secret.
@attrs.frozen(eq=False, repr=False)
class TokenAnswer:
    """A successful response of the token endpoint (RFC 6749, section 5.1)."""

    access_token: str
    expires_in: float | None
    refresh_token: str | None


def token_form(parameters: Mapping[str, str]) -> bytes:
    """Encode a token request's form, without its empty parameters."""
    return urlencode({name: value for name, value in parameters.items() if value}).encode()


def basic_forms(parameters: Mapping[str, str]) -> tuple[list[str], Mapping[str, str]]:
    """Return what may follow ``Basic`` in the Authorization header, the likeliest first, and the other parameters.

    Id and secret are form-encoded (RFC 6749, section 2.3.1), a space as ``%20``, which servers that decode only percent
    signs understand, too (Authlib). Some servers decode nothing (Doorkeeper): the second form is for them.
    """
    rest = dict(parameters)
    client, secret = (rest.pop(name, "") for name in ("client_id", "client_secret"))
    pairs = [f"{quote(client, safe='')}:{quote(secret, safe='')}"]
    if ":" not in client and f"{client}:{secret}" not in pairs:
        pairs.append(f"{client}:{secret}")
    return [b64encode(pair.encode()).decode() for pair in pairs], rest


def refuses_client(status: int, body: bytes) -> bool:
    """Whether a refusal may be about how the client authenticated, and not about what it asked for."""
    document = parse_object(body)
    error = None if isinstance(document, Unreadable) else document.get("error")
    # Whatever the challenge is: Doorkeeper's is Bearer where it wants Basic.
    return status == 401 or (status < 500 and isinstance(error, str) and error in _OF_THE_CLIENT)


def read_token(body: bytes) -> TokenAnswer | Unreadable:
    """Read the body of a 2xx of the token endpoint."""
    document = parse_object(body)
    if isinstance(document, Unreadable):
        return document
    access_token = document.get("access_token")
    if not isinstance(access_token, str) or bearer_problem(access_token) is not None:
        return Unreadable("/access_token", "a bearer token")
    # Some servers leave out what RFC 6749 requires, or send null.
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
    """Whether a token endpoint's 200 reports an error all the same, as GitHub's does."""
    document = parse_object(body)
    if isinstance(document, Unreadable) or "access_token" in document:
        return False
    return bool(document.get("error") or document.get("errors"))


def _seconds(value: object) -> float | None:
    # A number, by the RFC; a string that holds one is common. Anything else says nothing.
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 32:
        return None
    try:
        return float(value)
    except ValueError:
        return None
