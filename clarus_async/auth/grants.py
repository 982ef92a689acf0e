"""The OAuth 2.0 grants (RFC 6749): for each kind of credentials, what gets a token, or returns why there is none."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
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
from clarus_async.http.direct import RequestHeaders
from clarus_async.http.response import HttpResponse
from clarus_async.http.session import USER_AGENT, Session
from clarus_async.http.transport_failure import TransportFailure
from clarus_async.redaction import MISTAKES, describe_exception
from clarus_async.retry.backoff import backoff
from clarus_async.retry.call_error import FailedCall, call_error
from clarus_async.retry.effect import NEVER_SENDABLE, AttemptResult, NoResponse, OperationKind, ResponseSummary
from clarus_async.wire.error_bodies import forms_of, read_error_body
from clarus_async.wire.headers import request_id, retry_after
from clarus_async.wire.reading import Unreadable
from clarus_async.wire.server_clock import Dated

_log = logging.getLogger("clarus_async")

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105  CLARUS_API.md §2

# As many as a call makes by default.
_MOST_ATTEMPTS: Final = 4
_AFTER_LOST: Final = ", after an answer that was lost"
# Bytes; the endpoint's response has a few hundred.
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
    """The token endpoint of one client, whose attempts cost the waiting calls none."""

    session: Callable[[], Session]
    base_url: str
    timeouts: Timeouts
    retry: RetryPolicy
    random: Callable[[], float]
    on_date: Callable[[Dated], None] = lambda _: None
    _way: int = attrs.field(default=0, init=False)
    """The index of the client authentication that worked last."""

    async def ask(
        self, parameters: Mapping[str, str], *, retries_after_loss: float = math.inf
    ) -> TokenAnswer | ClarusError:
        """Ask for a token, again where that can help, though at most so often after a response that was lost."""
        url = URL(self.base_url + TOKEN_PATH, encoded=True)
        secrets = [parameters.get(name, "") for name in ("client_secret", "refresh_token", "code", "code_verifier")]
        # A server must accept HTTP Basic, and may accept the secret in the form (RFC 6749, section 2.3.1).
        basics, rest = basic_forms(parameters)
        secrets += [*basics, *(quote(secret, safe="") for secret in secrets)]
        ways = [(RequestHeaders(_HEADERS), token_form(parameters))]
        ways += [
            (RequestHeaders({**_HEADERS, "Authorization": f"Basic {basic}"}), token_form(rest)) for basic in basics
        ]
        way = self._way % len(ways)
        untried = len(ways) - 1
        refused = ""
        attempt = 0
        lost = False
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
            if isinstance(received, HttpResponse) and (date := received.headers.get("Date")) is not None:
                self.on_date(Dated(date, sent, loop.time(), datetime.now(UTC)))
            result, token = _read(received)
            if token is not None:
                self._way = way
                return token
            floor = (result.retry_after if isinstance(result, ResponseSummary) else None) or 0.0
            pause = 0.0
            if untried and isinstance(received, HttpResponse) and refuses_client(received.status, received.body):
                way = (way + 1) % len(ways)
                untried -= 1
                details = read_error_body(received.body, secrets, received.headers.get("WWW-Authenticate"))
                refused = refused or "; ".join(map(str, details))
                stop = False
            else:
                if _may_have_issued(result) and not _refuses(received):
                    lost = True
                    retries_after_loss -= 1
                stop = not _worth_retrying(result) or attempt >= _MOST_ATTEMPTS or retries_after_loss < 0
                pause = backoff(self.retry, attempt, self.random)
            if stop or floor > self.retry.cap:
                error = _refusal(received, result, attempt, secrets, lost=lost)
                if refused in error.reason:
                    return error
                return with_facts(error, reason=f"{error.reason}; with the client's secret sent another way: {refused}")
            await asyncio.sleep(max(floor, pause))


def _read(received: HttpResponse | TransportFailure) -> tuple[AttemptResult, TokenAnswer | None]:
    if isinstance(received, TransportFailure):
        return received.reason, None
    token = read_token(received.body) if received.whole and 200 <= received.status < 300 else None
    wait = retry_after(received.headers.get("Retry-After"), received.headers.get("Date"), datetime.now(UTC))
    result = ResponseSummary(received.status, wait, readable=isinstance(token, TokenAnswer), whole=received.whole)
    return result, token if isinstance(token, TokenAnswer) else None


def _refuses(received: HttpResponse | TransportFailure) -> bool:
    """Whether the endpoint issued no token, and says why."""
    if not isinstance(received, HttpResponse):
        return False
    if 200 <= received.status < 300:
        return received.whole and reports_error(received.body)
    return 400 <= received.status < 500 and received.status not in {408, 429}


def _may_have_issued(result: AttemptResult) -> bool:
    """Whether the server may have issued a token that never arrived."""
    if isinstance(result, ResponseSummary):
        return result.status < 300 or result.status >= 500
    return result in {NoResponse.CONNECTION_LOST, NoResponse.TIMED_OUT, NoResponse.RAISED_AFTER}


def _worth_retrying(result: AttemptResult) -> bool:
    if isinstance(result, ResponseSummary):
        return result.status in {408, 429} or result.status >= 500 or (result.status < 300 and not result.whole)
    return result not in NEVER_SENDABLE and result is not NoResponse.RAISED_AFTER


def _refusal(
    received: HttpResponse | TransportFailure, result: AttemptResult, attempts: int, secrets: list[str], *, lost: bool
) -> ClarusError:
    details: tuple[ErrorDetail, ...] = ()
    unreadable: object = None
    identifier: str | None = None
    if isinstance(received, HttpResponse):
        details = read_error_body(received.body, secrets, received.headers.get("WWW-Authenticate"))
        unreadable = read_token(received.body)
        identifier = request_id(received.headers.get("X-Request-Id"), forms_of(secrets))
        if _refuses(received):
            said = "; ".join(map(str, details)) or "no reason given"
            return AuthenticationError(
                f"the token endpoint refused the request: {received.status} {said}{_AFTER_LOST if lost else ''}",
                retry_after=result.retry_after if isinstance(result, ResponseSummary) else None,
                method="POST",
                path=TOKEN_PATH,
                attempts=attempts,
                request_id=identifier,
            )
    return call_error(
        FailedCall(
            # Even if a token was issued and lost, nothing of the call was applied.
            kind=OperationKind.READ,
            method="POST",
            path=TOKEN_PATH,
            result=result,
            failure=received.message if isinstance(received, TransportFailure) else None,
            details=details,
            unreadable=unreadable if isinstance(unreadable, Unreadable) else None,
            attempts=attempts,
            request_id=identifier,
            stop_reason="no token could be obtained",
        )
    )


def grant_for(credentials: Credentials, endpoint: TokenEndpoint) -> Grant:
    """Return the coroutine function that gets tokens for these credentials."""
    if isinstance(credentials, ClientCredentials):
        return partial(_client_credentials_grant, credentials, endpoint)
    if isinstance(credentials, RefreshToken):
        return _RefreshGrant(credentials, endpoint)
    if isinstance(credentials, AccessToken):
        return partial(_fixed_token, credentials)
    return partial(_fetched_token, credentials)


async def _client_credentials_grant(credentials: ClientCredentials, endpoint: TokenEndpoint) -> Token | ClarusError:
    answer = await endpoint.ask({
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "scope": " ".join(credentials.scopes),
    })  # fmt: skip
    return answer if isinstance(answer, ClarusError) else Token(answer.access_token, answer.expires_in)


class _RefreshGrant:
    """Refreshes with rotation: a server may revoke the refresh token that was used, even if its response is lost."""

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
            # The old refresh token once more: many servers accept it until the new one is used.
            retries_after_loss=1,
        )
        # After a response that was lost, any refusal means that, whatever the server calls it.
        if isinstance(answer, AuthenticationError) and (
            "invalid_grant" in answer.reason or _AFTER_LOST in answer.reason
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
                _log.error(
                    "on_rotate raised %s: the new refresh token is used, and may not be stored",
                    describe_exception(error),
                )
        self._refresh_token = refresh_token


async def _fixed_token(credentials: AccessToken) -> Token | ClarusError:
    return Token(credentials.token, float("inf"))


async def _fetched_token(source: TokenSource) -> Token | ClarusError:
    name = source.__class__.__name__  # not type(): a weak proxy has its own
    try:
        token: object = await source.fetch()
    except ClarusError as error:
        return error.with_traceback(None)
    except Exception as error:  # noqa: BLE001  a foreign traceback may hold what the source authenticates with
        return AuthenticationError(
            f"{name}.fetch raised {describe_exception(error)}", retryable=not isinstance(error, MISTAKES)
        )
    if not isinstance(token, Token):
        return ConfigurationError(f"{name}.fetch must return a Token, not {type(token).__name__}")
    return token
