"""Asking for a token: each kind of credentials as one coroutine that returns a token or an error, as a value."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import attrs
from yarl import URL

from clarus_async.auth.rfc6749 import (
    TokenAnswer,
    basic_forms,
    read_token,
    refuses_client,
    reports_error,
    token_form,
)
from clarus_async.config import RetryPolicy, Timeouts
from clarus_async.credentials import AccessToken, ClientCredentials, Credentials, RefreshToken, Token, TokenSource
from clarus_async.errors import AuthenticationError, ClarusError, ConfigurationError, ErrorDetail, with_facts
from clarus_async.http.no_answer import Unanswered
from clarus_async.http.session import USER_AGENT, Received, Session
from clarus_async.redaction import MISTAKES, raised
from clarus_async.retry.backoff import backoff
from clarus_async.retry.effect import NO_WAY, Answered, AttemptResult, Kind, NoAnswer
from clarus_async.retry.failure import Ending, failure
from clarus_async.wire.error_bodies import forms_of, read_error_body
from clarus_async.wire.headers import request_id, retry_after
from clarus_async.wire.reading import Unreadable
from clarus_async.wire.server_clock import Dated

_log = logging.getLogger("clarus_async")

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105  CLARUS_API.md §2

_TRIES: Final = 4
_AFTER_DOUBT: Final = ", after an answer that was lost"
# A token answer is a few hundred bytes.
_CAP: Final = 64 * 2**10
_HEADERS: Final = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json",
    "User-Agent": USER_AGENT,
}

Grant: TypeAlias = Callable[[], Awaitable[Token | ClarusError]]
"""Gets a token, and says why where it can't."""


@attrs.define(kw_only=True, eq=False, repr=False)
class TokenEndpoint:
    """The token endpoint as one client asks it, and how patiently.

    Args:
        session: gives the session of the running event loop.
        base_url: the API's.
        timeouts: ``connect`` and ``attempt`` are used.
        retry: how far apart the tries are; they cost the waiting calls no attempt.
        random: draws from 0 to 1.
        dated: is told of each answer's Date.
    """

    session: Callable[[], Session]
    base_url: str
    timeouts: Timeouts
    retry: RetryPolicy
    random: Callable[[], float]
    dated: Callable[[Dated], None] = lambda _: None
    _way: int = attrs.field(default=0, init=False)
    """Which of the ways to identify the client was taken last."""

    async def ask(self, parameters: Mapping[str, str], *, after_doubt: int | None = None) -> TokenAnswer | ClarusError:
        """Ask for a token, again where that can help.

        Args:
            parameters: of the form.
            after_doubt: tries that may follow one whose answer was lost; ``None`` for any.
        """
        url = URL(self.base_url + TOKEN_PATH, encoded=True)
        secrets = [parameters.get(name, "") for name in ("client_secret", "refresh_token", "code", "code_verifier")]
        # A server must take the secret in a header, and need not take it in the form (RFC 6749, section 2.3.1).
        basics, rest = basic_forms(parameters)
        secrets += [*basics, *(quote(secret, safe="") for secret in secrets)]
        ways = [(_HEADERS, token_form(parameters))]
        ways += [({**_HEADERS, "Authorization": f"Basic {basic}"}, token_form(rest)) for basic in basics]
        way = self._way % len(ways)
        untried = len(ways) - 1
        refused = ""
        attempt = 0
        doubt = False
        while True:
            attempt += 1
            loop = asyncio.get_running_loop()
            sent = loop.time()
            received = await self.session().send(
                "POST",
                url,
                *ways[way],
                now=sent,
                connect=self.timeouts.connect,
                attempt=self.timeouts.attempt,
                cap=_CAP,
            )
            if isinstance(received, Received) and (date := received.headers.get("Date")) is not None:
                self.dated(Dated(date, sent, loop.time(), datetime.now(UTC)))
            seen, token = _see(received)
            if token is not None:
                self._way = way
                return token
            floor = (seen.retry_after if isinstance(seen, Answered) else None) or 0.0
            pause = 0.0
            if untried and isinstance(received, Received) and refuses_client(received.status, received.body):
                way = (way + 1) % len(ways)
                untried -= 1
                details = read_error_body(received.body, secrets, received.headers.get("WWW-Authenticate"))
                refused = refused or "; ".join(map(str, details))
                gives_up = False
            else:
                if _may_be_spent(seen) and not _refuses(received):
                    doubt = True
                    after_doubt = None if after_doubt is None else after_doubt - 1
                gives_up = not _can_help(seen) or attempt >= _TRIES or (after_doubt is not None and after_doubt < 0)
                pause = backoff(self.retry, attempt, self.random)
            if gives_up or floor > self.retry.cap:
                error = _refusal(received, seen, attempt, secrets, doubt=doubt)
                if refused in error.reason:
                    return error
                return with_facts(error, reason=f"{error.reason}; with the client's secret sent another way: {refused}")
            await asyncio.sleep(max(floor, pause))


def _see(received: Received | Unanswered) -> tuple[AttemptResult, TokenAnswer | None]:
    if isinstance(received, Unanswered):
        return received.why, None
    token = read_token(received.body) if received.whole and 200 <= received.status < 300 else None
    wait = retry_after(received.headers.get("Retry-After"), received.headers.get("Date"), datetime.now(UTC))
    seen = Answered(received.status, wait, readable=isinstance(token, TokenAnswer), whole=received.whole)
    return seen, token if isinstance(token, TokenAnswer) else None


def _refuses(received: Received | Unanswered) -> bool:
    """Whether the endpoint has made no token, and says why."""
    if not isinstance(received, Received):
        return False
    if 200 <= received.status < 300:
        return received.whole and reports_error(received.body)
    return 400 <= received.status < 500 and received.status not in {408, 429}


def _may_be_spent(seen: AttemptResult) -> bool:
    """Whether the server may have made a token that never reached us."""
    if isinstance(seen, Answered):
        return seen.status < 300 or seen.status >= 500
    return seen in {NoAnswer.CONNECTION_LOST, NoAnswer.TIMED_OUT, NoAnswer.RAISED_AFTER}


def _can_help(seen: AttemptResult) -> bool:
    if isinstance(seen, Answered):
        return seen.status in {408, 429} or seen.status >= 500 or (seen.status < 300 and not seen.whole)
    return seen not in NO_WAY and seen is not NoAnswer.RAISED_AFTER


def _refusal(
    received: Received | Unanswered, seen: AttemptResult, attempts: int, secrets: list[str], *, doubt: bool
) -> ClarusError:
    details: tuple[ErrorDetail, ...] = ()
    if isinstance(received, Received):
        details = read_error_body(received.body, secrets, received.headers.get("WWW-Authenticate"))
    unreadable = read_token(received.body) if isinstance(received, Received) else None
    identifier = (
        request_id(received.headers.get("X-Request-Id"), forms_of(secrets)) if isinstance(received, Received) else None
    )
    if isinstance(received, Received) and _refuses(received):
        said = "; ".join(map(str, details)) or "no reason given"
        return AuthenticationError(
            f"the token endpoint refused us: {received.status} {said}{_AFTER_DOUBT if doubt else ''}",
            retry_after=seen.retry_after if isinstance(seen, Answered) else None,
            method="POST",
            path=TOKEN_PATH,
            attempts=attempts,
            request_id=identifier,
        )
    return failure(
        Ending(
            # Whatever was made of a lost token answer, nothing of the call was applied.
            kind=Kind.READ,
            method="POST",
            path=TOKEN_PATH,
            seen=seen,
            said=received.said if isinstance(received, Unanswered) else None,
            details=details,
            unreadable=unreadable if isinstance(unreadable, Unreadable) else None,
            attempts=attempts,
            request_id=identifier,
            because="no token could be had",
        )
    )


def grant_for(credentials: Credentials, endpoint: TokenEndpoint) -> Grant:
    """Return the coroutine function that gets tokens for these credentials.

    Args:
        credentials: whose.
        endpoint: where from.
    """
    if isinstance(credentials, ClientCredentials):
        return _ClientCredentialsGrant(credentials, endpoint)
    if isinstance(credentials, RefreshToken):
        return _RefreshGrant(credentials, endpoint)
    if isinstance(credentials, AccessToken):
        return _Static(credentials)
    return _Custom(credentials)


class _ClientCredentialsGrant:
    def __init__(self, credentials: ClientCredentials, endpoint: TokenEndpoint) -> None:
        self._credentials = credentials
        self._endpoint = endpoint

    async def __call__(self) -> Token | ClarusError:
        answer = await self._endpoint.ask({
            "grant_type": "client_credentials",
            "client_id": self._credentials.client_id,
            "client_secret": self._credentials.client_secret,
            "scope": " ".join(self._credentials.scopes),
        })  # fmt: skip
        return answer if isinstance(answer, ClarusError) else Token(answer.access_token, answer.expires_in)


class _RefreshGrant:
    """Refreshes with rotation: a server may make the token that was used worthless, whether its answer comes or not."""

    def __init__(self, credentials: RefreshToken, endpoint: TokenEndpoint) -> None:
        self._credentials = credentials
        self._endpoint = endpoint
        self._refresh_token = credentials.refresh_token

    async def __call__(self) -> Token | ClarusError:
        answer = await self._endpoint.ask(
            {
                "grant_type": "refresh_token",
                "client_id": self._credentials.client_id,
                "client_secret": self._credentials.client_secret,
                "refresh_token": self._refresh_token,
            },
            # The old one once more: many servers honour it until the new one is used.
            after_doubt=1,
        )
        # A refusal after a try whose answer was lost means the same, whatever the server calls it.
        if isinstance(answer, AuthenticationError) and (
            "invalid_grant" in answer.reason or _AFTER_DOUBT in answer.reason
        ):
            return with_facts(answer, reason=f"{answer.reason}; the refresh token is spent or revoked: authorise again")
        if isinstance(answer, ClarusError):
            return answer
        if answer.refresh_token is not None and answer.refresh_token != self._refresh_token:
            await self._rotate(answer.refresh_token)
        return Token(answer.access_token, answer.expires_in)

    async def _rotate(self, refresh_token: str) -> None:
        if self._credentials.on_rotate is not None:
            try:
                stored: Any = self._credentials.on_rotate(refresh_token)
                if inspect.isawaitable(stored):
                    await stored
            except Exception as error:  # noqa: BLE001  the new token works, stored or not: losing it helps nobody
                _log.error("on_rotate raised %s: the new refresh token is used, and may not be stored", raised(error))
        self._refresh_token = refresh_token


class _Static:
    def __init__(self, credentials: AccessToken) -> None:
        self._credentials = credentials

    async def __call__(self) -> Token | ClarusError:
        return Token(self._credentials.token, float("inf"))


class _Custom:
    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def __call__(self) -> Token | ClarusError:
        name = self._source.__class__.__name__  # not type(): that of a weak reference is its own
        try:
            token: object = await self._source.fetch()
        except ClarusError as error:
            return error.with_traceback(None)
        except Exception as error:  # noqa: BLE001  a foreign traceback may hold what the source authenticates with
            return AuthenticationError(
                f"{name}.fetch raised {raised(error)}", retryable=not isinstance(error, MISTAKES)
            )
        if not isinstance(token, Token):
            return ConfigurationError(f"{name}.fetch must return a Token, not {type(token).__name__}")
        return token
