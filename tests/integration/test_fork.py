"""A client that was made before a fork, as servers with workers do that load an application first."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, sys
from clarus_async import AccessToken, ClarusClient, NewIntegration

client = ClarusClient("acme", AccessToken("t"))
new = NewIntegration(name="Shop", integration_type="shopify")

async def key():
    return client.integrations._creation.draft(new).idempotency_key

if sys.argv[1] == "used":
    print(asyncio.run(key()), flush=True)
for _ in range(3):
    if os.fork() == 0:
        print(asyncio.run(key()), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("before", ["made", "used"])
def test_no_two_processes_give_the_same_idempotency_key(before):
    done = subprocess.run([sys.executable, "-c", PROGRAM, before], capture_output=True, text=True, check=True)
    keys = done.stdout.split()
    assert len(keys) == len(set(keys)) == (4 if before == "used" else 3)
