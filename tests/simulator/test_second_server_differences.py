"""What CLARUS_API.md leaves open and two servers answer differently, so nothing in the client may rest on it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support import second_server
from tests.support.both_servers import SERVERS, serve

ALL = "/api/integrations"
ROWS = "edges { node { id name integration_provider integration_type created_at } }"


def document(**attributes):
    return {"data": {"type": "integrations", "attributes": attributes}}


def listing(of: str = ROWS):
    return {"query": "query($filter: IntegrationFilterType) { integrations { all(filter: $filter) { " + of + " } } }"}


A_ALONE = listing() | {"variables": {"filter": {"name": {"eq": "A"}}}}
NEW = "POST", ALL, document(name="B", integration_type="xero")
TOKEN = "POST", "/oauth/token", None


def status(answer: int, _: Any) -> int:
    return answer


def attribute(name: str) -> Callable[[int, Any], Any]:
    """What an answer shows of an attribute, wrapped or bare."""
    return lambda _, answer: answer.get("data", {}).get("attributes", answer).get(name, "left out")


def of_rows(*fields: str) -> Callable[[int, Any], Any]:
    def show(_: int, answer: Any) -> Any:
        nodes = [edge["node"] for edge in answer["data"]["integrations"]["all"]["edges"]]
        return [tuple(node[field] for field in fields) for node in nodes]

    return show


# What is asked and looked at; what the simulator, the second server and its other dialect say; CLARUS_API.md.
DIFFERENCES = {
    "create": (NEW, status, 200, 200, 201, "§1: 200; accept 201 (I)"),
    "create-wrapped": (NEW, lambda _, d: "data" in d, True, True, False, "§1: wrapped; §5: neighbours answer bare"),
    "create-id": (NEW, lambda _, d: d.get("data", d)["id"], 3, 3, "3", "§1: integer; §5: some carry strings"),
    "create-unset": (NEW, attribute("string1"), None, None, "left out", "§1: shown, nullable"),
    "create-type": (NEW, attribute("integration_type"), "left out", "left out", "xero", "§1: may be left out"),
    "create-grown": (NEW, attribute("lock_version"), "left out", "left out", 0, "§1: may grow fields"),
    "create-active": (NEW, attribute("is_active"), True, True, None, "§1: default ?"),
    "patch-configuration": (
        ("PATCH", f"{ALL}/1", document(configuration={"b": 2})),
        attribute("configuration"), {"b": 2}, {"b": 2}, {"a": 1, "b": 2}, "§1 ?: merges or replaces",
    ),
    "synchronize-inactive": (
        ("POST", f"{ALL}/2/synchronize", None), status, 200, 200, 422, "§1: 422 is listed, not why"
    ),
    "error-form": (
        ("DELETE", f"{ALL}/99", None), lambda _, d: sorted(d["errors"][0]),
        ["code", "context", "details", "source", "symbol"], ["code", "context", "details", "source", "symbol"],
        ["detail", "status", "title"], "§3: the first; read both",
    ),
    "token-life": (TOKEN, lambda _, d: d.get("expires_in"), 3600, 3600, None, "§2 ?: lifetime"),
    "token-type": (TOKEN, lambda _, d: d["token_type"], "Bearer", "bearer", "bearer", "RFC 6749 §5.1: in any case"),
    "list-order": (
        ("POST", "/graphql", listing()), of_rows("id"),
        [("1",), ("2",)], [("1",), ("2",)], [("2",), ("1",)], "not documented",
    ),
    "list-type": (
        ("POST", "/graphql", A_ALONE), of_rows("integration_provider", "integration_type"),
        [("shopify", "ecommerce")], [("shopify", "ecommerce")], [(None, "shopify")], "§1: two vocabularies",
    ),
    "list-time": (
        ("POST", "/graphql", A_ALONE), lambda s, d: of_rows("created_at")(s, d)[0][0][19:].lstrip(".0123456789"),
        "Z", "+00:00", "-05:30", "§4: ISO 8601 with a timezone",
    ),
    "list-total": (
        ("POST", "/graphql", listing("totalCount")), lambda _, d: "errors" in d,
        True, False, False, "§1: more by introspection",
    ),
    "list-references": (
        ("POST", "/graphql", listing("edges { node { external_system_reference1 } }")), lambda _, d: "errors" in d,
        True, True, False, "§1: more by introspection",
    ),
}  # fmt: skip


async def said(which, asked, show):
    """What a server that has two records says."""
    method, path, body = asked
    async with serve(which) as server, aiohttp.ClientSession(server.url, cookie_jar=aiohttp.DummyCookieJar()) as http:
        ours = server.credentials
        form = {"client_id": ours.client_id, "client_secret": ours.client_secret, "grant_type": "client_credentials"}
        async with http.post("/oauth/token", data=form) as answer:
            granted = await answer.json()
            if path == "/oauth/token":
                return show(answer.status, granted)
        headers = {"X-Clarus-Subdomain": "acme", "Content-Type": "application/json"}
        headers["Authorization"] = f"Bearer {granted['access_token']}"
        first = {"name": "A", "integration_type": "shopify", "configuration": {"a": 1}, "string1": "s"}
        for there in (first | {"is_active": True}, first | {"name": "idle", "is_active": False}):
            async with http.post(ALL, json=document(**there), headers=headers) as answer:
                assert answer.ok
        async with http.request(method, path, json=body, headers=headers) as answer:
            return show(answer.status, await answer.json(content_type=None))


@pytest.mark.parametrize("row", DIFFERENCES)
async def test_what_two_servers_decide_differently(row):
    asked, show, *expected, _ = DIFFERENCES[row]
    answers = [await said(which, asked, show) for which in SERVERS]
    assert answers == expected
    assert not answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    "module",
    ["second_server", "second_integrations", "second_entities", "second_graphql", "stub_server"],
)
def test_the_second_server_shares_no_code_with_the_library(module):
    tree = ast.parse((Path(second_server.__file__).parent / f"{module}.py").read_text())
    imports = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imports |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    for name in imports:
        assert name.partition(".")[0] in {*sys.stdlib_module_names, "graphql"} or name.startswith(
            ("tests.support.second_", "tests.support.stub_server")
        )
