"""Answers of real servers, spoilt on their way in every field of their heads and bodies: a call ends soon, in a record
or a reason, asks no more often than it may, and shows no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from clarus_async import (
    ClarusClient,
    ClarusError,
    ClientCredentials,
    IntegrationChanges,
    IntegrationFilter,
    NewIntegration,
    Timeouts,
)
from tests.peers.scenario import TENANT, Row
from tests.peers.servers import SECRET, ServerScenario, server

TIMEOUTS = Timeouts(connect=2.0, attempt=2.0, settle=2.0, deadline=4.0)
# A call and its settling, on a busy machine.
_WITHIN = 20.0
# Of one call and of what it has looked up; a refused token is asked for again until the deadline.
_MOST_REQUESTS = 150
_KINDS = ("token", "create", "update", "list", "delete")


class Answer(NamedTuple):
    """What came from the server, or goes to the client; no body cuts the connection."""

    status: int
    headers: dict[str, str]
    body: bytes | None


Spoil = Callable[[Answer], Answer]


class Spoilt(NamedTuple):
    """One kind of request whose answers are spoilt in one way."""

    kind: str
    how: str
    spoil: Spoil


def spoilings(kind: str, genuine: Answer) -> Iterator[Spoilt]:
    """Spoil an answer in every way, one at a time."""

    def with_header(name: str, value: str | None) -> Spoil:
        def spoil(answer: Answer) -> Answer:
            headers = {other: text for other, text in answer.headers.items() if other.lower() != name.lower()}
            return answer._replace(headers=headers if value is None else headers | {name: value})

        return spoil

    def with_body(body: bytes | None) -> Spoil:
        return lambda answer: answer._replace(body=body)

    def with_status(status: int, **more: str) -> Spoil:
        return lambda answer: answer._replace(status=status, headers=answer.headers | more)

    for name in {*genuine.headers, *_HEADERS}:
        for value in (None, *_VALUES, *_HEADERS.get(name, ())):
            yield Spoilt(kind, f"{name}: {value!r:.40}", with_header(name, value))
    for status in _STATUSES:
        yield Spoilt(kind, f"{status}", with_status(status))
        yield Spoilt(kind, f"{status} with Retry-After", with_status(status, **{"Retry-After": "1"}))
    body = genuine.body or b""
    for cut in {0, 1, len(body) // 2, len(body) - 1}:
        yield Spoilt(kind, f"the first {cut} bytes", with_body(body[: max(0, cut)]))
    for other in _BODIES:
        yield Spoilt(kind, f"{other!r:.40}", with_body(other))
    with contextlib.suppress(ValueError):
        for where, document in _changed(json.loads(body)):
            yield Spoilt(kind, where, with_body(json.dumps(document).encode()))


_VALUES = ("", "-1", "1e999", "ÿ" * 20, "a" * 4000, "Thu, 99 Foo 10000 99:99:99 GMT", SECRET)
_HEADERS = {
    "Retry-After": ("0", "1", "9" * 30, "Mon, 30 Nov 2026 02:43:56 GMT"),
    "WWW-Authenticate": ("Basic", 'Basic realm="', "Bearer error=invalid_client", "Negotiate, Basic, Digest ,,,"),
    "Content-Encoding": ("gzip", "br", "no-such"),
    "Content-Type": ("text/html", "application/problem+json", "application/json; charset=no-such"),
    "Location": ("https://elsewhere.example/",),
    "RateLimit": ("limit=1, remaining=0, reset=1",),
    "X-RateLimit-Remaining": ("0",),
    "X-RateLimit-Reset": ("1",),
    "X-Request-Id": (),
}
_STATUSES = (200, 201, 202, 204, 206, 301, 304, 400, 401, 403, 404, 407, 408, 409, 418, 422, 429, 500, 502, 503, 504,
             599)  # fmt: skip
_BODIES = (None, b"null", b"[]", b'""', b"0", b"{}", b"\xff\xfe", b"[" * 5000, b"<html><title>Oops</title>",
           b" " * 70_000)  # fmt: skip
_LEAVES: tuple[Any, ...] = (None, True, 0, -1, 1e300, 10**30, "", "x" * 5000, [], {}, [None], {"a": None}, SECRET)


def _changed(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield the document with one of its values replaced or taken away, for each of them."""
    for path in _paths(document):
        for leaf in _LEAVES:
            yield f"/{'/'.join(map(str, path))} = {leaf!r:.20}", _replaced(document, path, leaf)
        if path:
            yield f"/{'/'.join(map(str, path))} taken away", _replaced(document, path, _GONE)


_GONE = object()


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        for path in _paths(child):
            yield (name, *path)


def _replaced(value: Any, path: tuple[Any, ...], leaf: Any) -> Any:
    if not path:
        return leaf
    copy = value.copy()
    if leaf is _GONE and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = _replaced(value[path[0]], path[1:], leaf)
    return copy


class Relay:
    """Stands before a server: under ``/n`` the nth spoiling is done to its answers, under ``/`` none."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.genuine: dict[str, Answer] = {}
        self.spoilt: list[Spoilt] = []
        self.asked: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{n}/{path:.*}", self._pass)
        runner = web.AppRunner(app)
        # As they come: what is compressed or not is the spoiler's to say.
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                yield f"http://127.0.0.1:{runner.addresses[0][1]}"
            finally:
                await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        n, path = request.match_info["n"], request.match_info["path"]
        self.asked[n] += 1
        sent = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with self._session.request(request.method, f"{self._url}/{path}", data=sent, headers=headers) as came:
            kept = {name: value for name, value in came.headers.items() if name.lower() not in _HOP}
            answer = Answer(came.status, kept, await came.read())
        kind = _kind(request.method, path)
        if n == "genuine":
            self.genuine.setdefault(kind, answer)
        elif self.spoilt[int(n)].kind == kind:
            answer = self.spoilt[int(n)].spoil(answer)
        if answer.body is None and request.transport is not None:
            request.transport.abort()
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


# The relay's connections are its own.
_HOP = frozenset({"host", "content-length", "transfer-encoding", "connection", "keep-alive", "accept-encoding"})


def _kind(method: str, path: str) -> str:
    if path.endswith("token"):
        return "token"
    if path.endswith("graphql"):
        return "list"
    return {"POST": "create", "PATCH": "update", "DELETE": "delete"}[method]


async def rounds(relay: Relay, url: str, n: str) -> list[str]:
    """Make each call once, and say what of it must not be."""
    wrong: list[str] = []
    credentials = ClientCredentials("peer", SECRET)
    async with ClarusClient(TENANT, credentials, base_url=f"{url}/{n}", timeouts=TIMEOUTS) as clarus:
        made = 1

        async def create() -> None:
            nonlocal made
            new = NewIntegration(name=f"Shop {n}", integration_type="shopify", external_system_reference1=f"shop-{n}")
            made = (await clarus.integrations.create(new)).id

        async def update() -> None:
            await clarus.integrations.update(made, IntegrationChanges(string1="x"))

        async def list_() -> None:
            # The records of the other rounds would be read as well.
            [row async for row in clarus.integrations.list(IntegrationFilter(name=f"Shop {n}"), page_size=2)]

        async def delete() -> None:
            await clarus.integrations.delete(made)

        for call in (create, update, list_, delete):
            before = relay.asked[n]
            try:
                async with asyncio.timeout(_WITHIN):
                    await call()
            except ClarusError as error:
                if SECRET in str(error):
                    wrong.append(f"{call.__name__}: shows the secret: {type(error).__name__}")
            except TimeoutError:
                wrong.append(f"{call.__name__}: did not end")
            except Exception as error:
                wrong.append(f"{call.__name__}: {type(error).__name__}: {error}")
            if relay.asked[n] - before > _MOST_REQUESTS:
                wrong.append(f"{call.__name__}: {relay.asked[n] - before} requests")
    return wrong


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hostile(ServerScenario):
    """A server whose answers are spoilt."""

    path: str = ""  # under which it has the API
    every: int = 1  # of so many spoilings one is tried
    width: int = 32  # at a time

    async def run(self) -> Row:
        """Try all; a row's records are spoilings, and what failed is what was not as it should be."""
        began = time.monotonic()
        wrong: defaultdict[str, list[str]] = defaultdict(list)
        async with server(self.server) as peer:
            relay = Relay(peer.url + self.path)
            async with relay.serving() as url:
                assert await rounds(relay, url, "genuine") == []
                assert sorted(relay.genuine) == sorted(_KINDS)
                every = [each for kind in _KINDS for each in spoilings(kind, relay.genuine[kind])]
                relay.spoilt = every[:: self.every]
                at_a_time = asyncio.Semaphore(self.width)

                async def one(n: int) -> None:
                    async with at_a_time:
                        for text in await rounds(relay, url, str(n)):
                            wrong[text].append(f"{relay.spoilt[n].kind} {relay.spoilt[n].how}")

                await asyncio.gather(*map(one, range(len(relay.spoilt))))
        return Row(
            peer=self.name, records=len(relay.spoilt), goodput=None, refused=0.0, failed=sum(map(len, wrong.values())),
            seconds=time.monotonic() - began, pace="",
            errors=tuple(f"{text} ({len(where)}): {'; '.join(where[:3])}" for text, where in wrong.items()),
        )  # fmt: skip


SCENARIOS: tuple[Hostile, ...] = (
    Hostile(name="hostile-flask", server="flask"),
    Hostile(name="hostile-rails", server="rails"),
    Hostile(name="hostile-django", server="django"),
    Hostile(name="hostile-oidc-provider", server="oidc-provider"),
    Hostile(name="hostile-apollo", server="apollo", path="/plain"),
    Hostile(name="hostile-yoga", server="yoga", path="/plain"),
)
