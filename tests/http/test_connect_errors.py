"""What keeps a connection from being made, in words."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from clarus_async.http.connect_errors import connection_problem, host_port

CANARY = "canary-in-a-text"


def certificate(code, message=CANARY):
    error = ssl.SSLCertVerificationError(1, CANARY)
    error.verify_code, error.verify_message = code, message
    return error


def tls(reason):
    error = ssl.SSLError(1, CANARY)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (certificate(20), "the server's certificate is not valid: its issuer is unknown (unknown CA)"),
        (certificate(10), "the server's certificate is not valid: it has expired"),
        (certificate(26, "unsupported certificate purpose"), "is not valid: unsupported certificate purpose"),
        (ssl.SSLCertVerificationError("Hostname mismatch"), "the server's certificate is not valid"),
        (tls("WRONG_VERSION_NUMBER"), "what answers there speaks no TLS"),
        (tls("TLSV1_ALERT_PROTOCOL_VERSION"), "no version or cipher in common"),
        (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "the server wants a client certificate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_waiting_heals(error, said):
    trouble = connection_problem(error)
    assert said in trouble.message
    assert not trouble.transient
    assert CANARY not in trouble.message


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (tls("TLSV1_ALERT_INTERNAL_ERROR"), "the TLS connection failed (TLSV1_ALERT_INTERNAL_ERROR)"),
        (tls(None), "the TLS connection failed"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "could not be resolved (Name or service"),
        (TimeoutError(CANARY), "it took too long"),
        (ConnectionResetError(CANARY), "it was cut off"),
        (OSError(errno.ECONNREFUSED, CANARY), "Connection refused"),
        (OSError(CANARY), "the reason is unknown"),
        (ValueError(CANARY), "the reason is unknown"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_may_pass(error, said):
    trouble = connection_problem(error)
    assert said in trouble.message
    assert trouble.transient
    assert CANARY not in trouble.message


@pytest.mark.parametrize(
    ("place", "said"),
    [(("h.test", 443), "h.test:443"), (("::1", 6379), "[::1]:6379"), (("h.test", None), "h.test"), ((None, 1), "?:1")],
)
def test_a_place_has_a_name(place, said):
    assert host_port(*place) == said
