"""A Clarus server to test against: real HTTP, the documented behaviour, quotas and faults (CLARUS_API.md).

# Test your own service

The pytest plugin comes with the package (extra `simulator`) and gives two fixtures: `clarus_simulator`, and
`clarus_client`, a client of its tenant `acme`. With pytest-asyncio, and `asyncio_mode = "auto"` in pytest's settings:

```python
from clarus_async import NewIntegration
from clarus_async.simulator import Endpoint, FaultKind


async def test_a_lost_answer_is_not_a_lost_record(clarus_simulator, clarus_client):
    clarus_simulator.script(Endpoint.CREATE, FaultKind.RESET_AFTER)
    shop = await clarus_client.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))
    assert [stored.id for stored in clarus_simulator.integrations("acme")] == [shop.id]
```

Each test has a simulator of its own. Override the fixture `clarus_simulator_options` to change the arguments of
`Simulator`. Faults come by script or with a probability, quotas are those of real limiters, and there may be several
tenants. `clarus_simulator.requests` is what arrived; `created(tenant)` is the ledger of everything that was ever
stored:

```python
from clarus_async import NewIntegration
from clarus_async.simulator import Endpoint, Fault, Quota


async def test_a_quota_is_kept_and_nothing_is_there_twice(clarus_simulator, clarus_client):
    clarus_simulator.set_quota(Quota(limit=50, headers="ietf"))
    clarus_simulator.set_faults([Fault("error_after", endpoint=Endpoint.CREATE, probability=0.1)])
    specs = [NewIntegration(name=f"Shop {number}", integration_type="shopify") for number in range(20)]
    async with clarus_client.integrations.provision(specs) as run:
        outcomes = [outcome async for outcome in run]
    stored = clarus_simulator.created("acme")
    assert [outcome.status.ok for outcome in outcomes] == [True] * 20 == [True] * len(stored)
    assert sum(request.status == 429 for request in clarus_simulator.requests) <= 1
```

`Simulator` says which arguments there are, `FaultKind` which faults, and `Quota` which limiters.

# Virtual time

Client and simulator keep time by the event loop and by nothing else. On a loop whose clock jumps, such as that of
[async-solipsism](https://pypi.org/project/async-solipsism/), an hour passes at once:

```python
import asyncio
import warnings
from unittest.mock import patch

import async_solipsism
from async_solipsism.exceptions import ResolutionWarning

from clarus_async import ClarusClient, NewIntegration
from clarus_async.simulator import Endpoint, Fault, Simulator


def test_an_answer_that_is_lost_is_settled_within_a_minute():
    async def scenario():
        async with Simulator() as simulator:
            simulator.script(Endpoint.CREATE, Fault("late_apply", delay=50.0))
            async with ClarusClient("acme", simulator.credentials, base_url=simulator.url) as clarus:
                await clarus.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))
            assert len(simulator.created("acme")) == 1
            assert 50.0 < asyncio.get_running_loop().time() < 61.0

    connect = "aiohttp.connector.aiohappyeyeballs.start_connection"
    with patch(connect, async_solipsism.aiohappyeyeballs_start_connection), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResolutionWarning)
        with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
            runner.run(scenario())
```

# Mocks

Tests that use [aioresponses](https://pypi.org/project/aioresponses/) may keep it. Import it from here: its release
0.7.9 can't build responses of current versions of aiohttp by itself.

```python
from clarus_async import AccessToken, ClarusClient
from clarus_async.simulator.aioresponses import aioresponses


async def test_an_integration_is_deleted():
    with aioresponses() as mock:
        mock.delete("https://clarus-api.com/api/integrations/7", status=204)
        async with ClarusClient("acme", AccessToken("token")) as clarus:
            await clarus.integrations.delete(7)
```

Where a test wants a client that does nothing, `create_autospec` makes one whose methods can be awaited and take the
arguments of the real ones:

```python
from unittest.mock import create_autospec

from clarus_async import ClarusClient, Integration, NewIntegration


async def test_what_is_created_is_answered_with():
    clarus = create_autospec(ClarusClient, instance=True)
    clarus.integrations.create.return_value = Integration(id=7, name="Shop")
    shop = await clarus.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))
    assert shop.id == 7
```

# Other languages

`clarus simulator` serves the simulator on its own, prints its URL and its credentials as JSON, and serves until Ctrl-C:

```sh
clarus simulator --port 8080 --tenant acme --quota 100/1 --faults 0.03
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clarus_async.simulator.app import Simulator
    from clarus_async.simulator.faults import Endpoint, Fault, FaultKind
    from clarus_async.simulator.log import LoggedRequest
    from clarus_async.simulator.quota import Quota
    from clarus_async.simulator.state import StoredRecord

__all__ = ["Endpoint", "Fault", "FaultKind", "LoggedRequest", "Quota", "Simulator", "StoredRecord"]

# Resolved on first use: pytest imports this package in every run of everyone who has it installed.
_HOMES = {
    "Endpoint": "faults",
    "Fault": "faults",
    "FaultKind": "faults",
    "LoggedRequest": "log",
    "Quota": "quota",
    "Simulator": "app",
    "StoredRecord": "state",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module the first time it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
