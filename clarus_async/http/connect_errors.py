"""Errors of sockets, resolvers and TLS, in words, and whether they may pass.

Nothing that a server, a resolver or a library wrote is repeated, only what the operating system and OpenSSL call it.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import Final, NamedTuple


class ConnectionProblem(NamedTuple):
    """What went wrong with a connection, and whether it may pass while nobody changes a setting."""

    message: str
    transient: bool = True


# OpenSSL's X509_V_ERR_*, for which Python has no names.
_CERTIFICATE: Final = {
    2: "its issuer is unknown (unknown CA)",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself",
    19: "its chain ends in one that is signed by itself (unknown CA)",
    20: "its issuer is unknown (unknown CA)",
    21: "its issuer is unknown (unknown CA)",
    23: "it was revoked",
    62: "it is for another host",
    64: "it is for another IP address",
}
BAD_CERTIFICATE: Final = "the server's certificate is not valid"
_NO_TLS: Final = "what answers there speaks no TLS"
_NOT_AGREED: Final = "the TLS handshake was refused: no version or cipher in common, or a client certificate is wanted"
_CLIENT_CERTIFICATE: Final = "the server wants a client certificate, or another one"
# Python's names of OpenSSL's reasons; one that is not here, such as an internal error, may pass.
_TLS: Final = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNKNOWN_PROTOCOL": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NOT_AGREED,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NOT_AGREED,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": _NOT_AGREED,
    "UNSUPPORTED_PROTOCOL": _NOT_AGREED,
    "WRONG_SSL_VERSION": _NOT_AGREED,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _CLIENT_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _CLIENT_CERTIFICATE,
    "TLSV1_ALERT_ACCESS_DENIED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _CLIENT_CERTIFICATE,
}


def connection_problem(error: BaseException) -> ConnectionProblem:
    """Return what an error means that the standard library raised for a socket, a resolver or TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = getattr(error, "verify_code", None)
        why = _CERTIFICATE.get(code) or getattr(error, "verify_message", None) if code is not None else None
        return ConnectionProblem(f"{BAD_CERTIFICATE}: {why}" if why else BAD_CERTIFICATE, transient=False)
    if isinstance(error, ssl.SSLError):
        if (message := _TLS.get(error.reason or "")) is not None:
            return ConnectionProblem(message, transient=False)
        return ConnectionProblem("the TLS connection failed" + (f" ({error.reason})" if error.reason else ""))
    if isinstance(error, socket.gaierror):
        return ConnectionProblem(f"the name could not be resolved ({error.strerror})")
    if isinstance(error, TimeoutError):
        return ConnectionProblem("it took too long")
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return ConnectionProblem(os.strerror(error.errno))
    # asyncio gives no number where the other side closes a connection that is being made.
    return ConnectionProblem("it was cut off" if isinstance(error, ConnectionError) else "the reason is unknown")


def host_port(host: str | None, port: int | None) -> str:
    """Return ``host:port``, the part of a URL that is fit to be shown."""
    name = f"[{host}]" if host is not None and ":" in host else host or "?"
    return name if port is None else f"{name}:{port}"
