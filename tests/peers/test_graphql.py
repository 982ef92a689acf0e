"""GraphQL servers in the API's place: whatever is their own way, each call means the same."""

from __future__ import annotations

import pytest

from clarus_async import AccessToken, Applied, ClarusClient, ClarusError, GraphQLError, ServerError
from tests.peers.scenario import specs
from tests.peers.servers import server
from tests.peers.tour import tour


@pytest.fixture(scope="module")
def yoga():
    with server("yoga") as running:
        yield running


@pytest.fixture(scope="module")
def apollo():
    with server("apollo") as running:
        yield running


def client(process, setting, **options):
    return ClarusClient("acme", AccessToken("static-token"), base_url=f"{process.url}/{setting}", **options)


@pytest.mark.parametrize("setting", ["plain", "no-introspection", "complexity"])
async def test_yoga(yoga, setting):
    async with client(yoga, setting) as clarus:
        await tour(clarus, searchable=setting != "no-introspection")


@pytest.mark.parametrize("setting", ["plain", "production", "complexity-400", "complexity-500"])
async def test_apollo(apollo, setting):
    async with client(apollo, setting) as clarus:
        await tour(clarus, searchable=setting != "production")


class TestARefusalOfTheQuery:
    """Says why and that nothing was done, and costs a run no more than itself."""

    @pytest.fixture(params=["yoga", "apollo"])
    def peer(self, request):
        return request.getfixturevalue(request.param)

    async def refusal(self, peer, setting):
        async with client(peer, setting) as clarus:
            with pytest.raises(ClarusError) as caught:
                [row async for row in clarus.integrations.list()]
        return caught.value

    async def test_a_field_that_the_schema_does_not_have(self, peer):
        error = await self.refusal(peer, "older")

        assert "status" in str(error)
        assert "nothing was applied" in str(error)

    async def test_a_query_that_nobody_registered(self, yoga):
        error = await self.refusal(yoga, "persisted")

        assert isinstance(error, GraphQLError)
        assert "PersistedQueryOnly" in str(error)

    async def test_an_error_whose_cause_is_masked(self, yoga):
        error = await self.refusal(yoga, "broken")

        assert isinstance(error, GraphQLError | ServerError)
        assert "Unexpected error" in str(error)

    async def test_a_run_that_can_t_look_anything_up_creates_nothing_and_is_stopped(self, yoga):
        async with client(yoga, "persisted") as clarus:
            with pytest.raises(ClarusError, match="PersistedQueryOnly") as caught:
                async with clarus.integrations.provision(specs(0, 60)) as run:
                    assert [str(outcome.status) async for outcome in run] == []

        assert caught.value.applied is Applied.NO
