"""Each kind of credentials against a real token endpoint."""

import base64
import hashlib
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from clarus_async import (
    AccessToken,
    AuthenticationError,
    AuthorizationCode,
    ClarusClient,
    RefreshToken,
    RetryPolicy,
)
from clarus_async.simulator import Endpoint, FaultKind, Simulator

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
BACK = "https://app.example/back"


@pytest.fixture
async def sim():
    async with Simulator() as simulator:
        yield simulator


def client(sim, credentials):
    retry = RetryPolicy(base=0.001, cap=0.01)
    return ClarusClient("acme", credentials, base_url=sim.url, retry=retry)


def flow(sim, **options):
    return AuthorizationCode(sim.client_id, sim.client_secret, BACK, base_url=sim.url, **options)


async def test_client_credentials(sim):
    async with client(sim, sim.credentials) as clarus:
        await clarus.ping()

    assert [entry.status for entry in sim.requests] == [200, 200]


async def test_a_refresh_token_that_rotates_with_each_use(sim):
    stored = []
    credentials = RefreshToken(sim.client_id, sim.client_secret, sim.refresh_token(), stored.append)
    async with client(sim, credentials) as clarus:
        for _ in range(3):
            sim.expire_tokens()
            await clarus.ping()

    assert len(set(stored)) == sim.count(Endpoint.TOKEN) == 3


async def test_a_refresh_token_that_does_not_rotate():
    async with Simulator(rotate_refresh_tokens=False) as sim:
        stored = []
        credentials = RefreshToken(sim.client_id, sim.client_secret, sim.refresh_token(), stored.append)
        async with client(sim, credentials) as clarus:
            await clarus.ping()
            sim.expire_tokens()
            await clarus.ping()

    assert (stored, sim.count(Endpoint.TOKEN)) == ([], 2)


async def test_a_rotation_whose_answer_was_lost(sim):
    stored = []
    credentials = RefreshToken(sim.client_id, sim.client_secret, sim.refresh_token(), stored.append)
    sim.script(Endpoint.TOKEN, FaultKind.RESET_AFTER)
    async with client(sim, credentials) as clarus:
        await clarus.ping()
        sim.expire_tokens()
        await clarus.ping()

    assert (len(stored), sim.count(Endpoint.TOKEN)) == (2, 3)


async def test_a_refresh_token_that_is_spent(sim):
    async with client(sim, RefreshToken(sim.client_id, sim.client_secret, "spent")) as clarus:
        with pytest.raises(AuthenticationError, match="authorise again"):
            await clarus.ping()

    assert sim.count() == 1


async def test_the_authorization_code_flow_from_the_url_to_a_call(sim):
    url = flow(sim, scopes=("read",)).authorization_url("state-1", CHALLENGE)
    async with aiohttp.ClientSession() as browser, browser.get(url, allow_redirects=False) as page:
        back = page.headers["Location"]
    query = parse_qs(urlsplit(back).query)
    assert back.startswith(BACK)
    assert query["state"] == ["state-1"]

    credentials = await flow(sim, scopes=("read",)).exchange(query["code"][0], VERIFIER)
    assert isinstance(credentials, RefreshToken)
    async with client(sim, credentials) as clarus:
        await clarus.ping()


async def test_a_code_with_the_wrong_verifier_is_refused(sim):
    code = sim.authorize(redirect_uri=BACK, code_challenge=CHALLENGE)
    with pytest.raises(AuthenticationError, match="invalid_grant"):
        await flow(sim).exchange(code, VERIFIER + "x")

    assert sim.count(Endpoint.TOKEN) == 1


async def test_a_code_is_good_once(sim):
    code = sim.authorize(redirect_uri=BACK, code_challenge=CHALLENGE)
    await flow(sim).exchange(code, VERIFIER)
    with pytest.raises(AuthenticationError, match="invalid_grant"):
        await flow(sim).exchange(code, VERIFIER)


async def test_an_exchange_leaves_no_connection_behind(sim):
    await flow(sim).exchange(sim.authorize(redirect_uri=BACK, code_challenge=CHALLENGE), VERIFIER)

    assert sim.open_connections == 0


async def test_an_access_token_that_another_client_got(sim):
    async with client(sim, sim.credentials) as first:
        await first.ping()
    token = sim.requests[-1].headers["Authorization"].removeprefix("Bearer ")
    async with client(sim, AccessToken(token)) as clarus:
        await clarus.ping()

    assert sim.count(Endpoint.TOKEN) == 1
