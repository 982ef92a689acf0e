"""Certificates of an authority of a test's own."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trustme


@pytest.fixture(scope="module", name="authority")
def authority_fixture() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, host: str = "127.0.0.1", **more: Any) -> ssl.SSLContext:
    """Return what a server of this name shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, **more).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    """Return what trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
