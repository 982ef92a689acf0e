"""The real gateways of Debian in front of an origin that nobody serves."""

import asyncio

import pytest

from clarus_async import AccessToken, ClarusClient, ClarusError, IntegrationChanges, RetryPolicy, Timeouts
from tests.peers.software import Haproxy, Nginx, Squid, Varnish
from tests.peers.support import skip_unless
from tests.support.process import free_port


@pytest.mark.parametrize(
    ("peer", "said"),
    [
        # The gateway answers at once, with a page of its own.
        (Nginx(), "502 Bad Gateway"),
        (Haproxy(defaults="retries 0"), "503 Service Unavailable"),
        (Varnish(), "503 Backend fetch failed"),
        (Squid(), "The requested URL could not be retrieved"),
        (Nginx(location="return 500;"), "500 Internal Server Error"),
        (Nginx(location="deny all;"), "403 Forbidden"),
        (Nginx(http="client_max_body_size 1;"), "413 Request Entity Too Large"),
        (Haproxy(frontend="http-request deny"), "403 Forbidden"),
        (Varnish(vcl="sub vcl_recv { return (synth(405)); }"), "405 Method Not Allowed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_gateways_own_page_is_an_error_in_words(peer, said):
    skip_unless(*peer.needs)
    async with peer.process(free_port()) as process:
        client = ClarusClient(
            "acme",
            AccessToken("token"),
            base_url=process.url,
            retry=RetryPolicy(max_attempts=1),
            timeouts=Timeouts(attempt=3.0, settle=3.0, deadline=3.0),
        )
        async with client as clarus, asyncio.timeout(10):
            with pytest.raises(ClarusError) as caught:
                await clarus.integrations.update(1, IntegrationChanges(name="Shop"))

    assert said in caught.value.message
    assert "<" not in caught.value.message
