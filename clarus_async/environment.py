"""The client's settings as ``CLARUS_*`` environment variables give them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from clarus_async.config import DEFAULT_BASE_URL, base_url_problem, subdomain_problem
from clarus_async.credentials import (
    AccessToken,
    ClientCredentials,
    Credentials,
    RefreshToken,
    bearer_problem,
    scopes_problem,
    vschar_problem,
)
from clarus_async.errors import ConfigurationError

VARIABLES = (
    "CLARUS_SUBDOMAIN", "CLARUS_CLIENT_ID", "CLARUS_CLIENT_SECRET", "CLARUS_SCOPES",
    "CLARUS_ACCESS_TOKEN", "CLARUS_REFRESH_TOKEN", "CLARUS_BASE_URL",
)  # fmt: skip


class Environment(NamedTuple):
    """The settings that were read."""

    subdomain: str
    credentials: Credentials
    base_url: str


def read_environment(
    overrides: Mapping[str, Any], environ: Mapping[str, str] | None = None, *, allow_http: bool = False
) -> Environment:
    """Read the settings that are not overridden, and name all that is missing or bad at once.

    Raises:
        ConfigurationError: variables are missing or bad; the message names each.
    """
    result = _read(overrides, os.environ if environ is None else environ, allow_http=allow_http)
    # What was read may hold secrets, and error trackers send the variables of the frame that raises.
    del overrides, environ
    if isinstance(result, Environment):
        return result
    raise ConfigurationError("; ".join(result))


def _read(overrides: Mapping[str, Any], environ: Mapping[str, str], *, allow_http: bool) -> Environment | list[str]:
    values = {name: text for name in VARIABLES if (text := environ.get(name, "").strip())}
    problems: list[str] = []

    subdomain = overrides.get("subdomain", values.get("CLARUS_SUBDOMAIN"))
    if subdomain is None:
        problems.append("CLARUS_SUBDOMAIN is missing")
    elif problem := subdomain_problem(subdomain):
        problems.append(f"CLARUS_SUBDOMAIN: {problem}")

    base_url = overrides.get("base_url", values.get("CLARUS_BASE_URL", DEFAULT_BASE_URL))
    if problem := base_url_problem(base_url, allow_http=allow_http):
        problems.append(f"CLARUS_BASE_URL: {problem}")

    credentials = overrides.get("credentials")
    if credentials is None:
        credentials = _credentials_from(values, problems)
    if problems or credentials is None:
        return problems
    return Environment(subdomain=str(subdomain), credentials=credentials, base_url=base_url)


def _credentials_from(values: Mapping[str, str], problems: list[str]) -> Credentials | None:
    access_token = values.get("CLARUS_ACCESS_TOKEN")
    if access_token is not None:
        if problem := bearer_problem(access_token):
            problems.append(f"CLARUS_ACCESS_TOKEN: {problem}")
            return None
        return AccessToken(access_token)
    pair = ("CLARUS_CLIENT_ID", "CLARUS_CLIENT_SECRET")
    missing = [name for name in pair if name not in values]
    problems += [f"{name} is missing (or give CLARUS_ACCESS_TOKEN)" for name in missing]
    scopes = tuple(values.get("CLARUS_SCOPES", "").replace(",", " ").split())
    bad = {name: vschar_problem(values[name]) for name in (*pair, "CLARUS_REFRESH_TOKEN") if name in values}
    bad["CLARUS_SCOPES"] = scopes_problem(scopes)
    problems += [f"{name}: {problem}" for name, problem in bad.items() if problem]
    if missing or any(bad.values()):
        return None
    client_id, client_secret = (values[name] for name in pair)
    if (refresh_token := values.get("CLARUS_REFRESH_TOKEN")) is not None:
        return RefreshToken(client_id, client_secret, refresh_token)
    return ClientCredentials(client_id, client_secret, scopes)
