"""The documentation's activity of Temporal."""

import os
from typing import Any

from temporalio import activity

from clarus_async import ClarusClient
from clarus_async.fleet.shard_store import ShardStore, connect
from clarus_async.fleet.shards import Shard
from clarus_async.fleet.worker import run_to_end

clarus = ClarusClient.from_env()


@activity.defn
async def provision_shard(message: dict[str, Any]) -> None:
    shard = Shard.from_dict(message)
    async with connect(os.environ["CLARUS_REDIS"]) as redis:
        await run_to_end(ShardStore(redis, shard.run), clarus, shard)
