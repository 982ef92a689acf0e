"""Authentication: credentials, tokens, and who asks for the next one (RFC 6749).

# Authentication

| you have | give the client |
|---|---|
| a client id and a secret | `ClientCredentials(client_id, client_secret)` |
| a refresh token | `RefreshToken(client_id, client_secret, refresh_token, on_rotate=…)` |
| an access token and nothing else | `AccessToken(token)` |
| a vault or a sidecar | an object with `async def fetch(self) -> Token` |
| a user who has to consent | `AuthorizationCode`, which returns one of the above |

```python
from clarus_async import ClarusClient, Token


class Vault:
    async def fetch(self) -> Token:
        return Token("token-from-the-vault", expires_in=300.0)


clarus = ClarusClient("acme", Vault())
```

A token is fetched when the first call needs it, and refreshed in the last tenth of its life (at least one second and at
most a minute before its end). One caller refreshes while the others go on with the old token; however many callers
there are, the token endpoint is asked once. Equal credentials share one token, across all views of a client.

Where a server rotates refresh tokens, pass `on_rotate`: it is called with each new refresh token before that is used,
so that you can store it. It may be an async function.

The client's secret is sent in the form. A server that refuses that with `invalid_client` gets it by HTTP Basic instead,
and what worked is remembered.

A client knows a token source by its identity and keeps its token for as long as the object is there: make one for each
account, and keep it. A token source may raise a subclass of `ClarusError` of its own; every call that needs the token
raises that error.

# Secrets

No secret shows in a `repr`, a log, an exception, a traceback's local variables or a journal. Credentials refuse to be
pickled; `copy` and `deepcopy` return the credentials themselves. A secret's characters are checked where it is given
(RFC 6749, appendix A), so a stray line end is an `InvalidInputError` that names the field and not its value.

# The authorization code flow

`AuthorizationCode` builds the URL that a user is sent to, and trades the code that comes back for credentials, with
PKCE (RFC 7636). Keeping the `state` and the code verifier in the user's session is your part:

```python
from clarus_async import AuthorizationCode

flow = AuthorizationCode("id", "secret", "https://app.example/callback")
print(flow.authorization_url(state="of-this-session", code_challenge="E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"))
```

Then, in the callback, `credentials = await flow.exchange(code, code_verifier)`.

# Several processes

Where a server keeps one live token for each client, two processes end each other's token. Processes that share a pace
through `clarus_async.fleet.redis.RedisPacing` share the token of their `ClientCredentials`, too. It is stored in Redis
encrypted, with a key derived from the client's secret.
"""

__all__: list[str] = []
