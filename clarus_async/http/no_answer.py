"""Why a request has no answer: what aiohttp raises, as a value, with where and why in words.

An exception of aiohttp's holds the request's headers, and so the token, or a proxy's URL, and so its password: nothing
of its text is repeated.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from http.client import responses
from typing import Final, NamedTuple

import aiohttp
from yarl import URL

from clarus_async.http.connect_errors import host_port, trouble_of
from clarus_async.http.write_guard import WithheldError
from clarus_async.redaction import by_others, raised
from clarus_async.retry.effect import NoAnswer


class Unanswered(NamedTuple):
    """An attempt that has no answer.

    Args:
        why: what decides what follows.
        said: what happened, in words: where, and why.
    """

    why: NoAnswer
    said: str


class UnaskedAnswerError(aiohttp.ClientConnectionError):
    """A kept connection was of no use any more."""


def withheld(error: WithheldError) -> Unanswered:
    """Say that there was no right to send.

    Args:
        error: what was raised instead of sending.
    """
    if error.raised is None:
        return Unanswered(NoAnswer.WITHHELD, NoAnswer.WITHHELD.value)
    return Unanswered(NoAnswer.RAISED_BEFORE, f"{NoAnswer.RAISED_BEFORE}: {error.raised}")


def unexpected(error: Exception, url: URL, *, sent: bool) -> Unanswered:
    """Say what is no failure of a network's: a middleware, a trace or a mock of the caller's raised it, or aiohttp did.

    Args:
        error: what came out of aiohttp.
        url: where the request was for.
        sent: something may have been sent.
    """
    if not sent:
        return Unanswered(NoAnswer.RAISED_BEFORE, f"{NoAnswer.RAISED_BEFORE}: {raised(error)}")
    if by_others(error):
        return Unanswered(NoAnswer.RAISED_AFTER, f"{NoAnswer.RAISED_AFTER}: {raised(error)}")
    # aiohttp asserts here and there that a connection is there yet which was lost a moment ago.
    said = f"{NoAnswer.CONNECTION_LOST} from {host_port(url.host, url.port)} ({raised(error)})"
    return Unanswered(NoAnswer.CONNECTION_LOST, said)


# Raised only while a connection is made: a host name that is none fails in the resolver, as a UnicodeError where a
# label of it is too long.
_NO_HOST: Final = (aiohttp.InvalidURL, UnicodeError)
# A proxy that refuses a tunnel has its reasons, and keeps them; these may pass.
_PROXY_MAY_HEAL: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


def unanswered(error: Exception, url: URL, proxy: str | None, connect: float, attempt: float) -> Unanswered:
    """Say why there is no answer: an exception of aiohttp's tells by its class what can have gone out.

    Args:
        error: what aiohttp raised.
        url: where the request was for.
        proxy: host and port of the proxy, if it goes through one.
        connect: seconds that a connection could take.
        attempt: seconds that everything could take.
    """
    there = host_port(url.host, url.port)
    through = "" if proxy is None else f" through the proxy {proxy}"
    if isinstance(error.__cause__, WithheldError):
        return withheld(error.__cause__)
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        said = f"no connection to {there}{through}: {NoAnswer.BAD_CERTIFICATE}: it is not the one that is expected"
        return Unanswered(NoAnswer.BAD_CERTIFICATE, said)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return refused_by_proxy(there, proxy, error.status)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _unconnected(error, there, proxy)
    if isinstance(error, UnaskedAnswerError):
        return _no_connection(f"{there}: one that was kept was of no use any more")
    if isinstance(error, _NO_HOST):
        return _no_connection(f"{there}: that is no host name")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return _no_connection(f"{there}{through}: there was none within {connect:.3g} s")
    if isinstance(error, TimeoutError):
        said = f"{NoAnswer.TIMED_OUT} from {there}{through} ({attempt:.3g} s)"
        return Unanswered(NoAnswer.TIMED_OUT, said)
    return _lost(error, there, through)


def _no_connection(said: str) -> Unanswered:
    return Unanswered(NoAnswer.NO_CONNECTION, f"no connection to {said}")


def _unconnected(error: aiohttp.ClientConnectorError, there: str, proxy: str | None) -> Unanswered:
    cause = error.os_error
    said = trouble_of(cause).said
    if isinstance(error, aiohttp.ClientConnectorDNSError) and not isinstance(cause, TimeoutError):
        said = said if said.startswith("the name") else "the name could not be resolved"
    # Where it is the proxy that can't be reached, aiohttp names that as the host.
    if proxy is not None:
        at_proxy = host_port(error.host, error.port) == proxy
        there += f": no connection to the proxy {proxy}" if at_proxy else f" through the proxy {proxy}"
    why = NoAnswer.BAD_CERTIFICATE if isinstance(cause, ssl.CertificateError) else NoAnswer.NO_CONNECTION
    return Unanswered(why, f"no connection to {there}: {said}")


def refused_by_proxy(there: str, proxy: str | None, status: int) -> Unanswered:
    """Say that it was a proxy that refused.

    Args:
        there: host and port of the server.
        proxy: those of the proxy.
        status: what it answered.
    """
    name = "the proxy" if proxy is None else f"the proxy {proxy}"
    phrase = responses.get(status)
    for_good = 400 <= status < 500 and status not in _PROXY_MAY_HEAL
    why = NoAnswer.PROXY_REFUSED if for_good else NoAnswer.NO_CONNECTION
    return Unanswered(why, f"no connection to {there}: {name} answered {status}{f' {phrase}' if phrase else ''}")


def _lost(error: Exception, there: str, through: str) -> Unanswered:
    # Of an error of TLS, aiohttp keeps the number, which is none of the operating system's.
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(error, aiohttp.ClientResponseError):
        why = "what came is not HTTP"
    elif isinstance(cause, ssl.SSLError) or (isinstance(cause, OSError) and cause.errno is not None):
        why = trouble_of(cause).said
    else:
        # A mock's is told with its place: somebody looks for the entry that is missing there.
        why = raised(error) if by_others(error) else "it was closed"
    return Unanswered(NoAnswer.CONNECTION_LOST, f"{NoAnswer.CONNECTION_LOST} from {there}{through} ({why})")
