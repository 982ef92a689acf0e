"""From the command line and the environment to a client, and to the resource that the command is about."""

from __future__ import annotations

import contextlib
import difflib
import io
import ipaddress
import logging
import os
import stat
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

from clarus_async.cli.streams import open_stdin, read_up_to
from clarus_async.client import ClarusClient, ClientOptions
from clarus_async.config import Timeouts
from clarus_async.environment import VARIABLES, read_environment
from clarus_async.errors import ConfigurationError
from clarus_async.http.session import proxied_session

_log = logging.getLogger("clarus_async")
_LONGEST: Final = 2**16  # bytes of a file of settings
_SECRET: Final = "CLARUS_CLIENT_SECRET"  # noqa: S105  its name


def connect(args: SimpleNamespace, *, max_connections: int = 64) -> AbstractAsyncContextManager[ClarusClient]:
    """Check the settings, and return what opens the client; options win over files, and these over the environment.

    Raises:
        ConfigurationError: settings are missing or bad; the message names each.
    """
    options: ClientOptions = {"max_connections": max_connections, "allow_http": args.allow_http}
    overrides = {name: value for name in ("subdomain", "base_url") if (value := getattr(args, name)) is not None}
    if args.deadline is not None:
        options["timeouts"] = Timeouts(deadline=args.deadline)
    try:
        given = read_environment(overrides, _variables(args), allow_http=args.allow_http)
    except ConfigurationError as error:
        text = str(error)
        for name in overrides:
            text = text.replace(f"CLARUS_{name.upper()}: {name}: ", f"--{name.replace('_', '-')}: ")
        raise ConfigurationError(text) from None
    options |= {"subdomain": given.subdomain, "credentials": given.credentials, "base_url": given.base_url}
    proxy = _proxy(given.base_url)
    client = ClarusClient(**options)
    return client if proxy is None else _through(proxy, options)


def resource_of(client: ClarusClient, args: SimpleNamespace) -> Any:  # noqa: ANN401  any resource's class
    """Return what makes the calls of a command."""
    return getattr(client, args.resource.name)


def require_operation(args: SimpleNamespace, operation: str) -> None:
    """Raise ``ConfigurationError`` where the API has no such operation for the resource of a command."""
    if not hasattr(getattr(ClarusClient, args.resource.name), operation):
        raise ConfigurationError(f"{args.command}: the API has no such operation for {args.resource.name}")


def _variables(args: SimpleNamespace) -> Mapping[str, str]:
    variables = dict(os.environ)
    if args.env_file is not None:
        variables |= _env_file(args.env_file)
    if args.client_secret_file is not None:
        variables[_SECRET] = _read(args.client_secret_file, "--client-secret-file").strip()
    return variables


def _env_file(path: str) -> dict[str, str]:
    """Read the variables of a file that only its owner can read.

    Raises:
        ConfigurationError: others can read it, or it can't be read.
    """
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise ConfigurationError("--env-file needs an extra: pip install 'clarus-async[cli]'") from None
    text = _read(path, "--env-file", owned=True)
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    known = (*VARIABLES, "CLARUS_CELERY_BROKER", "CLARUS_LOG")
    for name in values:
        if name.startswith("CLARUS_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigurationError(
                f"--env-file: {path}: {name} is unknown" + (f"; did you mean {near[0]}?" if near else "")
            )
    return {name: value for name, value in values.items() if name in known and value is not None}


def _read(path: str, option: str, *, owned: bool = False) -> str:
    try:
        with open_stdin() if path == "-" else Path(path).open("rb") as file:
            about = os.fstat(file.fileno())
            if owned and stat.S_ISREG(about.st_mode) and about.st_mode & 0o077:
                raise ConfigurationError(
                    f"{option}: {path} can be read by others (its mode is {stat.S_IMODE(about.st_mode):04o}):"
                    f" chmod 600 {path}"
                )
            content = read_up_to(file, _LONGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"{option}: {path}: {error.strerror}") from None
    if len(content) > _LONGEST:
        raise ConfigurationError(f"{option}: {path} is longer than {_LONGEST:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        del content
        raise ConfigurationError(f"{option}: {path} is not UTF-8") from None


def _proxy(base_url: str) -> str | None:
    """Return the proxy that ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY`` name for a URL, if any.

    As in other tools, this machine itself is never asked through a proxy.
    """
    url, proxies = urlsplit(base_url), urllib.request.getproxies()
    host = url.hostname or ""
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy is None or _is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    name = f"{url.scheme.upper()}_PROXY"
    try:
        at = urlsplit(proxy)
        usable = at.scheme in {"http", "https"} and bool(at.hostname) and at.port != 0
    except ValueError:
        usable = False
    if not usable:
        # It may have a password in it.
        del proxy, proxies
        raise ConfigurationError(f"{name}: must be a URL such as http://proxy.example:3128; SOCKS is not supported")
    _log.info("requests go through the proxy %s", at.hostname)
    return proxy


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.asynccontextmanager
async def _through(proxy: str, options: ClientOptions) -> AsyncGenerator[ClarusClient]:
    async with (
        proxied_session(proxy, options["max_connections"]) as session,
        ClarusClient(**options | {"session": session}) as client,
    ):
        yield client
