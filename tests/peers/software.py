"""Gateways and limiters in front of the origin, each as its makers ship it: what is given here is its configuration."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tests.peers.support import NODE_JS, RUBY, Need, gem, node, node_package, program, python_package
from tests.support.process import Process


class Peer(Protocol):
    """What stands between the client and the origin."""

    needs: ClassVar[tuple[Need, ...]]
    forward: bool  # the client's own proxy, which the origin knows nothing of; else it is in the origin's place

    def process(self, origin: int) -> Process:
        """Return it, not started yet, in front of the origin at this port of 127.0.0.1."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nginx:
    """nginx with directives for ``http``, ``upstream`` and ``location /``; the origin may be several of its servers."""

    http: str = ""
    location: str = ""
    servers: int = 1
    upstream: str = ""
    forward: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = (program("nginx"),)

    def process(self, origin: int) -> Process:
        def command(folder: Path, port: int) -> Sequence[str]:
            paths = "\n".join(
                f"{of}_temp_path {folder}/{of};" for of in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            (folder / "nginx.conf").write_text(f"""
                daemon off; worker_processes 1; pid {folder}/pid; error_log stderr warn;
                events {{ worker_connections 1024; }}
                http {{
                    access_log off; {paths}
                    upstream origin {{ {f"server 127.0.0.1:{origin} max_fails=0;" * self.servers} {self.upstream} }}
                    {self.http}
                    server {{
                        listen 127.0.0.1:{port};
                        location / {{ proxy_pass http://origin; {self.location} }}
                    }}
                }}
            """)
            return "nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")

        return Process(command)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Haproxy:
    """HAProxy with lines for ``defaults`` and for its frontend and backend, and words for the origin's ``server``."""

    defaults: str = ""
    frontend: str = ""
    backend: str = ""
    server: str = ""
    forward: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = (program("haproxy"),)

    def process(self, origin: int) -> Process:
        def command(folder: Path, port: int) -> Sequence[str]:
            (folder / "haproxy.cfg").write_text(f"""
                defaults
                    mode http
                    timeout connect 2s
                    timeout client 60s
                    timeout server 60s
                    {self.defaults}
                frontend entrance
                    bind 127.0.0.1:{port}
                    {self.frontend}
                    default_backend api
                backend api
                    {self.backend}
                    server origin 127.0.0.1:{origin} {self.server}
            \n""")
            return "haproxy", "-db", "-f", str(folder / "haproxy.cfg")

        return Process(command)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Varnish:
    """Varnish with its built-in VCL after ``vcl``, fields of its backend, and run-time parameters."""

    first_byte_timeout: float = 60.0  # how many seconds the origin has
    backend: str = ""
    vcl: str = ""
    parameters: tuple[str, ...] = ()
    forward: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = (program("varnishd", "varnish"),)

    def process(self, origin: int) -> Process:
        def command(folder: Path, port: int) -> Sequence[str]:
            (folder / "default.vcl").write_text(f"""
                vcl 4.1;
                backend origin {{
                    .host = "127.0.0.1"; .port = "{origin}"; .first_byte_timeout = {self.first_byte_timeout}s;
                    {self.backend}
                }}
                {self.vcl}
            """)
            files = "-n", str(folder / "work"), "-f", str(folder / "default.vcl"), "-s", "malloc,16m"
            parameters = (part for parameter in self.parameters for part in ("-p", parameter))
            return "varnishd", "-F", "-j", "none", "-a", f"127.0.0.1:{port}", *files, *parameters

        return Process(command)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Squid:
    """Squid, as an accelerator in the origin's place or as the client's proxy, with further directives."""

    forward: bool = False
    directives: str = ""
    needs: ClassVar[tuple[Need, ...]] = (program("squid"),)

    def process(self, origin: int) -> Process:
        def command(folder: Path, port: int) -> Sequence[str]:
            entrance = f"http_port 127.0.0.1:{port}"
            if not self.forward:
                entrance += (
                    " accel no-vhost defaultsite=127.0.0.1\n"
                    f"cache_peer 127.0.0.1 parent {origin} 0 no-query originserver login=PASSTHRU connection-auth=off"
                )
            (folder / "squid.conf").write_text("\n".join([
                entrance,
                "http_access allow localhost",
                "cache deny all",
                "access_log none",
                f"cache_log {folder}/log",
                f"pid_filename {folder}/pid",
                f"coredump_dir {folder}",
                "pinger_enable off",
                "shutdown_lifetime 0 seconds",
                "visible_hostname gateway.example",
                self.directives,
                "",
            ]))  # fmt: skip
            return "squid", "--foreground", "-f", str(folder / "squid.conf")

        return Process(command)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpressRateLimit:
    """express-rate-limit with these options of its own."""

    options: dict[str, Any]
    # The number of one request that is refused although the limiter let it through, for a second; 0: none
    stray: int = 0
    forward: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = (NODE_JS, node_package("express"), node_package("express-rate-limit"))

    def process(self, origin: int) -> Process:
        return node("express_rate_limit.js", str(origin), json.dumps(self.options), str(self.stray))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateLimiterFlexible:
    """rate-limiter-flexible's limiter in memory with these options of its own."""

    options: dict[str, Any]
    forward: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = (NODE_JS, node_package("rate-limiter-flexible"))

    def process(self, origin: int) -> Process:
        return node("rate_limiter_flexible.js", str(origin), json.dumps(self.options))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slowapi:
    """slowapi with a limit such as ``100/second``; ``strategy`` is one of the limits package's."""

    limit: str
    strategy: str = "fixed-window"
    forward: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = (
        python_package("slowapi"),
        python_package("fastapi"),
        python_package("uvicorn"),
    )

    def process(self, origin: int) -> Process:
        def command(folder: Path, port: int) -> Sequence[str]:
            server = str(Path(__file__).with_name("slowapi_server.py"))
            return sys.executable, server, str(port), str(origin), self.limit, self.strategy

        return Process(command)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RackAttack:
    """rack-attack with a throttle: ``limit`` requests in each ``period``, in seconds, which begins with the clock's."""

    limit: int
    period: int
    forward: ClassVar[bool] = False
    needs: ClassVar[tuple[Need, ...]] = (program("puma"), gem("rack-attack"))

    def process(self, origin: int) -> Process:
        def command(folder: Path, port: int) -> Sequence[str]:
            return "puma", "-q", "-b", f"tcp://127.0.0.1:{port}", "-t", "16:16", str(RUBY / "rack_attack.ru")

        return Process(command, {"ORIGIN": f"{origin}", "LIMIT": f"{self.limit}", "PERIOD": f"{self.period}"})
