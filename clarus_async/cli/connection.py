"""From the command line and the environment to a client, and to the resource that the command is about."""

from __future__ import annotations

import argparse
from typing import Any

from clarus_async.client import ClarusClient, ClientOptions
from clarus_async.config import Timeouts


def connect(args: argparse.Namespace, *, max_connections: int = 64) -> ClarusClient:
    """Make a client; options win over the environment."""
    options: ClientOptions = {"max_connections": max_connections, "allow_http": args.allow_http}
    if args.subdomain is not None:
        options["subdomain"] = args.subdomain
    if args.base_url is not None:
        options["base_url"] = args.base_url
    if args.deadline is not None:
        options["timeouts"] = Timeouts(deadline=args.deadline)
    return ClarusClient.from_env(**options)


def resource_of(client: ClarusClient, args: argparse.Namespace) -> Any:  # noqa: ANN401  any resource's class
    """Return what makes the calls of a command."""
    return getattr(client, args.resource.name)
