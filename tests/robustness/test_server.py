"""A server that means no good: whatever it answers, a call ends in time, truly and cheaply, and the next one works.

In virtual time: nothing here may wait for ever. Answers of hundreds of megabytes are in test_large_answers.py, and
pages that can't be read in tests/resources/test_list.py.
"""

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib

import attrs
import pytest

from clarus_async import (
    AccessToken,
    ApiError,
    Applied,
    ClarusClient,
    ClientCredentials,
    ConfigurationError,
    OutcomeUnknownError,
    ResponseError,
    RetryPolicy,
    ServerError,
    Timeouts,
)
from tests.support.endings import CALLS, CUT, LATE, LOST, REDIRECTED, UNREADABLE, WELL, Ends, ended, read_all
from tests.support.stub_server import TOKEN_PATH, Reply, StubServer, bearer, created, reply
from tests.support.virtual import virtual

ONCE = RetryPolicy(max_attempts=1)
MOST = 32 * 2**20
ROW = {"id": "1", "name": "A", "integration_provider": "x", "integration_type": "x", "status": "active",
       "enabled": True, "created_at": "2026-01-10T12:00:00Z"}  # fmt: skip


def page(rows=(), **info):
    connection = {"edges": [{"node": row} for row in rows], "pageInfo": info or {"hasNextPage": False}}
    return reply({"data": {"integrations": {"all": connection}, "sites": {"all": {"edges": []}}}})


def good(asked):
    """What an honest server answers."""
    if asked.path == "/graphql":
        return page([ROW])
    return Reply(204, b"") if asked.method == "DELETE" else created()


@contextlib.asynccontextmanager
async def hostile(answer, token=None, **options):
    """A server that answers as it likes, until it is healed; a client of it; and a place where nobody must ask."""
    answers = [answer, token]

    def heal():
        answers[:] = [good, None]

    async def answered(asked):
        # As over a network, nothing takes no time at all.
        await asyncio.sleep(0.001)
        return answers[0](asked)

    options = {"retry": ONCE, "pacing": None, "timeouts": Timeouts(deadline=100.0)} | options
    credentials = AccessToken("x") if token is None else ClientCredentials("id", "secret")
    async with (
        StubServer(good) as elsewhere,
        StubServer(answered, lambda asked: (answers[1] or (lambda _: bearer("t")))(asked)) as server,
        ClarusClient("acme", credentials, base_url=server.url, **options) as clarus,
    ):
        yield server, clarus, heal, elsewhere
        assert elsewhere.asked == []


@contextlib.contextmanager
def cheap():
    """What happens here takes no more than 32 MiB at its peak."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST


# Redirects: never followed, wherever they lead.


LOCATIONS = {
    "none": lambda ours, theirs: (),
    "empty": lambda ours, theirs: ("Location: ",),
    "here": lambda ours, theirs: (f"Location: {ours}/elsewhere",),
    "elsewhere": lambda ours, theirs: (f"Location: {theirs}/elsewhere",),
    "with userinfo": lambda ours, theirs: (f"Location: {theirs.replace('//', '//user:password@')}/",),
    "without scheme": lambda ours, theirs: (f"Location: {theirs.partition(':')[2]}/",),
    "https": lambda ours, theirs: (f"Location: {theirs.replace('http:', 'https:')}/",),
    "file": lambda ours, theirs: ("Location: file:///etc/passwd",),
    "javascript": lambda ours, theirs: ("Location: javascript:alert(1)",),
    "relative": lambda ours, theirs: ("Location: ../elsewhere?x=1#y",),
    "several": lambda ours, theirs: (f"Location: {theirs}/1", f"Location: {theirs}/2"),
    "a line more": lambda ours, theirs: (f"Location: {theirs}/\r\nX-Evil: 1\r\nSet-Cookie: a=b",),
    "no URL": lambda ours, theirs: ("Location: http://[::1",),
    "not ASCII": lambda ours, theirs: (
        "Location: http://ex\u00e4mple/\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
    ),
    "refresh": lambda ours, theirs: (f"Refresh: 0; url={theirs}/",),
}
STATUSES = [300, 301, 302, 303, 304, 305, 307, 308, 399]


@pytest.mark.parametrize("lines", LOCATIONS.values(), ids=LOCATIONS)
@virtual
async def test_a_redirect_of_the_api_is_not_followed(lines):
    def redirect(_):
        return Reply(status, b"", lines(server.url, elsewhere.url))

    async with hostile(redirect) as (server, clarus, heal, elsewhere):
        for status in STATUSES:  # noqa: B007  what is answered
            for operation, call in CALLS.items():
                REDIRECTED.hold(operation, await ended(call(clarus, 1)))
        assert len(server.asked) == len(STATUSES) * len(CALLS)
        assert {asked.path for asked in server.asked} == {"/graphql", "/api/integrations", "/api/integrations/1"}
        heal()
        await clarus.ping()


@pytest.mark.parametrize("lines", LOCATIONS.values(), ids=LOCATIONS)
@virtual
async def test_a_redirect_of_the_token_endpoint_is_not_followed(lines):
    def redirect(_):
        return Reply(status, b"", lines(server.url, elsewhere.url))

    async with hostile(good, redirect) as (server, clarus, heal, elsewhere):
        for status in STATUSES:  # noqa: B007  what is answered
            result = await ended(CALLS["create"](clarus, 1))
            assert (type(result), result.applied) == (ConfigurationError, Applied.NO)
        assert [asked.path for asked in server.asked] == [TOKEN_PATH] * len(STATUSES)
        heal()
        await clarus.ping()


# Pages that lead nowhere.


PAGES = {
    "the same cursor again": lambda n: page([ROW], hasNextPage=True, endCursor="a"),
    "cursors in a circle": lambda n: page([ROW], hasNextPage=True, endCursor=f"{n % 7}"),
    "new cursors, and never a row": lambda n: page([], hasNextPage=True, endCursor=f"{n}"),
    "no cursor": lambda n: page([ROW], hasNextPage=True),
    "an empty cursor": lambda n: page([ROW], hasNextPage=True, endCursor=""),
    "a cursor that is a number": lambda n: page([ROW], hasNextPage=True, endCursor=n),
    "a cursor of a megabyte, again": lambda n: page([ROW], hasNextPage=True, endCursor="x" * 2**20),
}


@pytest.mark.parametrize("pages", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("read", [read_all, lambda clarus, _: clarus.integrations.find(name="A")], ids=["list", "find"])
@virtual
async def test_a_list_that_leads_nowhere_ends(pages, read):
    def answer(_):
        # Whoever goes on for ever is to fail, and not to hang.
        return pages(len(server.asked)) if len(server.asked) < 1000 else None

    async with hostile(answer) as (server, clarus, heal, _):
        with cheap():
            result = await ended(read(clarus, 1))
        assert (type(result), result.applied) == (ResponseError, Applied.NO)
        assert len(server.asked) <= 200
        heal()
        assert len(await read_all(clarus, 1)) == 1


# Answers that are none.


def raw(body, *headers, status=200):
    return lambda _: Reply(status, body, headers)


def as_text(text, *headers):
    return raw(text.encode("utf-8", "surrogatepass"), *headers)


def ok(document='{"id": 1, "name": "A"}'):
    """A body that answers everything, with a place for what is wrong with it."""
    return (
        f'{{"id": 1, "name": "A", "data": {{"id": 1, "type": "integrations", "attributes": {document}, '
        '"integrations": {"all": {"edges": []}}}}'
    )


JSON = {
    "empty": (raw(b""), UNREADABLE),
    "a page of HTML": (raw(b"<!DOCTYPE html><title>Sign in</title>", "Content-Type: text/html"), UNREADABLE),
    "a type that lies": (as_text(ok(), "Content-Type: text/html; charset=utf-16"), WELL),
    "a charset that is none": (as_text(ok(), "Content-Type: application/json; charset=nothing"), WELL),
    "null": (raw(b"null"), UNREADABLE),
    "an array": (raw(b"[]"), UNREADABLE),
    "a string": (raw(b'"data"'), UNREADABLE),
    "data that is null": (raw(b'{"data": null}'), UNREADABLE),
    "100,000 arrays deep": (raw(b"[" * 100_000 + b"]" * 100_000), UNREADABLE),
    "100,000 objects deep": (raw(b'{"data":' * 100_000 + b"1" + b"}" * 100_000), UNREADABLE),
    "900 deep": (as_text(ok('{"name": "A", "x": ' + "[" * 900 + "]" * 900 + "}")), WELL),
    "10^400": (as_text(ok('{"name": "A", "x": ' + "1" + "0" * 400 + "}")), UNREADABLE),
    "1e400": (as_text(ok('{"name": "A", "x": 1e400}')), UNREADABLE),
    "NaN": (as_text(ok('{"name": "A", "x": NaN}')), UNREADABLE),
    "-Infinity": (as_text(ok('{"name": "A", "x": -Infinity}')), UNREADABLE),
    "-0": (as_text(ok('{"name": "A", "x": -0, "y": -0.0}')), WELL),
    "a million digits": (as_text(ok('{"name": "A", "x": 0.' + "1" * 10**6 + "}")), WELL),
    "keys that are there twice": (as_text(ok('{"name": 1, "name": "A", "name": "A"}')), WELL),
    "50,000 keys": (as_text(ok('{"name": "A", ' + ",".join(f'"{n}":1' for n in range(50_000)) + "}")), WELL),
    "an escaped surrogate": (as_text(ok('{"name": "\\ud800"}')), UNREADABLE),
    "a surrogate as bytes": (as_text(ok('{"name": "\ud800"}')), UNREADABLE),
    "NUL, escaped": (as_text(ok('{"name": "A\\u0000B"}')), WELL),
    "NUL, as it is": (as_text(ok('{"name": "A\0B"}')), UNREADABLE),
    "a byte order mark": (as_text("\ufeff" + ok()), UNREADABLE),
    "UTF-16": (raw(ok().encode("utf-16")), UNREADABLE),
    "UTF-16 that says so": (raw(ok().encode("utf-16"), "Content-Type: application/json; charset=utf-16"), UNREADABLE),
    "Latin-1": (raw(ok('{"name": "caf\xe9"}').encode("latin-1")), UNREADABLE),
    "an overlong form": (raw(ok('{"name": "@"}').encode().replace(b"@", b"\xc0\xaf")), UNREADABLE),
    "text behind it": (as_text(ok() + ok()), UNREADABLE),
}
GZIP = "Content-Encoding: gzip"
PACKED = gzip.compress(ok().encode())
CODINGS = {
    "gzip": (raw(PACKED, GZIP), WELL),
    "gzip in gzip": (raw(gzip.compress(PACKED), GZIP), UNREADABLE),
    "gzip in gzip that says so": (raw(gzip.compress(PACKED), "Content-Encoding: gzip, gzip"), UNREADABLE),
    "gzip without its sum": (raw(PACKED[:-8], GZIP), WELL),
    "gzip, cut": (raw(PACKED[: len(PACKED) // 2], GZIP), UNREADABLE),
    "gzip with a wrong sum": (raw(PACKED[:-8] + b"\0" * 8, GZIP), CUT),
    "gzip and more": (raw(PACKED + b"more", GZIP), CUT),
    "gzip that is none": (raw(ok().encode(), GZIP), CUT),
    "deflate that is none": (raw(ok().encode(), "Content-Encoding: deflate"), CUT),
    "deflate without a header": (raw(zlib.compress(ok().encode())[2:-4], "Content-Encoding: deflate"), WELL),
    "brotli that is none": (raw(ok().encode(), "Content-Encoding: br"), CUT),
    "a coding nobody knows": (raw(PACKED, "Content-Encoding: x-pack"), UNREADABLE),
    "gzip in 2,000 members": (raw(gzip.compress(b" ") * 2000 + PACKED, GZIP), CUT),
}


def both(status, applied, error=ApiError, match=""):
    """What an error status ends with."""
    if applied is Applied.NO:
        return Ends(error, error, error, deleted=Applied.NO, match=match)
    return Ends(OutcomeUnknownError, OutcomeUnknownError, error, Applied.MAYBE, match=match)


STATUS = {
    "99": (raw(b"", status=99), LOST),
    "000": (raw(b"", status="000"), both(0, Applied.MAYBE)),
    "1000": (raw(b"", status=1000), LOST),
    "-1": (raw(b"", status=-1), LOST),
    "abc": (raw(b"", status="abc"), LOST),
    "100 and nothing more": (raw(b"", status=100), LATE),
    "101": (raw(b"", "Upgrade: evil", "Connection: Upgrade", status=101), both(101, Applied.MAYBE)),
    "204 with a body": (raw(ok().encode(), status=204), attrs.evolve(LOST)),
    "205": (raw(b"", status=205), UNREADABLE),
    "206 of it": (as_text(ok()[:40], "Content-Range: bytes 0-39/99"), UNREADABLE),
    "304 with a body": (raw(b"{}", status=304), LOST),
    "402": (raw(b"", status=402), both(402, Applied.NO)),
    "408": (raw(b"", status=408), both(408, Applied.MAYBE)),
    "418": (raw(b"\xff\xfe", status=418), both(418, Applied.NO)),
    "451": (raw(b"[[[[", status=451), both(451, Applied.NO)),
    "600": (raw(b"", status=600), both(600, Applied.MAYBE, ServerError)),
    "999": (raw(b"denied", status=999), both(999, Applied.MAYBE, ServerError)),
}
HEADERS = {
    "a request id of 64 KiB": (as_text(ok(), "X-Request-Id: " + "x" * 2**16), LOST),
    "a request id of 4 KiB": (raw(b"", "X-Request-Id: " + "x" * 4096, status=418), both(418, Applied.NO)),
    "a request id with escapes": (raw(b"", "X-Request-Id: \x1b[31m\x07red", status=418), both(418, Applied.NO)),
    "a request id that is not ASCII": (raw(b"", "X-Request-Id: \u202e\u00e9\u2028", status=418), both(418, Applied.NO)),
    "100 headers": (as_text(ok(), *(f"X-{n}: {n}" for n in range(100))), WELL),
    "10,000 headers": (as_text(ok(), *(f"X-{n}: {n}" for n in range(10_000))), LOST),
    "a header without a name": (as_text(ok(), ": 1"), LOST),
    "a header without a colon": (as_text(ok(), "X-Evil"), LOST),
    "a folded header": (as_text(ok(), "X-Long: 1\r\n 2"), WELL),
    "cookies": (as_text(ok(), "Set-Cookie: a=b; Domain=.example; Path=/"), WELL),
    "two lengths": (as_text(ok(), "Content-Length: 1"), LOST),
    "a length and chunks": (as_text(ok(), "Transfer-Encoding: chunked"), LOST),
}
ANSWERS = JSON | CODINGS | STATUS | HEADERS


@pytest.mark.parametrize(("answer", "ends"), ANSWERS.values(), ids=ANSWERS)
@virtual
async def test_each_call_ends_truly_and_the_next_one_works(answer, ends):
    for operation, call in CALLS.items():
        async with hostile(answer) as (server, clarus, heal, _):
            with cheap():
                result = await ended(call(clarus, 1))
            ends.hold(operation, result)
            assert len(server.asked) == 1
            heal()
            for again in CALLS.values():
                await again(clarus, 1)
