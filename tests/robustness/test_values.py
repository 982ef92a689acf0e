"""Values that make no sense, from a server: ids, tokens, dates, waits and quotas.

How each is read by itself is in tests/wire, tests/auth/test_rfc6749.py and tests/ratelimit/test_headers.py; here is
what becomes of a call, and of the next.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from clarus_async import (
    Applied,
    ClarusError,
    Integration,
    OutcomeStatus,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    RetryPolicy,
    ServerError,
    Timeouts,
)
from tests.robustness.test_server import ROW, cheap, good, hostile, page
from tests.support.endings import CALLS, NEW, ended, read_all
from tests.support.stub_server import TOKEN_PATH, Reply, bearer, reply
from tests.support.virtual import now, virtual

# Ids: what is no number that the rest of this library and its journal can hold is none.

IDS = {
    "0": ("0", 0),
    "a string": ('"17"', 17),
    "the largest": (f"{2**63 - 1}", 2**63 - 1),
    "the largest, a string": (f'"{2**63 - 1}"', 2**63 - 1),
    "too large": (f"{2**63}", None),
    "too large, a string": (f'"{2**63}"', None),
    "20 digits": ("1" * 20, None),
    "400 digits": ("1" * 400, None),
    "negative": ("-1", None),
    "negative, a string": ('"-1"', None),
    "-0": ("-0", 0),
    "a fraction": ("1.0", None),
    "1e400": ("1e400", None),
    "true": ("true", None),
    "null": ("null", None),
    "an array": ("[1]", None),
    "an object": ('{"id": 1}', None),
    "empty": ('""', None),
    "a path": ('"1/../2"', None),
    "spaces": ('" 1 "', None),
    "other digits": ('"\u0663"', None),
}


@pytest.mark.parametrize(("text", "number"), IDS.values(), ids=IDS)
@virtual
async def test_an_id(text, number):
    def answer(asked):
        if asked.path == "/graphql":
            return Reply(200, page([ROW]).body.replace(b'"1"', text.encode()))
        return Reply(200, f'{{"data": {{"id": {text}, "attributes": {{"name": "A"}}}}}}'.encode())

    async with hostile(answer) as (_, clarus, heal, _):
        made = await ended(CALLS["create"](clarus, 1))
        read = await ended(read_all(clarus, 1))
        heal()
        await clarus.ping()
    if number is None:
        assert (type(made), made.applied) == (OutcomeUnknownError, Applied.YES)
        assert (type(read), read.applied) == (ResponseError, Applied.NO)
        # A number that is none is no JSON.
        assert read.pointer in {"", "/data/integrations/all/edges/0/node/id"}
    else:
        assert (made.id, [row.id for row in read]) == (number, [number])


async def test_an_id_that_no_journal_holds_is_read_as_none(tmp_path):
    def answer(asked):
        if b"__schema" in asked.body:
            return reply({"data": {"__schema": None}})
        return page() if asked.path == "/graphql" else reply({"data": {"id": 2**63, "attributes": {"name": "A"}}})

    timeouts = Timeouts(attempt=0.3, settle=0.3)
    async with (
        hostile(answer, timeouts=timeouts) as (_, clarus, _, _),
        clarus.integrations.provision([NEW], journal=tmp_path / "run.db") as run,
    ):
        [outcome] = [outcome async for outcome in run]

    assert (outcome.status, outcome.error.applied) == (OutcomeStatus.UNRESOLVED, Applied.YES)


# Tokens: what is none reaches no header.


@pytest.mark.parametrize("token", ["t\r\nX-Evil: 1", "t\u00e9", {"t": "t"}, None], ids=repr)
@virtual
async def test_what_is_no_token_reaches_no_header(token):
    async with hostile(good, lambda _: bearer(token)) as (server, clarus, heal, _):
        for call in CALLS.values():
            result = await ended(call(clarus, 1))
            assert (type(result), result.applied, result.path) == (ResponseError, Applied.NO, TOKEN_PATH)
            assert result.pointer == "/access_token"
        assert server.count(TOKEN_PATH) == len(server.asked)
        heal()
        await clarus.ping()


# Waits: kept to, up to an hour, or said at once.

WAITS = {
    "negative": ("Retry-After: -5",),
    "10^18": ("Retry-After: 1000000000000000000",),
    "10^17": ("Retry-After: 100000000000000000",),
    "in 1970": ("Retry-After: Thu, 01 Jan 1970 00:00:00 GMT",),
    "in 9999": ("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT",),
    "in 9999, and now it is year 1": (
        "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT",
        "Date: Mon, 01 Jan 0001 00:00:00 GMT",
    ),
    "text": ("Retry-After: soon",),
    "empty": ("Retry-After: ",),
    "several": ("Retry-After: 5", "Retry-After: 7"),
    "a list": ("Retry-After: 5, 7",),
    "NaN": ("Retry-After: NaN",),
    "Infinity": ("Retry-After: Infinity",),
    "4,000 digits": ("Retry-After: " + "9" * 4000,),
    "a fraction that never ends": ("Retry-After: 0." + "3" * 4000,),
    "other digits": ("Retry-After: \u0665".encode().decode("latin-1"),),
    "a date that is none": ("Retry-After: Wed, 99 Foo 2026 25:61:61 GMT",),
}


@pytest.mark.parametrize("lines", WAITS.values(), ids=WAITS)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry", [RetryPolicy(max_attempts=1), RetryPolicy()], ids=["once", "again"])
@virtual
async def test_a_wait_that_makes_no_sense(status, lines, retry):
    async with hostile(lambda _: reply({"error": "no"}, status, *lines), retry=retry) as (server, clarus, heal, _):
        for operation, call in CALLS.items():
            began = now()
            result = await ended(call(clarus, 1))
            assert now() - began <= 100.0
            if status == 429 or isinstance(result, RateLimitedError):
                # Where nobody gets through, a 503 that says when to come back holds back the calls after it.
                assert (type(result), result.applied) == (RateLimitedError, Applied.NO)
            elif operation in {"list", "ping"}:
                assert (type(result), result.applied) == (ServerError, Applied.NO)
            else:
                assert isinstance(result, ServerError | OutcomeUnknownError)
            assert str(result).isprintable()
            assert clarus.pace.paused_until is None or clarus.pace.paused_until <= datetime.now(UTC) + timedelta(
                hours=1
            )
        assert len(server.asked) <= 100
        heal()
        await asyncio.sleep(3600)
        await clarus.ping()


# Quotas.

_RESET = "X-RateLimit-Reset: "
QUOTAS = {
    "nothing, for ever": ("X-RateLimit-Limit: 0", "X-RateLimit-Remaining: 0", _RESET + "9" * 30),
    "negative": ("X-RateLimit-Limit: -5", "X-RateLimit-Remaining: -1", _RESET + "-1"),
    "endless": ("RateLimit-Limit: " + "9" * 1000, "RateLimit-Remaining: " + "9" * 1000, "RateLimit-Reset: 0"),
    "no numbers": ("X-RateLimit-Limit: NaN", "X-RateLimit-Remaining: Infinity", _RESET + "1e999"),
    "text": ('RateLimit-Policy: "a";q=;w=, ;;;=,"', 'RateLimit: "a";r=\\";t', "X-RateLimit-Limit: many"),
    "much text": ("RateLimit-Policy: " + '"a";q=1;w=1,' * 600, "RateLimit: " + ";" * 8000),
    "a quote that never ends": ('RateLimit: "' + '\\"' * 3000,),
    "a window of no time": ('RateLimit-Policy: "a";q=1;w=0', 'RateLimit: "a";r=0;t=0'),
    "a window of ages": ('RateLimit-Policy: "a";q=1;w=99999999999', 'RateLimit: "a";r=0;t=99999999999'),
    "several that differ": tuple(f"X-RateLimit-Remaining: {n}" for n in range(50)),
    "other digits": tuple(
        f"{name}: \u0665".encode().decode("latin-1") for name in ("RateLimit-Limit", "RateLimit-Reset")
    ),
    "a reset in 9999": ("X-RateLimit-Limit: 1", "X-RateLimit-Remaining: 0", _RESET + "Fri, 31 Dec 9999 23:59:59 GMT"),
    "a reset in 1970": ("X-RateLimit-Limit: 1", "X-RateLimit-Remaining: 0", _RESET + "1"),
}


@pytest.mark.parametrize("lines", QUOTAS.values(), ids=QUOTAS)
@virtual
async def test_a_quota_that_makes_no_sense(lines):
    def answer(asked):
        answered = good(asked)
        return answered._replace(headers=(*answered.headers, *lines))

    async with hostile(answer) as (_, clarus, heal, _):
        with cheap():
            for call in CALLS.values():
                result = await ended(call(clarus, 1))
                # That nothing is left for ages is believed for an hour.
                assert not isinstance(result, ClarusError) or isinstance(result, RateLimitedError)
        heal()
        await asyncio.sleep(3600)
        # One request an hour, where that was said, and its margin.
        await asyncio.sleep(60)
        began = now()
        await clarus.ping()
        assert now() - began < 1.0


# The server's clock: what it says decides which record answers for a create whose answer was lost.

DATES = {
    "none": None,
    "1970": "Thu, 01 Jan 1970 00:00:00 GMT",
    "year 1": "Mon, 01 Jan 0001 00:00:00 GMT",
    "year 1, east of us": "Mon, 01 Jan 0001 00:00:00 +2359",
    "9999": "Fri, 31 Dec 9999 23:59:59 GMT",
    "9999, west of us": "Fri, 31 Dec 9999 23:59:59 -2359",
    "garbage": "yesterday",
    "empty": "",
    "a number": "0",
    "long": "x" * 8000,
}


def dated(date):
    """A server that fails each create, and lists a record of the same name that was there before."""
    old = ROW | {"name": NEW.name, "created_at": "2020-01-01T00:00:00Z"}

    def answer(asked):
        answered = reply({"error": "no"}, 500) if asked.path == "/api/integrations" else page([old])
        if asked.path == "/graphql" and b"__schema" in asked.body:
            answered = reply({"errors": [{"message": "introspection is disabled"}]})
        said = date()
        return answered if said is None else answered._replace(headers=(*answered.headers, f"Date: {said}"))

    return answer


@pytest.mark.parametrize("date", DATES.values(), ids=DATES)
@virtual
async def test_a_record_that_was_there_before_is_not_taken_for_the_one_that_was_sent(date):
    async with hostile(dated(lambda: date)) as (_, clarus, heal, _):
        result = await ended(clarus.integrations.create(NEW))
        heal()
        await clarus.ping()
    assert not isinstance(result, Integration)
    assert result.applied is not Applied.YES
    assert type(result) in {OutcomeUnknownError, ServerError}


@virtual
async def test_where_the_clock_is_right_it_is_proved_not_to_be_there():
    answer = dated(lambda: format_datetime(datetime.now(UTC), usegmt=True))
    async with hostile(answer, timeouts=Timeouts(deadline=200.0)) as (_, clarus, _, _):
        result = await ended(clarus.integrations.create(NEW))
    assert (type(result), result.applied) == (ServerError, Applied.NO)
