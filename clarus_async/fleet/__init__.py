"""Many processes and machines: a shared rate limit, and one file that many machines provision (Redis, Celery).

# Share a rate limit between processes

Processes that have one quota between them, such as the workers of a web service, can share their rate limiter and their
token through Redis (extra `redis`):

```python
from clarus_async import ClarusClient, ClientCredentials
from clarus_async.fleet.redis import RedisPacing

pacing = RedisPacing(url="redis://127.0.0.1:6379/0")
async with ClarusClient("acme", ClientCredentials("id", "secret"), pacing=pacing) as clarus:
    await clarus.ping()
```

One process leads and has the limiter. It grants the others the times at which they may send, by the clock of Redis. If
it dies, another takes over within two seconds and continues with what was learned. While Redis is down, each process
keeps to its part of the last rate; it logs that once, and returns to the shared limiter by itself. If Redis refuses for
good (a wrong password, an unknown certificate), calls raise `ConfigurationError`.

The processes share the token of their `ClientCredentials` as well, so that none ends another's where the server keeps
one token for each client. In Redis it is encrypted with a key derived from the client's secret.

With one or two uvicorn workers and as many scripts on a quota of 100 requests a second that no header tells of, 0.98 to
1.00 of the quota is used, and 0.5 to 2.2 % of the requests of the first 20 seconds are refused
(`python -m benchmarks.shared_pace --seconds 20`).

# The URL of Redis

`redis://`, `rediss://` or `unix://`, for Celery as well. Percent-encode special characters in the password (`#` is
`%23`). `rediss://` verifies the certificate and the host name; `?ssl_ca_certs=/path/ca.pem` names your own CA. The
other options are `ssl_certfile`, `ssl_keyfile`, `ssl_check_hostname`, `ssl_cert_reqs` and `db`. The password is never
logged.

# Provision a file with many machines

One process provisions as fast as most tenants allow. Where it does not, or where machines come and go, Celery workers
can share a file (extra `celery`, with Redis as the broker). On each machine, with the client's `CLARUS_*` variables in
its environment:

```sh
CLARUS_CELERY_BROKER=redis://redis.internal celery -A clarus_async.fleet.celery worker --concurrency 1
```

And on one of them, with a file that all of them can read:

```sh
clarus provision /shared/integrations.csv --celery redis://redis.internal
```

The file is checked and split into shards of 1,000 records (`--shard-size`), one task each. Outcomes, summary and exit
status are those of a run on one machine, and the same command continues where it stopped. Redis holds where in the file
a shard's records are, and their keys, ids and outcomes: no record, no configuration and no credentials. A key that is
in the file twice is found while the file is split. Records that can only be looked up by a name that they share go into
one shard.

Each shard has a lease in Redis, and only the owner of the lease sends: the lease is checked right before a request is
written. A worker may be killed, stopped or cut off at any moment. When its lease (30 seconds) has ended, another worker
waits for `settle` (60 seconds), looks up the records that have no outcome yet, and sends what is not there. So nothing
is lost, and nothing is there twice if the server applies a request within `settle`. Celery may deliver a task twice or
lose it: the lease decides who works on the shard, and the coordinator sends lost tasks out again. That is why
`existing` must be `adopt` or `update` here.

What remains is the microsecond between the check of the lease and the socket: a process that is stopped exactly there,
for longer than its lease and `settle`, would still send one request.

Configure Redis to write an append-only file, so that a restart costs seconds. If it loses the run, the same command
starts again and adopts what is there.

# Other task queues

The same coroutine is an activity of Temporal:

```python
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
```

And a task of taskiq:

```python
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
```

`clarus_async.fleet.split_file` makes the shards. `clarus_async.fleet.coordinator.Coordinator` sends them out and
collects the outcomes. For settings of your own, such as other timeouts, make your own Celery application:
`make_app(url, client=lambda: ClarusClient.from_env(...))` from `clarus_async.fleet.celery`.
"""

# What is documented of this room; each module is imported by who needs it.
__all__ = ["celery", "coordinator", "lease", "redis", "shard_store", "shards", "split_file", "worker"]
