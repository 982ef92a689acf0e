"""A client in a process of its own, which says how much memory each call took at its peak.

Reads a JSON object a line, ``{"url": …, "operation": …}``, and writes one.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import re
import sys
from pathlib import Path

from clarus_async import (
    AccessToken,
    AuthorizationCode,
    ClarusClient,
    ClarusError,
    ClientCredentials,
    IntegrationChanges,
    NewIntegration,
    RetryPolicy,
    Timeouts,
)

VERIFIER = "v" * 43


async def read_all(clarus):
    return [row async for row in clarus.integrations.list()]


OPERATIONS = {
    "create": lambda clarus: clarus.integrations.create(
        NewIntegration(name="A", integration_type="x"), on_unknown="raise"
    ),
    "update": lambda clarus: clarus.integrations.update(1, IntegrationChanges(name="A")),
    "delete": lambda clarus: clarus.integrations.delete(1),
    "synchronize": lambda clarus: clarus.integrations.synchronize(1),
    "list": read_all,
    "ping": lambda clarus: clarus.ping(),
    "mutation": lambda clarus: clarus.graphql("mutation { a }"),
    "token": lambda clarus: clarus.ping(),
}


def forget_the_peak():
    """Give back what is free, and begin a new peak."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def status(name):
    """A line of ``/proc/self/status``, in bytes. ``ru_maxrss`` would begin with the peak of the process before exec."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)[1]) * 1024


async def measure(url, operation):
    credentials = ClientCredentials("id", "secret") if operation == "token" else AccessToken("x")
    options = {"timeouts": Timeouts(attempt=20.0), "retry": RetryPolicy(max_attempts=2, base=0.001)}
    async with ClarusClient("acme", credentials, base_url=url, **options) as clarus:
        forget_the_peak()
        before = status("VmRSS")
        error = None
        try:
            if operation == "exchange":
                await AuthorizationCode("id", "secret", "https://x.example", base_url=url).exchange("code", VERIFIER)
            else:
                await OPERATIONS[operation](clarus)
        except ClarusError as caught:
            error = caught
        growth = status("VmHWM") - before
    cause = error and error.__cause__
    return {
        "growth": growth,
        "error": error and type(error).__name__,
        "cause": cause and type(cause).__name__,
        "text": str(error),
        "applied": error and error.applied,
        "attempts": error and error.attempts,
    }


def main():
    import tenacity  # noqa: F401 - what is imported on a first failure is no growth of a call

    for line in sys.stdin:
        sys.stdout.write(json.dumps(asyncio.run(measure(**json.loads(line)))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
