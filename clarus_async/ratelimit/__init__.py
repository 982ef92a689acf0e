"""Rate limits: how a tenant's limit is kept, and how it is found where nobody documents it.

# Rate limits

The vendor limits how fast an account may call the API, but documents neither the limit nor the headers that tell of it
(CLARUS_API.md §2). So the client has a rate limiter for each tenant, which finds the limit from what the server admits
and refuses.

It starts with a few requests at a time and lets more out as answers come back (slow start). From the first refusal on,
it weighs what the limit may be: a token bucket, a fixed window, a sliding log, a limit on concurrent requests, or a
block after a quota is used up. Each candidate is judged by how well it explains the refusals so far. The limiter keeps
to the likeliest ones, and tries a slightly higher rate now and then, because quotas grow. `ClarusClient.pace` shows
what it believes.

What is known for certain comes first:

1. `Retry-After` is a lower bound: nothing is sent to the tenant before that time.
2. A rate that you give is kept exactly.
3. A quota in the headers `RateLimit-Policy`, `RateLimit`, `RateLimit-*` or `X-RateLimit-*` is kept as the server states
   it.

A refusal under a rate that was given, or under a quota that the server states, costs its `Retry-After` and nothing
else.

```python
from clarus_async import ClarusClient, ClientCredentials, PacingPolicy

pacing = PacingPolicy(rate=50.0, burst=10)
async with ClarusClient("acme", ClientCredentials("id", "secret"), pacing=pacing) as clarus:
    print(clarus.pace.rate, clarus.pace.source, clarus.pace.kind, clarus.pace.waiting, clarus.pace.paused_until)
```

# How calls wait

Calls of one tenant wait in the order in which they came, and no tenant holds up another. The time that a call waits
counts towards its deadline; in a provisioning run it does not. In a web service, lower `PacingPolicy.max_wait`: a call
that would have to wait for longer raises `RateLimitedError` at once, while somebody still waits for the answer.

A 429 costs a call no attempt. A 503 may come from a rate limiter (it is nginx's default) or from a server in trouble.
Where it comes at once, while other requests succeed, it slows the tenant down as a 429 does and costs no attempt. Where
nothing succeeds, a run sends one record at a time until something does. What a 503 means for the record itself is
another question: see `clarus_async.retry`.

# Several processes with one quota

Each process has a rate limiter of its own, so a `PacingPolicy(rate=…)` holds for one process. With
`clarus_async.fleet.redis.RedisPacing`, processes share one limiter through Redis.
"""

# A call waits in the queue until its tenant's pace and a connection allow it. The pace is decided by the limiter, whose
# module begins with the theory: from what the caller gives, from what the server states (headers, advertised), and from
# what it admits and refuses: the evidence, the hypotheses of what may limit, the search for the limit and the lockouts
# in which it probes. Processes that share a pace have a part each (shared_pace), and one of them decides (pace_leader).
__all__: list[str] = []
