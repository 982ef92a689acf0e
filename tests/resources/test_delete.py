"""``delete``: no body either way."""

import pytest

from clarus_async import InvalidInputError, NotFoundError
from tests.support.vendor import COLLECTION, HEADERS, VENDOR_ERRORS, only, times

URL = f"{COLLECTION}/123"


async def test_it_sends_the_documented_headers_and_no_body(mocked, clarus):
    mocked.delete(URL, status=204)
    await clarus.integrations.delete(123)

    request = only(mocked, "DELETE", URL)
    assert request.headers == HEADERS
    assert request.body is None


@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize("body", [b"", b'{"data": null}', b"<html>gone</html>"])
async def test_any_success_will_do_whatever_its_body(mocked, clarus, status, body):
    mocked.delete(URL, status=status, body=body)

    assert await clarus.integrations.delete(123) is None


async def test_a_plain_404_is_an_error(mocked, clarus):
    mocked.delete(URL, status=404, payload=VENDOR_ERRORS)

    with pytest.raises(NotFoundError):
        await clarus.integrations.delete(123)


async def test_a_404_after_an_unknown_outcome_means_that_it_is_gone(mocked, clarus):
    mocked.delete(URL, status=502)
    mocked.delete(URL, status=404, payload=VENDOR_ERRORS)

    assert await clarus.integrations.delete(123) is None
    assert times(mocked) == 2


async def test_an_id_that_is_none_is_refused_before_it_is_sent(mocked, clarus):
    with pytest.raises(InvalidInputError, match="integer"):
        await clarus.integrations.delete("123")
    assert times(mocked) == 0
