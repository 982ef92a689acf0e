"""The authorization code flow for a web backend (RFC 6749, section 4.1; PKCE, RFC 7636)."""

from __future__ import annotations

import random
import re
from typing import Final
from urllib.parse import urlencode

import attrs

from clarus_async.auth.grants import TokenEndpoint
from clarus_async.config import DEFAULT_BASE_URL, RetryPolicy, Timeouts, base_url_problem
from clarus_async.credentials import AccessToken, RefreshToken, Secretive, as_scopes, scopes_problem, vschar_problem
from clarus_async.errors import ClarusError, ConfigurationError, InvalidInputError
from clarus_async.http.session import ClientSession, Session
from clarus_async.validation import checked, refuse, shown

_AUTHORIZE_PATH: Final = "/oauth/authorize"  # CLARUS_API.md §2
# RFC 7636, sections 4.1 and 4.2.
_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")
_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}")


def _matches(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


@checked
@attrs.frozen(repr=False)
class AuthorizationCode(Secretive):
    """The authorization code flow: exchanges a user's consent for credentials.

    Args:
        client_id: as the vendor gave it.
        client_secret: as the vendor gave it; never shown, logged or pickled.
        redirect_uri: where the user is sent back to, as registered with the vendor.
        scopes: scope names, if the vendor named any.
        base_url: the API's.
        timeouts: ``connect`` and ``attempt`` are used.
        session: your own aiohttp session, never closed here.
        allow_http: allow plain ``http`` to hosts other than loopback.

    Raises:
        InvalidInputError: a value is missing or malformed.
    """

    __repr__ = shown

    client_id: str
    client_secret: str = attrs.field(repr=False)
    redirect_uri: str
    scopes: tuple[str, ...] = attrs.field(default=(), converter=as_scopes)
    base_url: str = attrs.field(default=DEFAULT_BASE_URL, kw_only=True)
    timeouts: Timeouts = attrs.field(factory=Timeouts, kw_only=True)
    session: ClientSession | None = attrs.field(default=None, kw_only=True, repr=False)
    allow_http: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        refuse("AuthorizationCode", [
            ("client_id", vschar_problem(self.client_id)),
            ("client_secret", vschar_problem(self.client_secret)),
            ("redirect_uri", vschar_problem(self.redirect_uri)),
            ("scopes", scopes_problem(self.scopes)),
            ("base_url", base_url_problem(self.base_url, allow_http=self.allow_http)),
        ])  # fmt: skip

    def authorization_url(self, state: str, code_challenge: str) -> str:
        """Return the URL that the user's browser is sent to.

        Args:
            state: comes back with the user, and must be checked by you (RFC 6749, section 10.12).
            code_challenge: the SHA-256 of the verifier that ``exchange`` is given, as base64url without padding
                (RFC 7636).

        Raises:
            InvalidInputError: the state is empty or malformed, or the challenge is malformed.
        """
        refuse("authorization_url", [
            ("state", vschar_problem(state)),
            ("code_challenge", None if _matches(_CHALLENGE, code_challenge) else "must be 43 base64url characters"),
        ])  # fmt: skip
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": " ".join(self.scopes),
            "state": state,
            "code_challenge": code_challenge,
            "code_challenge_method": "S256",
        }
        query = urlencode({name: value for name, value in parameters.items() if value})
        return f"{self.base_url.rstrip('/')}{_AUTHORIZE_PATH}?{query}"

    async def exchange(self, code: str, code_verifier: str) -> RefreshToken | AccessToken:
        """Exchange the code that came back with the user for credentials.

        Args:
            code: from the redirect's query; it is good for one exchange.
            code_verifier: the secret behind the challenge (RFC 7636).

        Raises:
            InvalidInputError: the code is empty or malformed, or the verifier is malformed.
            AuthenticationError: the token endpoint refused the code: authorise again.
            ConnectionFailedError: no response came. The code may be spent: authorise again.
        """
        result = await self._exchange(code, code_verifier)
        del code, code_verifier
        if isinstance(result, ClarusError):
            raise result
        return result

    async def _exchange(self, code: str, code_verifier: str) -> RefreshToken | AccessToken | ClarusError:
        try:
            refuse("exchange", [
                ("code", vschar_problem(code)),
                ("code_verifier", None if _matches(_VERIFIER, code_verifier) else "must be 43 to 128 of A-Za-z0-9-._~"),
            ])  # fmt: skip
            session = Session(1, self.session)
        except (InvalidInputError, ConfigurationError) as error:
            return error.with_traceback(None)
        endpoint = TokenEndpoint(
            session=lambda: session,
            base_url=self.base_url.rstrip("/"),
            timeouts=self.timeouts,
            retry=RetryPolicy(),
            random=random.random,
        )
        try:
            answer = await endpoint.ask(
                {
                    "grant_type": "authorization_code",
                    "client_id": self.client_id,
                    "client_secret": self.client_secret,
                    "redirect_uri": self.redirect_uri,
                    "code": code,
                    "code_verifier": code_verifier,
                },
                # A code can be used once: after a response that was lost, another attempt can only be refused.
                retries_after_loss=0,
            )
        finally:
            await session.close()
        if isinstance(answer, ClarusError):
            return answer
        if answer.refresh_token is not None:
            return RefreshToken(self.client_id, self.client_secret, answer.refresh_token)
        return AccessToken(answer.access_token)
