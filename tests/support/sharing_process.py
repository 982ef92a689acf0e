"""A process of several that share a pace, and so a token: calls for a while, and says what became of them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from clarus_async import ClarusClient, ClarusError, ClientCredentials, NewIntegration
from clarus_async.fleet.redis import RedisPacing


async def main(redis: str, base_url: str, seconds: float, secret: str) -> None:
    ended: Counter[str] = Counter()
    pacing = RedisPacing(url=redis, rate=100.0, timeout=5.0)
    async with ClarusClient("acme", ClientCredentials("the-id", secret), base_url=base_url, pacing=pacing) as clarus:
        until = asyncio.get_running_loop().time() + seconds

        async def keep_calling() -> None:
            while asyncio.get_running_loop().time() < until:
                try:
                    await clarus.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))
                except ClarusError as error:
                    ended[str(error)] += 1
                else:
                    ended["ok"] += 1

        await asyncio.gather(*(keep_calling() for _ in range(4)))
    sys.stdout.write(json.dumps(ended))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]))
