"""Makes the journals beside this file, with the release that is imported: settled, in doubt, in flight and waiting.

``git worktree add /tmp/earlier <commit> && PYTHONPATH=/tmp/earlier python tests/data/journals/make.py 1`` writes
``v1-closed.db``, ``v1-killed.db`` with its WAL, and ``v1-server.json``: what the server has stored by then.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from clarus_async import ClarusClient, ClarusError, ClientCredentials, NewIntegration, Timeouts
from clarus_async.reconcile.reconciler import Reconciler
from clarus_async.simulator import Endpoint, Fault, FaultKind, Simulator

BASE_URL = "https://clarus.test"
"""Where the journals say that the API is."""

_TIMEOUTS = Timeouts(attempt=0.5, settle=1.0, deadline=20.0)


def shop(number, **more):
    """A record of the job."""
    fields = {"name": f"Shop {number}", "integration_type": "shopify", "external_system_reference1": f"ref-{number}"}
    return NewIntegration(**fields | {"string1": "one", "configuration": {"api_key": f"key-{number}"}} | more)


def at_base_url(terms):
    """The terms of a client, whose API is where the journals say."""
    return property(lambda creation: terms.fget(creation)._replace(base_url=BASE_URL))


async def provision(url, credentials, journal, existing, numbers):
    """Run as a process of its own does."""
    Reconciler.terms = at_base_url(Reconciler.terms)
    async with ClarusClient("acme", credentials, base_url=url, timeouts=_TIMEOUTS) as clarus:
        run = clarus.integrations.provision(map(shop, numbers), journal=journal, existing=existing, concurrency=2)
        try:
            async for outcome in run:
                print(outcome)
        except ClarusError as error:
            print(error)


async def make(version, folder):
    """Make them."""
    here, journal = Path(__file__).parent, folder / "run.db"
    async with Simulator() as sim:
        credentials = sim.credentials

        async def begin(existing, *numbers):
            arguments = [
                sim.url,
                credentials.client_id,
                credentials.client_secret,
                str(journal),
                existing,
                *map(str, numbers),
            ]
            return await asyncio.create_subprocess_exec(sys.executable, __file__, *arguments)

        old = [{"name": f"Shop {number}", "integration_type": "shopify", "is_active": False} for number in (1, 2, 4, 4)]
        sim.preload("acme", old)
        for number, *faults in (
            (0, None),
            (3, Fault(FaultKind.ERROR_BEFORE, status=422)),
            (5, Fault(FaultKind.LATE_APPLY, delay=2.5), None),
            (6, FaultKind.RESET_AFTER),
        ):
            sim.script(Endpoint.CREATE, *faults)
            await (await begin("adopt", number)).wait()
        await (await begin("adopt", 1, 4)).wait()
        sim.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
        sim.script(Endpoint.GRAPHQL, None, None, *[FaultKind.FORBIDDEN] * 2)
        await (await begin("adopt", 7)).wait()
        sim.script(Endpoint.GRAPHQL)
        await (await begin("update", 2, 8)).wait()
        shutil.copy(journal, here / f"v{version}-closed.db")
        before = sim.count(Endpoint.CREATE)
        stalls = FaultKind.STALL_AFTER, FaultKind.STALL_BEFORE
        sim.script(Endpoint.CREATE, *[Fault(kind, delay=60.0) for kind in stalls])
        child = await begin("adopt", 9, 10, 11, 12)
        while sim.count(Endpoint.CREATE) < before + 2:
            await asyncio.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        await child.wait()
        for suffix in ("", "-wal"):
            shutil.copy(f"{journal}{suffix}", here / f"v{version}-killed.db{suffix}")
        stored = [[record.id, record.attributes, record.created_at.isoformat()] for record in sim.created("acme")]
        (here / f"v{version}-server.json").write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 2:
        url, client_id, secret, journal, existing, *numbers = sys.argv[1:]
        asyncio.run(provision(url, ClientCredentials(client_id, secret), journal, existing, map(int, numbers)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(make(sys.argv[1], Path(folder)))
