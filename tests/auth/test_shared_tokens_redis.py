"""One token for several processes, through a real Redis."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from clarus_async import AccessToken, ClarusClient, ClientCredentials, NewIntegration, RefreshToken, Token
from clarus_async.auth.shared_tokens import derive_keys
from clarus_async.fleet.redis import RedisPacing
from tests.support.process import free_port
from tests.support.redis_server import RedisServer
from tests.support.stub_server import StubServer, bearer, created, reply

SHOP = NewIntegration(name="Shop", integration_type="shopify")
SECRET = "canary-client-secret"
CREDENTIALS = ClientCredentials("the-id", SECRET)
TOKEN = "canary-access-token"


@pytest.fixture
def redis():
    with RedisServer() as server:
        yield server


class OneLiveToken:
    """An API whose every new token ends the one before, as Doorkeeper's does where it is told to."""

    def __init__(self, life=3600):
        self.life = life
        self.made = 0
        self.refused = 0
        self.login = False

    @property
    def current(self):
        return f"{TOKEN}-{self.made}"

    def token(self, asked):
        self.made += 1
        return bearer(self.current, expires_in=self.life)

    def answer(self, asked):
        if asked.token != self.current:
            self.refused += 1
            return reply({"error": "The access token was revoked"}, 401)
        return created()

    def serve(self):
        return StubServer(self.answer, self.token)


def client_of(server, redis, credentials=CREDENTIALS, **options):
    pacing = RedisPacing(url=redis if isinstance(redis, str) else redis.url, **{"timeout": 5.0} | options)
    return ClarusClient("acme", credentials, base_url=server.url, pacing=pacing)


async def everything_in(redis):
    """All that this Redis holds, as text."""
    import redis.asyncio as driver

    held = []
    async with driver.from_url(redis.url) as store:
        async for key in store.scan_iter("*"):
            kind = await store.type(key)
            read = {b"hash": store.hgetall, b"string": store.get}.get(kind)
            held.append((key, await read(key) if read else await store.lrange(key, 0, -1)))
    return repr(held)


async def test_two_processes_that_share_a_token_never_fail(redis):
    api = OneLiveToken(life=3)
    async with api.serve() as server:
        arguments = [sys.executable, "-m", "tests.support.sharing_process", redis.url, server.url, "5", SECRET]
        processes = [await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE) for _ in range(2)]
        told = [json.loads((await asyncio.wait_for(process.communicate(), 60.0))[0]) for process in processes]
        held = await everything_in(redis)
    assert [set(ended) for ended in told] == [{"ok"}, {"ok"}], told
    assert sum(ended["ok"] for ended in told) > 40
    # Of 3 s each is used for nine tenths: two or three, and one more where they do not begin together.
    assert api.made <= 5
    assert SECRET not in held
    assert TOKEN not in held
    assert "the-id" not in held


async def test_the_next_process_takes_over_the_token_and_what_is_left_of_its_life(redis):
    api = OneLiveToken(life=100)
    async with api.serve() as server:
        async with client_of(server, redis) as one:
            await one.integrations.create(SHOP)
        async with client_of(server, redis) as other:
            await other.integrations.create(SHOP)
            held = other._caller._token_manager._held
    assert (api.made, api.refused) == (1, 0)
    assert 80.0 < held.life <= 100.0


async def test_many_that_begin_at_once_ask_for_one(redis):
    api = OneLiveToken()
    async with api.serve() as server:
        clients = [client_of(server, redis) for _ in range(6)]
        await asyncio.gather(*(clarus.integrations.create(SHOP) for clarus in clients))
        for clarus in clients:
            await clarus.close()
    assert (api.made, api.refused) == (1, 0)


async def test_a_token_that_dies_early_is_replaced_once_for_all(redis):
    api = OneLiveToken()
    async with api.serve() as server, client_of(server, redis) as one, client_of(server, redis) as other:
        await asyncio.gather(one.integrations.create(SHOP), other.integrations.create(SHOP))
        api.made += 1  # a login of somebody else's
        await asyncio.gather(*(clarus.integrations.create(SHOP) for clarus in (one, other) for _ in range(5)))
    assert api.made == 3


async def test_a_401_ends_only_the_token_that_it_was_for(redis):
    api = OneLiveToken()
    async with api.serve() as server, client_of(server, redis) as one, client_of(server, redis) as other:
        await asyncio.gather(one.integrations.create(SHOP), other.integrations.create(SHOP))
        api.made += 1
        await one.integrations.create(SHOP)
        made = api.made
        # It learns of it by a 401 for the old one, and takes over the new one.
        await other.integrations.create(SHOP)
    assert api.made == made == 3


async def test_other_secrets_and_scopes_have_a_token_of_their_own(redis):
    asked = []

    def token(request):
        asked.append(request.form)
        return bearer(f"token-{len(asked)}", expires_in=100)

    several = [CREDENTIALS, ClientCredentials("the-id", "other"), ClientCredentials("the-id", SECRET, ("read",))]
    async with StubServer(lambda _: created(), token) as server:
        for credentials in [*several, *several]:
            async with client_of(server, redis, credentials) as clarus:
                await clarus.integrations.create(SHOP)
    assert len(asked) == 3


class Vault:
    async def fetch(self):
        return Token(TOKEN, 100.0)


@pytest.mark.parametrize(
    "credentials",
    [AccessToken(TOKEN), RefreshToken("the-id", SECRET, "canary-refresh"), Vault()],
    ids=lambda c: type(c).__name__,
)
async def test_what_is_not_of_client_credentials_is_not_shared(redis, credentials):
    async with StubServer(lambda _: created(), lambda _: bearer(TOKEN, expires_in=100)) as server:
        async with client_of(server, redis, credentials) as clarus:
            await clarus.integrations.create(SHOP)
        held = await everything_in(redis)
    assert "sealed" not in held
    for secret in (TOKEN, SECRET, "canary-refresh"):
        assert secret not in held


async def test_without_cryptography_nothing_is_shared(redis, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    caplog.set_level("INFO")
    async with StubServer(lambda _: created(), lambda _: bearer(TOKEN, expires_in=100)) as server:
        async with client_of(server, redis) as clarus:
            await clarus.integrations.create(SHOP)
        held = await everything_in(redis)
    assert "sealed" not in held
    assert TOKEN not in held
    assert caplog.text.count("tokens are not shared: that needs cryptography") == 1


@pytest.mark.parametrize("raised", [AttributeError("not built in"), ValueError("disabled for FIPS")], ids=repr)
async def test_without_scrypt_nothing_is_shared(redis, monkeypatch, caplog, raised):
    def scrypt(*_, **__):
        raise raised

    monkeypatch.setattr("hashlib.scrypt", scrypt)
    caplog.set_level("INFO")
    async with StubServer(lambda _: created(), lambda _: bearer(TOKEN, expires_in=100)) as server:
        async with client_of(server, redis) as clarus:
            await clarus.integrations.create(SHOP)
        held = await everything_in(redis)
    assert "sealed" not in held
    assert caplog.text.count("tokens are not shared: that needs hashlib.scrypt") == 1


async def test_without_redis_each_gets_its_own():
    api = OneLiveToken()
    async with api.serve() as server:
        async with client_of(server, f"redis://127.0.0.1:{free_port()}") as clarus:
            await clarus.integrations.create(SHOP)
    assert api.made == 1


async def test_a_redis_that_goes_away_costs_nobody_the_token(redis):
    api = OneLiveToken()
    async with api.serve() as server, client_of(server, redis) as clarus:
        await clarus.integrations.create(SHOP)
        redis.stop()
        api.made += 1
        await clarus.integrations.create(SHOP)
    assert api.made == 3


async def test_who_dies_while_it_asks_is_waited_for_no_longer_than_its_claim(redis, monkeypatch):
    monkeypatch.setattr("clarus_async.auth.shared_tokens._CLAIM_LIFE", 500)
    asking = asyncio.Event()

    async def token(_):
        if not asking.is_set():
            asking.set()
            await asyncio.sleep(30)
        return bearer(TOKEN, expires_in=100)

    async with StubServer(lambda _: created(), token) as server:
        async with client_of(server, redis) as one, client_of(server, redis) as other:
            stuck = asyncio.create_task(one.integrations.create(SHOP))
            await asking.wait()
            await asyncio.wait_for(other.integrations.create(SHOP), 10.0)
            stuck.cancel()


async def test_who_is_closed_while_it_asks_gives_way_at_once(redis):
    asking = asyncio.Event()

    async def token(_):
        if not asking.is_set():
            asking.set()
            await asyncio.sleep(30)
        return bearer(TOKEN, expires_in=100)

    async with StubServer(lambda _: created(), token) as server, client_of(server, redis) as other:
        one = client_of(server, redis)
        stuck = asyncio.create_task(one.integrations.create(SHOP))
        await asking.wait()
        await one.close()
        await asyncio.wait({stuck})
        assert stuck.exception() is not None
        began = asyncio.get_running_loop().time()
        await other.integrations.create(SHOP)
        assert asyncio.get_running_loop().time() - began < 5.0


async def test_a_refusal_is_told_to_each_and_nobody_waits_for_the_other(redis):
    async with StubServer(lambda _: created(), lambda _: reply({"error": "invalid_client"}, 401)) as server:
        async with client_of(server, redis) as one, client_of(server, redis) as other:
            began = asyncio.get_running_loop().time()
            ended = await asyncio.gather(
                one.integrations.create(SHOP), other.integrations.create(SHOP), return_exceptions=True
            )
            assert asyncio.get_running_loop().time() - began < 5.0
    assert ["invalid_client" in str(error) for error in ended] == [True, True]


async def test_what_another_wrote_there_is_not_believed(redis):
    import redis.asyncio as driver

    api = OneLiveToken()
    async with api.serve() as server:
        async with client_of(server, redis) as clarus:
            await clarus.integrations.create(SHOP)
        async with driver.from_url(redis.url, decode_responses=True) as store:
            [key] = [key async for key in store.scan_iter("*:token")]
            await store.hset(key, "sealed", "evil-token")
        async with client_of(server, redis) as clarus:
            await clarus.integrations.create(SHOP)
    assert api.made == 2


def test_keys_show_nothing():
    keys = derive_keys(CREDENTIALS, "https://x.test")
    assert repr(keys).startswith("<")
    assert "the-id" not in keys.name
    assert keys.name != derive_keys(CREDENTIALS, "https://y.test").name
