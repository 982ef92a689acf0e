"""What the client promises where something is wrong, and for whole runs; as in test_second_server_calls.py."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from clarus_async import (
    AccessToken,
    Applied,
    AuthenticationError,
    AuthorizationCode,
    ClientCredentials,
    IntegrationChanges,
    OutcomeStatus,
    OutcomeUnknownError,
    RateLimitedError,
    RefreshToken,
    RetryPolicy,
    Timeouts,
    ValidationError,
)
from tests.support.both_servers import (  # noqa: F401  two are fixtures
    add,
    batch,
    clarus_fixture,
    on_every_server,
    serve,
    server_fixture,
    shop,
)
from tests.support.builders import client_of, outcomes_of
from tests.support.second_integrations import OTHER, PLAIN, Dialect
from tests.support.virtual import now, virtual

VERIFIER = "~v.e-r_i" * 8


def flow_of(server, **options):
    ours = server.credentials
    return AuthorizationCode(ours.client_id, ours.client_secret, server.redirect_uri, base_url=server.url, **options)


async def consent(server, flow):
    """What the user's browser does: the code that it comes back with."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
    url = flow.authorization_url("st&te=~", challenge)
    async with aiohttp.ClientSession() as browser, browser.get(url, allow_redirects=False) as answer:
        back = urlsplit(answer.headers["Location"])
    assert f"{back.scheme}://{back.netloc}{back.path}" == server.redirect_uri
    query = parse_qs(back.query)
    assert query["state"] == ["st&te=~"]
    return query["code"][0]


class TestTokens:
    async def test_a_killed_one_is_fetched_once_more_for_all_who_need_it(self, server, clarus):
        await clarus.ping()
        server.kill_tokens()
        made = await asyncio.gather(*(clarus.integrations.create(shop(f"Shop {n}")) for n in range(30)))
        assert server.tokens() == 2
        assert {each.id for each in made} == server.stored().keys() == server.created().keys()

    @on_every_server
    @virtual
    async def test_one_that_expires_is_replaced_before_it_is_refused(self, which):
        async with serve(which, life=100) as server, client_of(server) as clarus:
            for hours in range(3):
                await asyncio.sleep(hours * 3600)
                await clarus.ping()
            assert server.tokens() == 3
            await clarus.ping()
            assert server.tokens() == 3

    async def test_a_refresh_token_is_traded_and_rotates(self, server):
        ours = server.credentials
        rotated = []
        credentials = RefreshToken(ours.client_id, ours.client_secret, server.refresh_token(), rotated.append)
        async with client_of(server, credentials) as clarus:
            for _ in range(3):
                await clarus.ping()
                server.kill_tokens()
        assert server.tokens() == 3
        if rotated:
            # What was stored last works after a restart.
            assert len(set(rotated)) == 3
            credentials = RefreshToken(ours.client_id, ours.client_secret, rotated[-1])
        async with client_of(server, credentials) as clarus:
            await clarus.ping()

    async def test_the_authorization_code_flow(self, server):
        flow = flow_of(server)
        code = await consent(server, flow)
        credentials = await flow.exchange(code, VERIFIER)
        async with client_of(server, credentials) as clarus:
            (made,) = await add(clarus, shop())
        assert server.stored().keys() == {made.id}
        for again, proof in ((code, VERIFIER), (await consent(server, flow), "x" * 43)):
            with pytest.raises(AuthenticationError, match="invalid_grant"):
                await flow.exchange(again, proof)

    @pytest.mark.parametrize("kind", ["client", "secret", "token", "refresh"])
    async def test_wrong_credentials_are_refused_and_nothing_is_done(self, server, kind):
        ours = server.credentials
        credentials = {
            "client": ClientCredentials("nobody", ours.client_secret),
            "secret": ClientCredentials(ours.client_id, "wrong-secret"),
            "token": AccessToken("wrong-token"),
            "refresh": RefreshToken(ours.client_id, ours.client_secret, "wrong-refresh"),
        }[kind]
        async with client_of(server, credentials) as clarus:
            with pytest.raises(AuthenticationError) as caught:
                await clarus.integrations.create(shop())
        assert caught.value.applied is Applied.NO
        assert "wrong-" not in str(caught.value)
        assert server.created() == {}
        # In the form, and in the header: encoded, and as it is where that is something else.
        assert server.tokens() <= {"token": 0, "refresh": 1}.get(kind, 3)


class TestRefusals:
    @on_every_server
    async def test_a_422_says_what_is_wrong_and_hides_what_was_sent(self, which):
        async with serve(which, unique=True) as server, client_of(server) as clarus:
            new = shop(external_system_reference1="taken", configuration={"api_key": "hush-hush-1"})
            (first,) = await add(clarus, new)
            with pytest.raises(ValidationError) as caught:
                await clarus.integrations.create(new)
            error = caught.value
            assert (error.status, error.applied, error.retryable) == (422, Applied.NO, False)
            assert error.errors[0].symbol
            assert "taken" in error.errors[0].details
            assert error.errors[0].source.endswith("external_system_reference1")
            assert "hush-hush" not in f"{error} {error!r} {error.errors}"
            assert server.created().keys() == {first.id}

    async def test_a_synchronization_that_is_refused_did_not_happen(self):
        async with serve("other") as server, client_of(server) as clarus:
            (made,) = await add(clarus, shop(is_active=False))
            with pytest.raises(ValidationError) as caught:
                await clarus.integrations.synchronize(made.id)
            assert (caught.value.applied, server.synchronized()) == (Applied.NO, [])
            assert caught.value.errors[0].details == "The integration is not active"

    @on_every_server
    @virtual
    async def test_a_429_is_waited_out(self, which):
        async with serve(which) as server, client_of(server) as clarus:
            await clarus.ping()
            server.limit(3, 30.0)
            began = now()
            made = await asyncio.gather(*(clarus.integrations.create(shop(f"Shop {n}")) for n in range(8)))
            assert 29.0 <= now() - began < 120.0
            assert {each.id for each in made} == server.stored().keys() == server.created().keys()
            assert len(made) == 8
            assert server.creates() > 8

    @on_every_server
    @virtual
    async def test_a_429_says_when_to_come_back(self, which):
        async with serve(which) as server, client_of(server, retry=RetryPolicy(max_attempts=1)) as clarus:
            server.limit(1, 30.0)
            await clarus.ping()
            with pytest.raises(RateLimitedError) as caught:
                await clarus.integrations.create(shop())
            assert 29.0 <= caught.value.retry_after <= 32.0
            assert (caught.value.applied, server.created()) == (Applied.NO, {})


class TestLostAnswers:
    async def test_what_was_created_is_found_and_not_sent_again(self, server, clarus):
        await add(clarus, shop("other"))
        server.lose("after")
        made = await clarus.integrations.create(shop("Lost", string1="one"))
        assert server.stored()[made.id]["name"] == made.name == "Lost"
        assert len(server.created()) == server.creates() == 2

    async def test_resolve_finds_it_later(self, server, clarus):
        server.lose("after")
        with pytest.raises(OutcomeUnknownError) as caught:
            await clarus.integrations.create(shop("Lost"), on_unknown="raise")
        assert caught.value.applied is Applied.MAYBE
        found = await clarus.integrations.resolve(caught.value)
        assert (server.stored().keys(), found.name) == ({found.id}, "Lost")

    @on_every_server
    @virtual
    async def test_what_never_arrived_is_sent_again_when_that_is_proved(self, which):
        timeouts = Timeouts(deadline=600.0)
        async with serve(which) as server, client_of(server, timeouts=timeouts) as clarus:
            server.lose("before")
            began = now()
            made = await clarus.integrations.create(shop("Lost"))
            assert now() - began >= timeouts.settle
            assert server.created().keys() == {made.id}
            assert server.creates() == 2

    @on_every_server
    @virtual
    async def test_resolve_says_that_it_is_not_there(self, which):
        async with serve(which) as server, client_of(server) as clarus:
            server.lose("before")
            with pytest.raises(OutcomeUnknownError) as caught:
                await clarus.integrations.create(shop("Lost"), on_unknown="raise")
            await asyncio.sleep(Timeouts().settle)
            assert await clarus.integrations.resolve(caught.value) is None
            assert server.created() == {}


class TestProvision:
    async def test_a_run_and_the_same_run_again(self, server, clarus, tmp_path):
        journal = tmp_path / "run.db"
        outcomes = await outcomes_of(clarus.integrations.provision(batch(60), journal=journal))
        assert {outcome.status for outcome in outcomes} == {OutcomeStatus.CREATED}
        ledger = {each["external_system_reference1"]: i for i, each in server.created().items()}
        assert {outcome.key: outcome.id for outcome in outcomes} == ledger
        assert len(ledger) == len(outcomes) == 60

        again = await outcomes_of(clarus.integrations.provision(batch(70), journal=journal))
        assert [outcome.id for outcome in again[:60]] == [outcome.id for outcome in outcomes]
        assert server.creates() == len(server.created()) == 70

    @pytest.mark.parametrize("existing", ["adopt", "update", "fail", "ignore"])
    async def test_what_is_there_already(self, server, clarus, existing):
        there = {each.name: each.id for each in await add(clarus, *batch(3))}
        specs = [shop(f"Shop {n}", external_system_reference1=f"ref-{n}", string1="new") for n in range(5)]
        outcomes = await outcomes_of(clarus.integrations.provision(specs, existing=existing))

        status = {"adopt": "adopted", "update": "updated", "fail": "failed", "ignore": "created"}[existing]
        assert [outcome.status for outcome in outcomes] == [status] * 3 + ["created"] * 2
        assert len(server.created()) == 3 + (5 if existing == "ignore" else 2)
        if existing in {"adopt", "update"}:
            assert [outcome.id for outcome in outcomes[:3]] == list(there.values())
            assert {outcome.matched_by for outcome in outcomes[:3]} == {"reference" if server.searchable else "name"}
        stored = server.stored()
        assert {stored[i].get("string1") for i in there.values()} == {"new" if existing == "update" else None}
        assert all(stored[outcome.id]["string1"] == "new" for outcome in outcomes[3:])

    async def test_a_dry_run_writes_nothing(self, server, clarus):
        await add(clarus, *batch(1))
        outcomes = await outcomes_of(clarus.integrations.provision(batch(3), dry_run=True))
        assert [outcome.status for outcome in outcomes] == ["adopted", "would_create", "would_create"]
        assert [outcome.id is None for outcome in outcomes] == [False, True, True]
        assert len(server.created()) == 1

    async def test_several_records_of_its_key_are_a_conflict(self, server, clarus):
        twins = await add(clarus, shop("Twin"), shop("Twin"))
        (outcome,) = await outcomes_of(clarus.integrations.provision([shop("Twin")]))
        assert outcome.status is OutcomeStatus.CONFLICT
        assert {*outcome.others} | {outcome.id} - {None} == {each.id for each in twins}
        assert len(server.created()) == 2

    async def test_answers_that_are_lost_on_the_way(self, server, clarus):
        server.lose("after", "after", "after")
        outcomes = await outcomes_of(clarus.integrations.provision(batch(20), concurrency=4))
        assert all(outcome.status.ok for outcome in outcomes)
        ledger = {each["external_system_reference1"]: i for i, each in server.created().items()}
        assert {outcome.key: outcome.id for outcome in outcomes} == ledger
        assert len(server.created()) == server.creates() == 20

    async def test_each_tenant_has_its_run(self, server, clarus):
        views = [clarus, clarus.for_subdomain("globex")]
        reports = await asyncio.gather(*(view.integrations.provision(batch(30)) for view in views))
        assert [report.counts[OutcomeStatus.CREATED] for report in reports] == [30, 30]
        assert len(server.created()) == len(server.created("globex")) == 30


DIALECTS = [
    *({field.name: getattr(OTHER, field.name)} for field in dataclasses.fields(Dialect)
      if getattr(OTHER, field.name) != getattr(PLAIN, field.name)),
    {"basic_only": True},
    {"introspection": "errors", "references": True},
    {"introspection": "400", "references": True},
    {"expires_in": "3600"},
    {"headers": ("Connection: close",)},
]  # fmt: skip


class TestDialects:
    """One thing at a time that the document leaves open: what breaks says which."""

    @pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: "-".join(dialect))
    async def test_everything_works_whatever_the_server_does(self, dialect):
        async with serve("plain", dialect=dialect) as server, client_of(server) as clarus:
            await clarus.ping()
            server.lose("after")
            made = await add(clarus, shop("Lost"), *batch(60))
            assert {each.id: each.name for each in made} == {i: each["name"] for i, each in server.created().items()}
            await clarus.integrations.update(made[0].id, IntegrationChanges(string1="one", is_active=True))
            await clarus.integrations.synchronize(made[0].id)
            await clarus.integrations.delete(made[1].id)
            assert server.stored()[made[0].id]["string1"] == "one"
            assert server.synchronized() == [made[0].id]
            rows = [row async for row in clarus.integrations.list(page_size=60)]
            assert sorted(row.id for row in rows) == sorted(server.stored())
            outcomes = await outcomes_of(clarus.integrations.provision(batch(62)))
            assert [outcome.status for outcome in outcomes] == ["created"] + ["adopted"] * 59 + ["created"] * 2
            assert len(server.created()) == 64

    @pytest.mark.parametrize("grant", ["client", "refresh", "code"])
    async def test_a_secret_that_is_only_taken_in_a_header(self, grant):
        own = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        async with serve("plain", dialect={"basic_only": True, "rotates": True}) as server, own:
            ours = server.credentials
            credentials = {
                "client": ours,
                "refresh": RefreshToken(ours.client_id, ours.client_secret, server.refresh_token()),
            }.get(grant)
            if grant == "code":
                flow = flow_of(server, session=own)
                credentials = await flow.exchange(await consent(server, flow), VERIFIER)
            async with client_of(server, credentials, session=own) as clarus:
                await clarus.ping()
            if grant != "code":
                assert server.tokens() == 2

    @virtual
    async def test_where_no_answer_has_a_date_a_lost_one_is_settled_by_the_caller(self):
        async with serve("plain", dialect={"date": False}) as server, client_of(server) as clarus:
            server.lose("after")
            with pytest.raises(OutcomeUnknownError) as caught:
                await clarus.integrations.create(shop("Lost"))
            assert caught.value.found == tuple(server.created())
            assert server.creates() == 1
