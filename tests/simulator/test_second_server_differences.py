"""The same raw requests to the simulator and to both dialects of the second server: where they agree, and where not.

A row of ``DIFFERENCES`` is what CLARUS_API.md leaves open and two servers decided differently, so nothing in the client
may rest on it. What the document says for certain is in ``AGREED``.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import aiohttp
import pytest

from tests.support import second_server
from tests.support.both_servers import SERVERS, serve

ALL = "/api/integrations"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LIST = """query($filter: IntegrationFilterType, $first: Int, $after: String) {
  integrations { all(filter: $filter, first: $first, after: $after) {
    edges { cursor node { id name integration_provider integration_type status enabled created_at } }
    pageInfo { hasNextPage endCursor } } } }"""


def new(**attributes):
    return {"data": {"type": "integrations", "attributes": {"name": "B", "integration_type": "xero"} | attributes}}


def changes(**attributes):
    return {"data": {"type": "integrations", "attributes": attributes}}


def query(text=LIST, **variables):
    return {"query": text, "variables": variables}


class Asked(NamedTuple):
    """A request; a header of ``None`` is left out, ``BASIC`` stands for the client's id and secret."""

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str | None] = {}


def attribute(name: str) -> Callable[[Any], Any]:
    """What an answer shows of an attribute, wrapped or bare."""
    return lambda document: document.get("data", {}).get("attributes", document).get(name, "left out")


def rows(*fields: str) -> Callable[[Any], Any]:
    def show(document: Any) -> Any:
        nodes = [edge["node"] for edge in document["data"]["integrations"]["all"]["edges"]]
        return [node[fields[0]] if len(fields) == 1 else tuple(node[field] for field in fields) for node in nodes]

    return show


def failed(document: Any) -> str:
    if "errors" not in document:
        return "data"
    return "errors, data null" if "data" in document else "errors"


def names_of_error(document: Any) -> list[str]:
    return sorted(document["errors"][0])


OPEN = "not documented"
BOTH = Asked("POST", ALL, new())
# What is asked and looked at; what the simulator, the second server and its other dialect say; CLARUS_API.md.
DIFFERENCES = {
    "create": (BOTH, None, 200, 200, 201, "§1: 200; accept 201 (I)"),
    "create-wrapped": (BOTH, lambda d: "data" in d, True, True, False, "§1: wrapped; §5: neighbours answer bare"),
    "create-id": (BOTH, lambda d: d.get("data", d)["id"], 3, 3, "3", "§1: integer; §5: some carry strings"),
    "create-unset": (BOTH, attribute("string1"), None, None, "left out", "§1: shown, nullable"),
    "create-type": (BOTH, attribute("integration_type"), "left out", "left out", "xero", "§1: may be left out"),
    "create-grown": (BOTH, attribute("lock_version"), "left out", "left out", 0, "§1: may grow fields"),
    "create-active": (BOTH, attribute("is_active"), True, True, None, "§1: default ?"),
    "create-unknown": (Asked("POST", ALL, new(colour="red")), None, 422, 200, 201, OPEN),
    "create-empty": (Asked("POST", ALL, new(string1="")), None, 422, 200, 201, "§4: empty strings are noise"),
    "create-blank": (Asked("POST", ALL, new(name=" ")), None, 422, 200, 201, OPEN),
    "create-null-for-object": (
        Asked("POST", ALL, new(configuration=None)), None, 200, 422, 422, "§1: not called nullable",
    ),
    "patch-null-for-object": (
        Asked("PATCH", f"{ALL}/1", changes(configuration=None)), None, 200, 422, 422,
        "§1: not called nullable; null clears (I)",
    ),
    "create-bare": (Asked("POST", ALL, {"name": "B"}), None, 400, 422, 422, OPEN),
    "create-other-type": (Asked("POST", ALL, {"data": {"type": "shops"}}), None, 400, 422, 422, OPEN),
    "patch-fixed": (Asked("PATCH", f"{ALL}/1", changes(provider="dhl")), None, 422, 200, 200, "§1: can't be patched"),
    "patch-configuration": (
        Asked("PATCH", f"{ALL}/1", changes(configuration={"b": 2})),
        attribute("configuration"), {"b": 2}, {"b": 2}, {"a": 1, "b": 2}, "§1 ?: merges or replaces",
    ),
    "patch-other-id": (
        Asked("PATCH", f"{ALL}/1", {"data": {"id": 2, **changes(name="B")["data"]}}), None, 200, 409, 409, OPEN
    ),
    "delete-no-type": (
        Asked("DELETE", f"{ALL}/1", headers={"Content-Type": None}), None, 204, 415, 415,
        "§2: every request carries Content-Type; not what becomes of one that does not",
    ),
    "synchronize-no-type": (
        Asked("POST", f"{ALL}/1/synchronize", headers={"Content-Type": None}), None, 200, 415, 415, "§2: the same",
    ),
    "synchronize-inactive": (Asked("POST", f"{ALL}/2/synchronize"), None, 200, 200, 422, "§1: 422 is listed, not why"),
    "get": (Asked("GET", ALL), None, 404, 405, 404, "§1: does not exist"),
    "put": (Asked("PUT", f"{ALL}/1", changes(name="B")), None, 404, 405, 404, "§1: does not exist"),
    "nowhere-unauthorized": (Asked("GET", "/x", headers={"Authorization": None}), None, 404, 401, 401, OPEN),
    "tenant": (Asked("POST", ALL, new(), {"X-Clarus-Subdomain": "initech"}), None, 403, 403, 404, OPEN),
    "no-tenant": (Asked("POST", ALL, new(), {"X-Clarus-Subdomain": None}), None, 403, 403, 404, OPEN),
    "error-form": (
        Asked("DELETE", f"{ALL}/99"), names_of_error,
        ["code", "context", "details", "source", "symbol"], ["code", "context", "details", "source", "symbol"],
        ["detail", "status", "title"], "§3: the first; read both",
    ),
    "token-life": (
        Asked("POST", "/oauth/token", b"grant_type=client_credentials", {**FORM, "Authorization": "BASIC"}),
        lambda d: d.get("expires_in"), 3600, 3600, None, "§2 ?: lifetime",
    ),
    "token-type": (
        Asked("POST", "/oauth/token", b"grant_type=client_credentials", {**FORM, "Authorization": "BASIC"}),
        lambda d: d["token_type"], "Bearer", "bearer", "bearer", "RFC 6749 §5.1: in any case",
    ),
    "token-twice": (
        Asked("POST", "/oauth/token", b"grant_type=client_credentials&client_secret=x",
              {**FORM, "Authorization": "BASIC"}),
        None, 400, 200, 200, "RFC 6749 §2.3: a client must not use two methods",
    ),
    "token-get": (Asked("GET", "/oauth/token"), None, 404, 405, 405, OPEN),
    "list-order": (Asked("POST", "/graphql", query()), rows("id"), ["1", "2"], ["1", "2"], ["2", "1"], OPEN),
    "list-type": (
        Asked("POST", "/graphql", query(filter={"name": {"eq": "A"}})),
        rows("integration_provider", "integration_type"),
        [("shopify", "ecommerce")], [("shopify", "ecommerce")], [(None, "shopify")], "§1: two vocabularies",
    ),
    "list-time": (
        Asked("POST", "/graphql", query(filter={"name": {"eq": "A"}})),
        lambda d: rows("created_at")(d)[0][19:].lstrip(".0123456789"),
        "Z", "+00:00", "-05:30", "§4: ISO 8601 with a timezone",
    ),
    "list-total": (
        Asked("POST", "/graphql", query("{ integrations { all { totalCount } } }")), failed,
        "errors", "data", "data", "§1: more by introspection",
    ),
    "list-references": (
        Asked("POST", "/graphql", query("{ integrations { all { edges { node { external_system_reference1 } } } } }")),
        failed, "errors", "errors", "data", "§1: more by introspection",
    ),
    "list-between": (
        Asked("POST", "/graphql", query(filter={"name": {"between": ["A"]}})), failed,
        "errors, data null", "data", "data", OPEN,
    ),
    "list-negative": (
        Asked("POST", "/graphql", query(first=-1)), failed,
        "errors, data null", "errors", "errors, data null", "§3: errors, and perhaps data: null",
    ),
    "graphql-syntax": (
        Asked("POST", "/graphql", query("{")), failed,
        "errors", "errors", "errors, data null", "§3: errors, and perhaps data: null",
    ),
}  # fmt: skip


AGREED = {
    "create-null": (Asked("POST", ALL, new(provider=None, string1=None)), attribute("name"), "B"),
    "create-no-name": (Asked("POST", ALL, new(name=None)), None, 422),
    "create-empty-name": (Asked("POST", ALL, new(name="")), None, 422),
    "create-no-type": (Asked("POST", ALL, new(integration_type=None)), None, 422),
    "create-text-for-integer": (Asked("POST", ALL, new(account_id="7")), None, 422),
    "create-true-for-integer": (Asked("POST", ALL, new(account_id=True)), None, 422),
    "create-list-for-object": (Asked("POST", ALL, new(configuration=[])), None, 422),
    "create-no-json": (Asked("POST", ALL, b"{"), None, 400),
    "create-text": (Asked("POST", ALL, new(), {"Content-Type": "text/plain"}), None, 415),
    "create-media-type": (
        Asked("POST", ALL, new(), {"Content-Type": "Application/JSON; charset=UTF-8"}), attribute("name"), "B"
    ),
    "create-chunked": (Asked("POST", ALL, [b'{"data": {"type": "integrations", "attr', b'ibutes": {"name": "C", "in',
                                           b'tegration_type": "x"}}}']), attribute("name"), "C"),
    "patch": (Asked("PATCH", f"{ALL}/1", changes(name="B")), None, 200),
    "patch-kept": (Asked("PATCH", f"{ALL}/1", changes(name="B")), attribute("string1"), "s"),
    "patch-nothing": (Asked("PATCH", f"{ALL}/1", changes()), attribute("name"), "A"),
    "patch-clears": (Asked("PATCH", f"{ALL}/1", changes(string1=None, is_active=None)), attribute("string1"), None),
    "patch-null-name": (Asked("PATCH", f"{ALL}/1", changes(name=None)), None, 422),
    "patch-missing": (Asked("PATCH", f"{ALL}/99", changes(name="B")), None, 404),
    "delete": (Asked("DELETE", f"{ALL}/1"), None, 204),
    "delete-missing": (Asked("DELETE", f"{ALL}/99"), None, 404),
    "delete-no-id": (Asked("DELETE", f"{ALL}/one"), None, 404),
    "synchronize": (
        Asked("POST", f"{ALL}/1/synchronize"),
        lambda d: (str(d["data"]["id"]), d["data"]["type"], d["data"]["attributes"]), ("1", "integrations", {}),
    ),
    "synchronize-missing": (Asked("POST", f"{ALL}/99/synchronize"), None, 404),
    "no-token": (Asked("POST", ALL, new(), {"Authorization": None}), None, 401),
    "wrong-token": (
        Asked("POST", "/graphql", query(), {"Authorization": "Bearer x"}),
        lambda d: [(name, type(value)) for name, value in d.items()], [("error", str)],
    ),
    "token-no-client": (Asked("POST", "/oauth/token", b"grant_type=client_credentials", FORM), None, 401),
    "token-no-form": (Asked("POST", "/oauth/token", {}, {"Authorization": "BASIC"}), None, 400),
    "token-no-grant": (
        Asked("POST", "/oauth/token", b"grant_type=password", {**FORM, "Authorization": "BASIC"}),
        lambda d: d["error"], "unsupported_grant_type",
    ),
    "token-used-up": (
        Asked("POST", "/oauth/token", b"grant_type=refresh_token&refresh_token=x", {**FORM, "Authorization": "BASIC"}),
        lambda d: d["error"], "invalid_grant",
    ),
    "list-row": (
        Asked("POST", "/graphql", query(filter={"enabled": {"eq": True}})),
        rows("id", "name", "status", "enabled"), [("1", "A", "active", True)],
    ),
    "list-one-for-many": (Asked("POST", "/graphql", query(filter={"name": {"in": "A"}})), rows("name"), ["A"]),
    "list-merged": (
        Asked("POST", "/graphql", query("{ sites { all { edges { node { id } } } } sites { ... { __typename } } }")),
        lambda d: (d["data"]["sites"]["__typename"], d["data"]["sites"]["all"]["edges"]),
        ("Sites", [{"node": {"id": "1"}}]),
    ),
    "graphql-mutation": (Asked("POST", "/graphql", query("mutation { x }")), lambda d: "errors" in d, True),
    "graphql-wrong-type": (Asked("POST", "/graphql", query(first="1")), lambda d: "errors" in d, True),
    "graphql-wrong-filter": (
        Asked("POST", "/graphql", query(filter={"colour": {"eq": "x"}})), lambda d: "errors" in d, True
    ),
}  # fmt: skip


async def said(which: str, asked: Asked, show: Callable[[Any], Any] | None) -> Any:
    """Ask a server that has two records: what a row looks at, or the status."""
    async with serve(which) as server, aiohttp.ClientSession(server.url, cookie_jar=aiohttp.DummyCookieJar()) as http:
        ours = server.credentials
        form = {"client_id": ours.client_id, "client_secret": ours.client_secret, "grant_type": "client_credentials"}
        async with http.post("/oauth/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}", "X-Clarus-Subdomain": "acme", "Content-Type": "application/json"}
        first = {"name": "A", "integration_type": "shopify", "configuration": {"a": 1}, "string1": "s"}
        for active, attributes in ((True, first), (False, first | {"name": "idle"})):
            document = changes(**attributes, is_active=active)
            async with http.post(ALL, json=document, headers=headers) as answer:
                await answer.read()
        pair = f"{quote_plus(ours.client_id)}:{quote_plus(ours.client_secret)}"
        basic = "Basic " + base64.b64encode(pair.encode()).decode()
        sent = {name: basic if value == "BASIC" else value for name, value in {**headers, **asked.headers}.items()}
        async with http.request(
            asked.method,
            asked.path,
            data=_body(asked.body),
            headers={name: value for name, value in sent.items() if value is not None},
            skip_auto_headers=["Content-Type"],
        ) as answer:
            body = await answer.read()
        return answer.status if show is None else show(json.loads(body))


def _body(body: Any) -> Any:
    if isinstance(body, list):
        return _chunks(body)
    return body if body is None or isinstance(body, bytes) else json.dumps(body)


async def _chunks(parts):
    for part in parts:
        yield part


@pytest.mark.parametrize("row", DIFFERENCES)
async def test_what_two_servers_decide_differently(row):
    asked, show, simulator, plain, other, _ = DIFFERENCES[row]
    answers = [await said(which, asked, show) for which in SERVERS]
    assert answers == [simulator, plain, other]
    assert not answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("row", AGREED)
async def test_what_every_server_says(row):
    asked, show, expected = AGREED[row]
    assert {which: await said(which, asked, show) for which in SERVERS} == dict.fromkeys(SERVERS, expected)


HEAD = b"POST /graphql HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\n{}" + HEAD + b"Connection: close\r\n\r\n", [401, 401]),
        (HEAD + b"transfer-encoding: Chunked\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n"
         + HEAD + b"Connection: close\r\n\r\n", [401, 401]),
        (b"GET / HTTP/1.0\r\n\r\n", [401]),
        (HEAD + b"Content-Length: two\r\n\r\n", [400]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", [400]),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
        (HEAD + b"No colon\r\n\r\n", [400]),
        (b"nonsense\r\n\r\n", [400]),
        (HEAD + b"Long: " + b"x" * 70_000 + b"\r\n\r\n", [431]),
    ],
    ids=["keep-alive", "chunked", "1.0", "length", "chunk", "both", "header", "request", "long"],
)  # fmt: skip
async def test_the_second_server_keeps_to_http(sent, statuses):
    async with serve("plain") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        await writer.wait_closed()
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)] == statuses


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
