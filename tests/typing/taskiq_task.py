"""The documentation's task of taskiq."""

import os
from typing import Any

from taskiq import InMemoryBroker

from clarus_async import ClarusClient
from clarus_async.fleet.shard_store import ShardStore, connect
from clarus_async.fleet.shards import Shard
from clarus_async.fleet.worker import run_to_end

broker = InMemoryBroker()  # or yours
clarus = ClarusClient.from_env()


@broker.task(retry_on_error=True)
async def provision_shard(message: dict[str, Any]) -> None:
    shard = Shard.from_dict(message)
    async with connect(os.environ["CLARUS_REDIS"]) as redis:
        await run_to_end(ShardStore(redis, shard.run), clarus, shard)
