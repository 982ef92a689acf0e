"""The token endpoint (CLARUS_API.md §2): three grants, form-encoded as RFC 6749 has it. Pure: time is an argument.

The vendor documents the URLs and the grants; the form of requests and answers is inferred to be RFC 6749's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import random
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode

import attrs

from clarus_async.simulator.documents import RefusedError, json_answer

CODE_LIFETIME: Final = 600.0
"""Seconds an authorization code is good: the most RFC 6749 §4.1.2 recommends."""


class OAuthError(RefusedError):
    """A refusal as RFC 6749 §5.2 words it; its status is 401 for a client that isn't recognized."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(json_answer({"error": error, "error_description": description}, status))
        self.args = (error, description)
        self.error = error


@attrs.frozen
class _Code:
    redirect_uri: str
    scope: str
    challenge: str | None
    expires_at: float


@attrs.frozen
class _Refresh:
    scope: str
    replaces: str | None
    """The token it was given in exchange for, which is good until this one is used."""


class TokenIssuer:
    """Issues and checks tokens for the one client that the simulator knows; see ``Simulator`` for the options."""

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        *,
        lifetime: float | None,
        rotate: bool,
        seed: int,
        one_live: bool = False,
    ) -> None:
        self._client = (client_id, client_secret)
        self._lifetime = math.inf if lifetime is None else lifetime
        self._one_live = one_live
        self._rotate = rotate
        self._random = random.Random(f"{seed}/tokens")  # noqa: S311 - reproducible, not secret
        self._access: dict[str, float] = {}
        self._refresh: dict[str, _Refresh] = {}
        self._codes: dict[str, _Code] = {}

    def is_good(self, token: str, now: float) -> bool:
        """Return whether ``token`` is an access token that is alive at ``now``."""
        return now < self._access.get(token, -math.inf)

    def expire_all(self) -> None:
        """End every access token: a front-end login ended the session (CLARUS_API.md §2)."""
        self._access.clear()

    def new_refresh_token(self, scope: str = "", replaces: str | None = None) -> str:
        """Issue a refresh token."""
        token = self._token("refresh")
        self._refresh[token] = _Refresh(scope, replaces)
        return token

    def new_code(self, now: float, *, redirect_uri: str, scope: str, challenge: str | None) -> str:
        """Issue an authorization code, good once and for ``CODE_LIFETIME`` seconds."""
        code = self._token("code")
        self._codes[code] = _Code(redirect_uri, scope, challenge, now + CODE_LIFETIME)
        return code

    def redirect(self, query: str, now: float) -> str:
        """Return where ``GET /oauth/authorize?query`` redirects a user who consents.

        A client or a redirect URI that is not to be trusted raises ``OAuthError``: there is no redirect.
        """
        asked = dict(parse_qsl(query))
        target = asked.get("redirect_uri", "")
        if asked.get("client_id") != self._client[0] or "://" not in target:
            raise OAuthError("invalid_request", "client_id or redirect_uri is missing or unknown")
        state = {"state": asked["state"]} if "state" in asked else {}
        challenge = asked.get("code_challenge")
        if asked.get("response_type") != "code":
            answer = {"error": "unsupported_response_type"}
        elif challenge is not None and asked.get("code_challenge_method") != "S256":
            # RFC 7636 §4.3: a method left out means "plain", which proves nothing.
            answer = {"error": "invalid_request", "error_description": "code_challenge_method must be S256"}
        else:
            scope = asked.get("scope", "")
            answer = {"code": self.new_code(now, redirect_uri=target, scope=scope, challenge=challenge)}
        return f"{target}{'&' if '?' in target else '?'}{urlencode(answer | state)}"

    def exchange(self, body: bytes, content_type: str, authorization: str, now: float) -> dict[str, object]:
        """Answer ``POST /oauth/token``, or raise ``OAuthError``; ``authorization`` is "" without such a header."""
        form = _form(body, content_type)
        self._authenticate(form, authorization)
        grant = form.get("grant_type")
        if grant == "client_credentials":
            # RFC 6749 §4.4.3: no refresh token here.
            return self._answer(form.get("scope", ""), now)
        if grant == "refresh_token":
            return self._by_refresh_token(form, now)
        if grant == "authorization_code":
            return self._by_code(form, now)
        if grant is None:
            raise OAuthError("invalid_request", "grant_type is missing")
        raise OAuthError("unsupported_grant_type", f"{grant} is not known here")

    def _authenticate(self, form: Mapping[str, str], authorization: str) -> None:
        given = form.get("client_id", ""), form.get("client_secret", "")
        if authorization:
            if "client_secret" in form:
                raise OAuthError("invalid_request", "credentials were given in two places")
            given = _basic(authorization)
        if given != self._client:
            raise OAuthError("invalid_client", "client authentication failed", 401)

    def _by_refresh_token(self, form: Mapping[str, str], now: float) -> dict[str, object]:
        token = form.get("refresh_token", "")
        known = self._refresh.get(token)
        if known is None:
            raise OAuthError("invalid_grant", "the refresh token is unknown or was replaced")
        if known.replaces is not None:
            self._refresh.pop(known.replaces, None)
        scope = form.get("scope", known.scope)
        return self._answer(scope, now, self.new_refresh_token(scope, token) if self._rotate else None)

    def _by_code(self, form: Mapping[str, str], now: float) -> dict[str, object]:
        code = self._codes.pop(form.get("code", ""), None)
        if code is None or now >= code.expires_at:
            raise OAuthError("invalid_grant", "the code is unknown, used or expired")
        if form.get("redirect_uri") != code.redirect_uri:
            raise OAuthError("invalid_grant", "redirect_uri is not the one the code was issued for")
        verifier = form.get("code_verifier")
        if (None if verifier is None else s256(verifier)) != code.challenge:
            raise OAuthError("invalid_grant", "code_verifier does not match the code_challenge")
        return self._answer(code.scope, now, self.new_refresh_token(code.scope))

    def _answer(self, scope: str, now: float, refresh: str | None = None) -> dict[str, object]:
        token = self._token("access")
        answer: dict[str, object] = {"access_token": token, "token_type": "Bearer"}
        if self._one_live:
            self.expire_all()
        self._access[token] = now + self._lifetime
        if self._lifetime < math.inf:
            whole = float(self._lifetime).is_integer()
            answer["expires_in"] = int(self._lifetime) if whole else self._lifetime
        if refresh is not None:
            answer["refresh_token"] = refresh
        if scope:
            answer["scope"] = scope
        return answer

    def _token(self, kind: str) -> str:
        return f"sim-{kind}-{self._random.getrandbits(128):032x}"


def s256(verifier: str) -> str:
    """Return the code challenge of ``verifier`` (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _form(body: bytes, content_type: str) -> dict[str, str]:
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "the body must be form-encoded")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True)
    except ValueError:
        raise OAuthError("invalid_request", "the body is not a form") from None
    repeated = sorted(name for name, values in fields.items() if len(values) > 1)
    if repeated:
        raise OAuthError("invalid_request", f"given more than once: {', '.join(repeated)}")
    return {name: values[0] for name, values in fields.items()}


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    try:
        decoded = base64.b64decode(encoded, validate=True).decode() if scheme.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    # RFC 6749 §2.3.1: both halves are form-encoded before they are joined.
    name, _, secret = decoded.partition(":")
    return unquote_plus(name), unquote_plus(secret)
