"""What the mapping tests share: a client whose token needs no request, and what aioresponses saw of each request."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import aiohttp
from yarl import URL

from clarus_async import AccessToken, ClarusClient, NewIntegration, RetryPolicy, __version__

BASE = "https://clarus-api.com"
COLLECTION = f"{BASE}/api/integrations"
GRAPHQL = f"{BASE}/graphql"
TOKEN = f"{BASE}/oauth/token"
FAST = RetryPolicy(base=0.001, cap=0.01)
SHOP = NewIntegration(name="Shopify Store", integration_type="shopify")

USER_AGENT = f"clarus-async/{__version__} aiohttp/{aiohttp.__version__}"
HEADERS = {
    "Authorization": "Bearer token-1",
    "X-Clarus-Subdomain": "acme",
    "Content-Type": "application/json",
    "Accept": "application/json",
    "User-Agent": USER_AGENT,
}
"""The three documented headers (CLARUS_API.md §2), and what says who we are and what we read."""

ATTRIBUTES = {
    "name": "Shopify Store",
    "is_active": True,
    "account_id": 7,
    "warehouse_id": 8,
    "configuration": {"api_key": "k", "shop_domain": "mystore.myshopify.com"},
    "external_system_reference1": "r1",
    "external_system_reference2": "r2",
    "external_system_reference3": "r3",
    "string1": "s1",
    "string2": "s2",
    "string3": "s3",
    "string4": "s4",
    "string5": "s5",
}
"""The attributes of the vendor's sample answer, which has no ``integration_type`` (CLARUS_API.md §1)."""

VENDOR_ERRORS = {
    "errors": [
        {
            "code": 123,
            "symbol": "product_code_exists",
            "details": "The code is taken",
            "source": "name",
            "context": {"id": 9},
        },
        {"code": 7, "symbol": "is_blank", "details": "It can't be blank", "source": None, "context": None},
    ]
}
"""The documented body of 403, 404 and 422 (CLARUS_API.md §3)."""


def wrapped(id: object = 123, **attributes: object) -> dict[str, Any]:  # noqa: A002
    """The envelope of create's and update's answer."""
    return {"data": {"id": id, "type": "integrations", "attributes": attributes or ATTRIBUTES}}


def connection(*nodes: object, page_info: object = None, cursors: bool = False) -> dict[str, Any]:
    """The answer to the list query."""
    edges = [{"cursor": f"c{i}", "node": node} if cursors else {"node": node} for i, node in enumerate(nodes)]
    every: dict[str, Any] = {"edges": edges}
    if page_info is not None:
        every["pageInfo"] = page_info
    return {"data": {"integrations": {"all": every}}}


def node(**fields: object) -> dict[str, Any]:
    """The vendor's sample row."""
    return {
        "id": "1",
        "name": "Shopify Store",
        "integration_provider": "shopify",
        "integration_type": "ecommerce",
        "status": "active",
        "enabled": True,
        "created_at": "2026-01-10T12:00:00Z",
    } | fields


def make_client(credentials: object = None, **options: Any) -> ClarusClient:
    """A client of the tenant ``acme`` whose token needs no request, unless other credentials are given."""
    options.setdefault("retry", FAST)
    return ClarusClient("acme", credentials or AccessToken("token-1"), **options)


class Sent(NamedTuple):
    """One request as it was handed to aiohttp."""

    headers: dict[str, str]
    body: bytes | None
    options: dict[str, Any]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def sent(mocked: Any, method: str, url: str) -> list[Sent]:
    """Every request with this method to this URL, in order."""
    calls = mocked.requests.get((method, URL(url)), [])
    return [Sent(dict(call.kwargs["headers"]), call.kwargs["data"], call.kwargs) for call in calls]


def only(mocked: Any, method: str, url: str) -> Sent:
    """The one request that was sent at all."""
    assert [(verb, str(where)) for verb, where in mocked.requests] == [(method, url)]
    [request] = sent(mocked, method, url)
    return request


def times(mocked: Any) -> int:
    """How many requests were sent, wherever to."""
    return sum(map(len, mocked.requests.values()))
