"""Retries: what a failure proves, and whether an attempt is made again.

# What a failure proves

| seen | proves | a create |
|---|---|---|
| no connection could be made | nothing was sent | is sent again |
| an invalid certificate, a proxy that refuses (407, 403) | nothing was sent | raises |
| your own code (a middleware, connector or resolver) raises before the send | nothing was sent | raises |
| your own code raises after the send | nothing | is looked up |
| 429 | refused for now | is sent when the rate limit allows |
| 401 | refused | gets a new token, until the deadline; an `AccessToken` raises |
| any other 4xx but 408 | refused | raises |
| 5xx, 408, a lost connection, a timeout | nothing | is looked up, and sent again if it is not there |
| 2xx that can't be read | it was applied | is looked up, and never sent again |
| a redirect | a wrong setting | raises |

The rule behind the table: a create is sent again only when it is proved that the last attempt left nothing behind. An
answer of 500 or above, a lost connection and a timeout prove nothing, so the record is looked up first. One pure
function decides all of this (`clarus_async.retry.effect`), and nothing else in the package decides what a failure
means.

Other calls differ where a create is looked up. A read, an update or a delete is sent again, since repeating it changes
nothing more; an update or a delete that runs out of attempts raises `OutcomeUnknownError`. A synchronize or a GraphQL
mutation is not repeated and raises `OutcomeUnknownError`, unless `synchronize(id, repeatable=True)` says that repeating
does no harm. After an answer with status 2xx that can't be read, a read raises `ResponseError`, a mutation raises
`OutcomeUnknownError`, and the other calls are done. Where your own code raises after the send, a read, an update and a
delete raise, too.

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
    except OutcomeUnknownError as error:  # it pickles: it may be stored, and resolved later
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
