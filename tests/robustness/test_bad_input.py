"""Bad input from either side is a clear error, and costs no more than 32 MiB whatever its size."""

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import brotli
import pytest

from clarus_async import (
    AccessToken,
    ClarusClient,
    ConfigurationError,
    IntegrationChanges,
    IntegrationFilter,
    InvalidInputError,
    NewIntegration,
    OutcomeUnknownError,
    ResponseError,
    RetryPolicy,
    Timeouts,
)
from clarus_async.simulator import Endpoint, FaultKind, Simulator

# What the caller gives: refused where it is made, with nothing sent.

GOOD = {"name": "A", "integration_type": "shopify"}


def problems(caught):
    return [(problem.field, problem.reason) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("attributes", "field", "reason"),
    [
        (GOOD | {"colour": "red"}, "colour", "is no attribute of an integration"),
        (GOOD | {"is_activ": True}, "is_activ", "is no attribute of an integration; did you mean is_active?"),
        (GOOD | {7: "x"}, "7", "is no attribute of an integration"),
        ({"integration_type": "x"}, "name", "is required"),
        ({"name": "A"}, "integration_type", "is required"),
        (GOOD | {"name": None}, "name", "is required"),
    ],
)
def test_an_unknown_or_missing_attribute_is_named(attributes, field, reason):
    with pytest.raises(InvalidInputError) as caught:
        NewIntegration.from_mapping(attributes)
    assert problems(caught) == [(field, reason)]


@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u3000"])
def test_an_empty_name_is_refused(name):
    with pytest.raises(InvalidInputError, match="name: must not be empty"):
        NewIntegration(name=name, integration_type="x")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("name", 7, "must be a string, not int"),
        ("name", b"A", "must be a string, not bytes"),
        ("name", "\ud800", "must be valid Unicode (it holds a lone surrogate)"),
        ("integration_type", ["x"], "must be a string, not list"),
        ("provider", 7, "must be a string, not int"),
        ("is_active", "true", "must be true or false, not str"),
        ("is_active", 1, "must be true or false, not int"),
        ("account_id", "7", "must be an integer, not str"),
        ("account_id", True, "must be an integer, not bool"),
        ("account_id", 7.0, "must be an integer, not float"),
        ("warehouse_id", 2**63, "must be an integer of at most 64 bits"),
        ("configuration", [], "must be a mapping or an attrs instance, not list"),
        ("configuration", "api_key=1", "must be a mapping or an attrs instance, not str"),
        ("external_system_reference1", 1, "must be a string, not int"),
        ("string5", {}, "must be a string, not dict"),
    ],
)
def test_a_wrong_type_is_named_with_what_was_expected(field, value, reason):
    with pytest.raises(InvalidInputError) as caught:
        NewIntegration(**(GOOD | {field: value}))
    assert problems(caught) == [(field, reason)]
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("configuration", "field"),
    [
        ({"a": object()}, "configuration.a"),
        ({"a": {"b": [1, {2}]}}, "configuration.a.b[1]"),
        ({"a": float("inf")}, "configuration.a"),
        ({"a": 2**64}, "configuration.a"),
        ({7: "x"}, "configuration"),
        ({"a": b"x"}, "configuration.a"),
        ({"a": "\udfff"}, "configuration.a"),
        (functools.reduce(lambda inner, _: {"a": inner}, range(100), {}), "configuration" + ".a" * 64),
    ],
)
def test_a_configuration_that_json_cannot_carry_says_where(configuration, field):
    with pytest.raises(InvalidInputError) as caught:
        NewIntegration(**GOOD, configuration=configuration)
    assert [where for where, _ in problems(caught)] == [field]


def test_a_configuration_that_holds_itself_is_refused():
    configuration = {}
    configuration["self"] = configuration
    with pytest.raises(InvalidInputError, match="must not nest deeper than 64 levels"):
        NewIntegration(**GOOD, configuration=configuration)


def test_every_problem_is_named_at_once_and_no_value_is_shown():
    with pytest.raises(InvalidInputError) as caught:
        NewIntegration.from_mapping({"name": " ", "account_id": "canary", "nome": "canary", "string1": ["canary"]})
    assert sorted(field for field, _ in problems(caught)) == [
        "account_id", "integration_type", "name", "nome", "string1",
    ]  # fmt: skip
    assert "canary" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (IntegrationChanges, "at least one attribute must be given"),
        (lambda: IntegrationChanges(name=None), "name: must be a string, not NoneType"),
        (lambda: IntegrationChanges(name=""), "name: must not be empty"),
        (lambda: IntegrationChanges(configuration=None), "configuration: must be a mapping"),
        (lambda: IntegrationChanges(string1=7), "string1: must be a string, not int"),
        (lambda: IntegrationFilter(name=7), "name: must be a string or a list of strings, not int"),
        (lambda: IntegrationFilter(name=[]), "name: must not be an empty list"),
        (lambda: IntegrationFilter(name=["A", 7]), "name: must be a string, not int"),
        (lambda: IntegrationFilter(is_active="yes"), "is_active: must be true or false, not str"),
        (lambda: IntegrationFilter(name_contains=""), "name_contains: must not be empty"),
        (lambda: Timeouts(attempt=0), "attempt: must be a finite number of seconds above 0"),
        (lambda: Timeouts(deadline="5"), "deadline: must be a number of seconds, not str"),
        (lambda: Timeouts(attempt=60.0, settle=30.0), "settle: must be at least as long as attempt"),
        (lambda: RetryPolicy(max_attempts=0), "max_attempts: must be an integer from 1 to 100"),
        (lambda: RetryPolicy(base=float("nan")), "base: must be a finite number of seconds above 0"),
    ],
)
def test_other_records_check_what_they_are_given(make, match):
    with pytest.raises(InvalidInputError, match=match):
        make()


@pytest.mark.parametrize("subdomain", ["acme\n", "acme\r\nX-Evil: 1", "\nacme", "acme\0", "a\u2028b"])
def test_a_subdomain_with_a_line_break_is_refused(subdomain):
    with pytest.raises(ConfigurationError, match="subdomain: must be one DNS label") as caught:
        ClarusClient(subdomain, AccessToken("x"))
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "match"),
    [
        ("http://clarus-api.com", "plain http would send the token unprotected"),
        ("http://127.0.0.1.evil.example", "plain http would send the token unprotected"),
        ("HTTP://clarus-api.com", "plain http would send the token unprotected"),
        ("clarus-api.com", "must be an absolute https URL"),
        ("ftp://clarus-api.com", "must be an absolute https URL"),
        ("https://", "must be an absolute https URL"),
        ("", "must be an absolute https URL"),
        (None, "must be an absolute https URL"),
        ("https://user:canary@clarus-api.com", "must hold no user name or password"),
        ("https://clarus-api.com?a=1", "must hold no query and no fragment"),
        ("https://clarus-api.com#a", "must hold no query and no fragment"),
        ("https://clarus-api.com/\r\nX-Evil: 1", "without spaces"),
        ("https://clarus-api.com:port", "is not a URL"),
        ("https://clarus-api.com:99999", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://clärus-api.com", "of ASCII characters"),
    ],
)
def test_a_base_url_that_would_not_do_is_refused(base_url, match):
    with pytest.raises(ConfigurationError, match=match) as caught:
        ClarusClient("acme", AccessToken("x"), base_url=base_url)
    assert "canary" not in str(caught.value)


def test_every_setting_that_is_wrong_is_named_at_once():
    with pytest.raises(ConfigurationError) as caught:
        ClarusClient("A", AccessToken("x"), base_url="x", timeouts=3, retry="x", max_connections=0, observer=object())
    for name in ("subdomain", "base_url", "timeouts", "retry", "max_connections", "observer"):
        assert f"{name}: " in str(caught.value)


# What the server answers.


async def test_a_create_answered_with_what_is_no_json_says_so():
    async with Simulator() as sim, ClarusClient("acme", sim.credentials, base_url=sim.url) as clarus:
        sim.script(Endpoint.CREATE, FaultKind.NOT_JSON)
        with pytest.raises(OutcomeUnknownError, match="it can't be read: the body should be JSON") as caught:
            await clarus.integrations.create(NewIntegration(**GOOD), on_unknown="raise")

    assert isinstance(caught.value.__cause__, ResponseError)
    assert (sim.count(Endpoint.CREATE), len(sim.integrations("acme"))) == (1, 1)


async def test_a_list_answered_with_what_is_no_json_says_so():
    async with Simulator() as sim, ClarusClient("acme", sim.credentials, base_url=sim.url) as clarus:
        sim.script(Endpoint.GRAPHQL, FaultKind.NOT_JSON)
        with pytest.raises(ResponseError, match="it can't be read: the body should be JSON"):
            [_ async for _ in clarus.integrations.list()]


SIZE = 300 * 10**6
MOST = 32 * 2**20
_PIECE = 2**20


def spaces():
    """300 MB that any JSON parser would pass over."""
    piece = b" " * _PIECE
    for _ in range(SIZE // _PIECE):
        yield piece
    yield b'{"data": {"id": 1, "type": "integrations", "attributes": {"name": "A"}}}'


def objects():
    """300 MB that a JSON parser has to keep."""
    piece = b"{}," * (_PIECE // 3)
    yield b'{"errors":['
    for _ in range(SIZE // _PIECE):
        yield piece
    yield b"{}]}"


@functools.cache
def packed(coding, make):
    """300 MB as a few hundred KB, made without ever holding them."""
    if coding == "br":
        packer = brotli.Compressor(quality=1)
        return b"".join([*map(packer.process, make()), packer.finish()])
    packer = zlib.compressobj(1, wbits=31 if coding == "gzip" else 15)
    # After a full flush the same piece is packed into the same bytes, so that once is enough. That makes the checksum
    # at the end a wrong one, but no client gets that far.
    pack = functools.cache(lambda piece: packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH))
    return b"".join([packer.flush(zlib.Z_FULL_FLUSH), *map(pack, make()), packer.flush()])


def encoded(coding, make=spaces, status=200, extra=()):
    body = packed(coding, make)
    lines = [f"Content-Encoding: {coding}", f"Content-Length: {len(body)}", *extra]
    return status, lines, lambda: iter([body])


def chunked(make=spaces):
    def pieces():
        for piece in make():
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    return 200, ["Transfer-Encoding: chunked"], pieces


def packed_chunks():
    def pieces():
        body = packed("gzip", spaces)
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    return 200, ["Transfer-Encoding: chunked", "Content-Encoding: gzip"], pieces


def endless(text):
    """A header that never ends."""
    return 200, [], lambda: (text * (_PIECE // len(text)) for _ in range(SIZE // _PIECE))


@contextlib.asynccontextmanager
async def serving(answer):
    """Serve one answer to every request, generated as it is sent; yield its URL."""
    status, lines, pieces = answer

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            head = [f"HTTP/1.1 {status} Whatever", "Content-Type: application/json", *lines]
            # Without a header of the answer's own, what follows is one more header.
            writer.write(("\r\n".join(head) + ("\r\n\r\n" if lines else "\r\nX-Endless: ")).encode())
            for piece in pieces():
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture(scope="module")
def measured():
    """Ask a client in another process to make a call; it says how that ended, and what it took at its peak."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux lets a process reset its peak memory")
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.support.measured_client"],
        cwd=Path(__file__).parents[2],
        # Large blocks go back to the system at once, so that one call's memory is not the next one's.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask(**question):
        worker.stdin.write(json.dumps(question) + "\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    async def call(answer, operation):
        async with serving(answer) as url:
            return await asyncio.to_thread(ask, url=url, operation=operation)

    yield call
    worker.stdin.close()
    worker.stdout.close()
    worker.wait(10)


CODINGS = ["gzip", "deflate", "br"]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("operation", ["create", "mutation"])
async def test_300_mb_for_a_write_are_an_unknown_outcome(measured, coding, operation):
    result = await measured(encoded(coding), operation)

    assert (result["error"], result["cause"], result["applied"]) == ("OutcomeUnknownError", "ResponseError", "yes")
    assert "at most 8388608 bytes" in result["text"]
    assert result["attempts"] == 1
    assert result["growth"] < MOST


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("operation", ["list", "ping"])
async def test_300_mb_for_a_read_are_a_response_error(measured, coding, operation):
    result = await measured(encoded(coding), operation)

    assert (result["error"], result["applied"]) == ("ResponseError", "no")
    assert "at most 8388608 bytes" in result["text"]
    assert result["growth"] < MOST


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("operation", ["update", "delete", "synchronize"])
async def test_300_mb_for_a_write_that_needs_no_answer_are_no_error(measured, coding, operation):
    result = await measured(encoded(coding), operation)

    assert result["error"] is None
    assert result["growth"] < MOST


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("operation", ["token", "exchange"])
async def test_300_mb_from_the_token_endpoint_are_a_response_error(measured, coding, operation):
    result = await measured(encoded(coding), operation)

    assert result["error"] == "ResponseError"
    assert result["growth"] < MOST


@pytest.mark.parametrize("answer", [chunked(), packed_chunks(), (200, [f"Content-Length: {SIZE + 72}"], spaces)])
@pytest.mark.parametrize("operation", ["create", "list"])
async def test_300_mb_in_plain_are_stopped_too(measured, answer, operation):
    result = await measured(answer, operation)

    assert result["error"] == ("OutcomeUnknownError" if operation == "create" else "ResponseError")
    assert "at most 8388608 bytes" in result["text"]
    assert result["growth"] < MOST


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, "ConfigurationError"),
        (401, "AuthenticationError"),
        (404, "NotFoundError"),
        (422, "ValidationError"),
        (500, "OutcomeUnknownError"),
    ],
)
async def test_300_mb_of_nothing_in_an_error_answer(measured, status, error):
    result = await measured(encoded("gzip", status=status), "create")

    assert result["error"] == error
    assert len(result["text"]) < 1000
    assert result["growth"] < MOST


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (422, "ValidationError"),
        (500, "OutcomeUnknownError"),
        (200, "OutcomeUnknownError"),
    ],
)
async def test_300_mb_of_errors(measured, status, error):
    result = await measured(encoded("gzip", objects, status), "create")

    assert result["error"] == error
    assert len(result["text"]) < 1000
    assert result["growth"] < MOST


@pytest.mark.parametrize("operation", ["create", "list"])
async def test_a_header_without_end(measured, operation):
    result = await measured(endless(b"x"), operation)

    assert result["error"] == ("OutcomeUnknownError" if operation == "create" else "ConnectionFailedError")
    assert result["growth"] < MOST


async def test_headers_without_end(measured):
    result = await measured(endless(b"1\r\nX-More: "), "create")

    assert result["error"] == "OutcomeUnknownError"
    assert result["growth"] < MOST
