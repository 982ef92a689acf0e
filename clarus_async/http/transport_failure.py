"""Why a request got no response: what aiohttp raises, as a value, with where and why in words.

An exception of aiohttp's holds the request's headers, and so the token, or a proxy's URL, and so its password: none of
its text is repeated.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from http.client import responses
from typing import Final, NamedTuple

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from clarus_async.http.connect_errors import connection_problem, host_port
from clarus_async.http.write_guard import WithheldError
from clarus_async.redaction import describe_exception, raised_by_foreign_code
from clarus_async.retry.effect import NoResponse


class TransportFailure(NamedTuple):
    """Why an attempt got no response: the reason decides what follows, the message says where and why in words."""

    reason: NoResponse
    message: str


class UnsolicitedDataError(aiohttp.ClientConnectionError):
    """A pooled connection had received something before a request was sent on it."""


def withheld(error: WithheldError) -> TransportFailure:
    """Return the failure of a request that ``may_send`` did not allow."""
    if error.raised is None:
        return TransportFailure(NoResponse.WITHHELD, NoResponse.WITHHELD.value)
    return TransportFailure(NoResponse.RAISED_BEFORE, f"may_send raised before the request was sent: {error.raised}")


def unexpected(error: Exception, url: URL, *, sent: bool) -> TransportFailure:
    """Return the failure of a request in which something raised that no network makes raise.

    A middleware, a trace or a mock of the caller's did, or aiohttp itself. ``sent`` says whether something may have
    been sent.
    """
    if not sent:
        return TransportFailure(NoResponse.RAISED_BEFORE, f"{NoResponse.RAISED_BEFORE}: {describe_exception(error)}")
    if raised_by_foreign_code(error):
        return TransportFailure(NoResponse.RAISED_AFTER, f"{NoResponse.RAISED_AFTER}: {describe_exception(error)}")
    # aiohttp asserts here and there that a connection still exists, which was lost a moment ago.
    place = host_port(url.host, url.port)
    message = f"{NoResponse.CONNECTION_LOST} from {place} ({describe_exception(error)})"
    return TransportFailure(NoResponse.CONNECTION_LOST, message)


# Raised only while a connection is made: a bad host name fails in the resolver, as a UnicodeError where a label of it
# is too long.
_BAD_HOST: Final = (aiohttp.InvalidURL, UnicodeError)
# A proxy that refuses a tunnel for another reason goes on refusing it.
_TRANSIENT_AT_PROXY: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def transport_failure(
    error: Exception, url: URL, proxy: str | None, connect: float, attempt: float
) -> TransportFailure:
    """Return the failure that an exception of aiohttp's means: its class tells what can have been sent."""
    server = host_port(url.host, url.port)
    through = "" if proxy is None else f" through the proxy {proxy}"
    if isinstance(error.__cause__, WithheldError):
        return withheld(error.__cause__)
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        why = f"{NoResponse.BAD_CERTIFICATE}: it is not the expected one"
        return _no_connection(f"{server}{through}: {why}", NoResponse.BAD_CERTIFICATE)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return refused_by_proxy(server, proxy, error.status)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _unconnected(error, server, proxy)
    if isinstance(error, UnsolicitedDataError):
        return _no_connection(f"{server}: a pooled connection was unusable")
    if isinstance(error, _BAD_HOST):
        return _no_connection(f"{server}: this is not a host name")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _no_connection(f"{server}{through}: there was none within {connect:.3g} s")
    if isinstance(error, TimeoutError):
        message = f"{NoResponse.TIMED_OUT} from {server}{through} ({attempt:.3g} s)"
        return TransportFailure(NoResponse.TIMED_OUT, message)
    return _lost(error, server, through)


def _no_connection(message: str, reason: NoResponse = NoResponse.NO_CONNECTION) -> TransportFailure:
    return TransportFailure(reason, f"no connection to {message}")


def _unconnected(error: aiohttp.ClientConnectorError, server: str, proxy: str | None) -> TransportFailure:
    cause = error.os_error
    message = connection_problem(cause).message
    if isinstance(error, aiohttp.ClientConnectorDNSError) and not isinstance(cause, TimeoutError):
        message = message if message.startswith("the name") else "the name could not be resolved"
    if proxy is not None:
        # Where the proxy itself can't be reached, aiohttp names it as the host.
        at_proxy = host_port(error.host, error.port) == proxy
        server += f": no connection to the proxy {proxy}" if at_proxy else f" through the proxy {proxy}"
    reason = NoResponse.BAD_CERTIFICATE if isinstance(cause, ssl.CertificateError) else NoResponse.NO_CONNECTION
    return _no_connection(f"{server}: {message}", reason)


def refused_by_proxy(server: str, proxy: str | None, status: int) -> TransportFailure:
    """Return the failure of a request that a proxy refused to pass on, by this status."""
    name = "the proxy" if proxy is None else f"the proxy {proxy}"
    phrase = responses.get(status)
    permanent = 400 <= status < 500 and status not in _TRANSIENT_AT_PROXY
    reason = NoResponse.PROXY_REFUSED if permanent else NoResponse.NO_CONNECTION
    return _no_connection(f"{server}: {name} answered {status}{f' {phrase}' if phrase else ''}", reason)


def _lost(error: Exception, server: str, through: str) -> TransportFailure:
    # Of a TLS error, aiohttp keeps a number that is not the operating system's.
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        why = "what came is not HTTP"
    elif isinstance(cause, ssl.SSLError) or (isinstance(cause, OSError) and cause.errno is not None):
        why = connection_problem(cause).message
    else:
        # A mock's exception is described with its place: somebody looks for the entry that is missing there.
        why = describe_exception(error) if raised_by_foreign_code(error) else "it was closed"
    return TransportFailure(NoResponse.CONNECTION_LOST, f"{NoResponse.CONNECTION_LOST} from {server}{through} ({why})")
