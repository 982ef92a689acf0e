"""Who may come in and how often: tokens, tenants and quotas, as CLARUS_API.md has them."""

import pytest

from clarus_async.simulator import Quota, Simulator
from clarus_async.simulator.oauth import s256
from tests.simulator.test_lifecycle import FORM, Api


@pytest.mark.parametrize("tenant", ["unknown", ""])
async def test_an_unknown_subdomain_is_a_403_in_the_documented_form(simulator, tenant):
    async with Api(simulator, tenant=tenant) as api:
        answer = await api.create()

    assert (answer.status, answer.symbols) == (403, ["unknown_subdomain"])


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic abc"])
async def test_without_a_good_token_it_is_a_401_with_one_error_string(simulator, authorization):
    async with Api(simulator) as api:
        answer = await api.send(
            "POST",
            "/api/integrations",
            json={},
            headers={"X-Clarus-Subdomain": "acme"} | ({"Authorization": authorization} if authorization else {}),
        )

    assert answer.status == 401
    assert list(answer.json) == ["error"]
    assert isinstance(answer.json["error"], str)


async def test_the_token_answer_is_the_rfc_s(api):
    answer = await api.login(scope="read write")

    assert answer.status == 200
    assert answer.json == {
        "access_token": api.token,
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "read write",
    }
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")


async def test_a_token_refusal_is_the_rfc_s(api):
    answer = await api.login(client_secret="wrong")
    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    assert "WWW-Authenticate" not in answer.headers

    answer = await api.login(grant_type="password")
    assert (answer.status, answer.json["error"]) == (400, "unsupported_grant_type")

    answer = await api.send("POST", "/oauth/token", json=FORM)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


async def test_a_client_refused_by_its_header_is_challenged(api):
    answer = await api.send("POST", "/oauth/token", data={}, headers={"Authorization": "Basic eDp5"})

    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="clarus"')


async def test_refresh_tokens_stay_if_asked():
    async with Simulator(rotate_refresh_tokens=False) as simulator, Api(simulator) as api:
        token = simulator.refresh_token()
        for _ in range(2):
            answer = await api.login(grant_type="refresh_token", refresh_token=token)
            assert (answer.status, "refresh_token" in answer.json) == (200, False)


async def test_a_code_from_consent_is_exchanged_with_pkce(simulator, api):
    code = simulator.authorize(code_challenge=s256("verifier"), redirect_uri="https://me/cb", scope="read")
    asked = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://me/cb"}
    answer = await api.login(**asked, code_verifier="verifier")

    assert answer.status == 200
    assert answer.json["scope"] == "read"
    assert (await api.create()).status == 200


async def test_the_authorization_page_trusts_no_stranger(api):
    answer = await api.send("GET", "/oauth/authorize", params={"client_id": "stranger"})

    assert (answer.status, answer.json["error"]) == (400, "invalid_request")


async def test_the_same_seed_gives_the_same_server():
    async def run(seed):
        async with Simulator(seed=seed) as simulator, Api(simulator) as api:
            await api.login()
            return api.token, (await api.create()).headers["X-Request-Id"]

    assert await run(1) == await run(1) != await run(2)


async def test_over_quota_is_a_429_and_nothing_is_applied():
    # A window that no test outlives: the loop's clock counts from the machine's start.
    quota = Quota(limit=2, window=1e9, headers="ietf")
    async with Simulator(quota=quota) as simulator, Api(simulator) as api:
        answers = [await api.create() for _ in range(4)]

    assert [answer.status for answer in answers] == [200, 200, 429, 429]
    assert answers[2].symbols == ["rate_limited"]
    told = {"RateLimit-Policy", "RateLimit", "Retry-After"}
    assert [told & answer.headers.keys() == told for answer in answers] == [False, False, True, True]
    assert all({"RateLimit-Policy", "RateLimit"} <= answer.headers.keys() for answer in answers)
    assert len(simulator.created("acme")) == 2
    assert [entry.applied_at is None for entry in simulator.requests[-4:]] == [False, False, True, True]


async def test_a_limiter_in_front_of_the_api_refuses_with_its_own_page():
    quota = Quota(limit=1, window=60.0, kind="nginx", status=503)
    async with Simulator(quota=quota) as simulator, Api(simulator) as api:
        answers = [await api.create() for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 503]
    assert "Retry-After" not in answers[1].headers
    assert answers[1].headers["Content-Type"] == "text/html"
    assert len(simulator.created("acme")) == 1


async def test_tokens_are_not_counted_against_the_quota():
    async with Simulator(quota=Quota(limit=1, window=1e9)) as simulator, Api(simulator) as api:
        for _ in range(3):
            assert (await api.login()).status == 200
        assert (await api.create()).status == 200


async def test_a_request_without_a_good_token_is_not_counted():
    async with Simulator(quota=Quota(limit=1, window=1e9)) as simulator, Api(simulator) as api:
        api.token = "wrong"
        assert (await api.create()).status == 401
        await api.login()
        assert (await api.create()).status == 200


async def test_a_quota_by_tenant_and_a_new_one_on_the_way():
    quota = {"acme": Quota(limit=1, window=1e9)}
    async with (
        Simulator(tenants=("acme", "other"), quota=quota) as simulator,
        Api(simulator) as acme,
        Api(simulator, "other") as other,
    ):
        assert [(await acme.create()).status for _ in range(2)] == [200, 429]
        assert [(await other.create()).status for _ in range(2)] == [200, 200]
        simulator.set_quota(None, "acme")
        simulator.set_quota(Quota(limit=1, window=1e9), "other")
        assert (await acme.create()).status == 200
        assert [(await other.create()).status for _ in range(2)] == [200, 429]
