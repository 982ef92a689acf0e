"""``synchronize``: no request body, and an answer of which nothing is needed."""

import pytest

from clarus_async import InvalidInputError, OutcomeUnknownError
from tests.support.vendor import COLLECTION, HEADERS, only, times

URL = f"{COLLECTION}/123/synchronize"


async def test_it_sends_the_documented_headers_and_no_body(mocked, clarus):
    mocked.post(URL, payload={"data": {"id": 123, "type": "integrations", "attributes": {}}})
    await clarus.integrations.synchronize(123)

    request = only(mocked, "POST", URL)
    assert request.headers == HEADERS
    assert request.body is None


@pytest.mark.parametrize("body", [b'{"data": {"id": 1, "type": "integrations", "attributes": {}}}', b"", b"{", b"[]"])
@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_success_will_do_whatever_its_body(mocked, clarus, status, body):
    mocked.post(URL, status=status, body=body)

    assert await clarus.integrations.synchronize(123) is None


async def test_it_is_not_sent_again_where_the_outcome_is_unknown(mocked, clarus):
    mocked.post(URL, status=500, repeat=True)

    with pytest.raises(OutcomeUnknownError):
        await clarus.integrations.synchronize(123)
    assert times(mocked) == 1


async def test_it_is_sent_again_where_a_second_one_does_no_harm(mocked, clarus):
    mocked.post(URL, status=500)
    mocked.post(URL, status=200)
    await clarus.integrations.synchronize(123, repeatable=True)

    assert times(mocked) == 2


async def test_an_id_that_is_none_is_refused_before_it_is_sent(mocked, clarus):
    with pytest.raises(InvalidInputError, match="integer"):
        await clarus.integrations.synchronize(None)
    assert times(mocked) == 0
