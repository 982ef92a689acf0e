"""Retries: what a failure proves, and whether an attempt is made again.

# What a failure proves

The table is in the README, under "What a failure proves". One pure function holds it in code
(`clarus_async.retry.effect`), and nothing else in the package decides what a failure means.

The rule behind it: a create is sent again only when it is proved that the last attempt left nothing behind. An answer
of 500 or above, a lost connection and a timeout prove nothing, so the record is looked up first.

**A 503 proves nothing about the record, whatever its headers say.** Varnish and Fastly answer 503 with `Retry-After`
when the API is slow, and the API may store the record seconds later. nginx's limiters answer 503 without that header,
and the API never sees the request. `Retry-After` is respected all the same.

**A 401 is answered with a new token.** Tokens may end before their time: a login to the account's front end ends them,
and so does another process where the server keeps one token for each client. That costs one more request to the token
endpoint, and never fails a record of a run. `AuthenticationError` means that the credentials were refused, or that the
API refused every new token for a whole deadline while nothing else succeeded.

**A create is looked up until its deadline.** If it is still in doubt then, `create` raises `OutcomeUnknownError`.
Later, `await clarus.integrations.resolve(error)` returns the integration, or `None` once it is proved that there is
none. With `create(new, on_unknown="raise")`, the call raises at once and looks nothing up.

```python
from clarus_async import ClarusClient, ClientCredentials, NewIntegration, OutcomeUnknownError

async with ClarusClient("acme", ClientCredentials("id", "secret")) as clarus:
    try:
        shop = await clarus.integrations.create(NewIntegration(name="Shop", integration_type="shopify"))
    except OutcomeUnknownError as error:  # it pickles: store it, and come back at error.settles_at
        shop = await clarus.integrations.resolve(error)
```

# When an attempt is made again

Backoff is exponential with full jitter, from `RetryPolicy.base` up to `RetryPolicy.cap` seconds, and stops at
`RetryPolicy.max_attempts` or at `Timeouts.deadline`, whichever is first. A tenant has a budget of retries, so that
retries can't make an outage worse. A run that meets an outage sends one record at a time until the server answers
again.

`RetryPolicy(max_attempts=1)` turns retries off, for use under an engine that retries by itself.
"""

__all__: list[str] = []
