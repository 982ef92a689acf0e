"""Error answers: which error each status becomes, and what of each body is in it."""

from datetime import UTC, datetime
from email.utils import format_datetime

import aiohttp
import pytest

from clarus_async import (
    ApiError,
    Applied,
    AuthenticationError,
    BadRequestError,
    ClarusError,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    ErrorDetail,
    IntegrationChanges,
    NotFoundError,
    OutcomeUnknownError,
    PacingPolicy,
    PermissionDeniedError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    Timeouts,
    ValidationError,
)
from tests.support.vendor import COLLECTION, GRAPHQL, SHOP, VENDOR_ERRORS, make_client, times


async def drain(listing):
    return [row async for row in listing]


OPERATIONS = {
    "create": ("POST", COLLECTION, lambda c: c.integrations.create(SHOP, on_unknown="raise")),
    "update": ("PATCH", f"{COLLECTION}/5", lambda c: c.integrations.update(5, IntegrationChanges(name="A"))),
    "delete": ("DELETE", f"{COLLECTION}/5", lambda c: c.integrations.delete(5)),
    "synchronize": ("POST", f"{COLLECTION}/5/synchronize", lambda c: c.integrations.synchronize(5)),
    "list": ("POST", GRAPHQL, lambda c: drain(c.integrations.list())),
    "find": ("POST", GRAPHQL, lambda c: c.integrations.find(name="A")),
    "ping": ("POST", GRAPHQL, lambda c: c.ping()),
    "query": ("POST", GRAPHQL, lambda c: c.graphql("{ a }")),
    "mutation": ("POST", GRAPHQL, lambda c: c.graphql("mutation { a }")),
}
every_operation = pytest.mark.parametrize("operation", OPERATIONS)

VENDOR_DETAILS = (
    ErrorDetail(code=123, symbol="product_code_exists", details="The code is taken", source="name", context={"id": 9}),
    ErrorDetail(code=7, symbol="is_blank", details="It can't be blank"),
)


@every_operation
@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, BadRequestError),
        (402, ApiError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, ApiError),
        (409, ConflictError),
        (410, ApiError),
        (413, ApiError),
        (415, ApiError),
        (422, ValidationError),
    ],
)
async def test_a_refusal_is_raised_at_once_with_all_that_it_says(mocked, clarus, operation, status, cls):
    method, url, call = OPERATIONS[operation]
    mocked.add(url, method, status=status, payload=VENDOR_ERRORS, headers={"X-Request-Id": "req-1"})

    with pytest.raises(cls) as caught:
        await call(clarus)
    error = caught.value
    assert type(error) is cls
    assert (error.status, error.errors) == (status, VENDOR_DETAILS)
    assert (error.applied, error.retryable, error.retry_after) == (Applied.NO, False, None)
    assert (error.method, error.path) == (method, url.removeprefix("https://clarus-api.com"))
    assert (error.request_id, error.attempts) == ("req-1", 1)
    assert error.__cause__ is None
    assert times(mocked) == 1


@every_operation
async def test_the_line_of_a_refusal_can_be_acted_on(mocked, clarus, operation):
    method, url, call = OPERATIONS[operation]
    mocked.add(url, method, status=422, payload=VENDOR_ERRORS, headers={"X-Request-Id": "req-1"})

    with pytest.raises(ValidationError) as caught:
        await call(clarus)
    assert str(caught.value) == (
        f"{method} {url.removeprefix('https://clarus-api.com')}: 422 product_code_exists: The code is taken (name); "
        "is_blank: It can't be blank [nothing was applied; attempts: 1; request id: req-1]"
    )


@every_operation
async def test_the_documented_401_is_an_authentication_error(mocked, clarus, operation):
    method, url, call = OPERATIONS[operation]
    mocked.add(url, method, status=401, payload={"error": "The session has ended"}, headers={"X-Request-Id": "req-1"})

    with pytest.raises(AuthenticationError) as caught:
        await call(clarus)
    error = caught.value
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, False, 1)
    assert (error.method, error.path) == (method, url.removeprefix("https://clarus-api.com"))
    assert error.request_id == "req-1"
    assert times(mocked) == 1


@every_operation
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_is_a_configuration_error(mocked, clarus, operation, status):
    method, url, call = OPERATIONS[operation]
    mocked.add(url, method, status=status, headers={"Location": "https://evil.example/", "X-Request-Id": "req-1"})

    with pytest.raises(ConfigurationError, match="redirects; check base_url") as caught:
        await call(clarus)
    error = caught.value
    assert (error.applied, error.retryable, error.attempts, error.request_id) == (Applied.NO, False, 1, "req-1")
    assert times(mocked) == 1


BODIES = {
    "documented": (VENDOR_ERRORS, VENDOR_DETAILS),
    "documented 401": ({"error": "No such thing"}, (ErrorDetail(details="No such thing"),)),
    "rfc 6749": (
        {"error": "invalid_grant", "error_description": "It is spent"},
        (ErrorDetail(symbol="invalid_grant", details="It is spent"),),
    ),
    "json:api": (
        {
            "errors": [
                {
                    "id": "e1",
                    "status": "422",
                    "code": "blank",
                    "title": "Invalid Attribute",
                    "detail": "name can't be blank",
                    "source": {"pointer": "/data/attributes/name"},
                    "meta": {"a": 1},
                },
                {"status": "422", "title": "Bad query", "source": {"parameter": "include"}},
                {"detail": "a header", "source": {"header": "Accept"}},
            ]
        },
        (
            ErrorDetail(
                code="blank",
                symbol="Invalid Attribute",
                details="name can't be blank",
                source="/data/attributes/name",
            ),
            ErrorDetail(code="422", symbol="Bad query", source="include"),
            ErrorDetail(details="a header", source="Accept"),
        ),
    ),
    "by field": (
        {"errors": {"name": ["is taken", "is short"], "base": "no"}},
        (ErrorDetail(source="name", details='["is taken","is short"]'), ErrorDetail(source="base", details="no")),
    ),
    "strings": ({"errors": ["one", "two"]}, (ErrorDetail(details="one"), ErrorDetail(details="two"))),
    "odd entries": ({"errors": [None, 3, {}]}, (ErrorDetail(), ErrorDetail(details="3"), ErrorDetail())),
    "no entries": ({"errors": []}, ()),
    "odd error": ({"error": {"a": 1}}, (ErrorDetail(details='{"a":1}'),)),
    "no errors": ({"status": 500, "message": "x"}, (ErrorDetail(details="x"),)),
    "a problem": (
        {"type": "about:blank", "title": "Conflict", "detail": "is taken", "instance": "/x"},
        (ErrorDetail(symbol="Conflict", details="is taken", source="/x"),),
    ),
    "a fault": ({"fault": {"faultstring": "denied"}}, (ErrorDetail(details="denied"),)),
    "missing members": ({"errors": [{"symbol": "s"}]}, (ErrorDetail(symbol="s"),)),
    "wrong types": (
        {"errors": [{"code": True, "symbol": 4, "details": [1], "source": 5, "context": "x"}]},
        (ErrorDetail(code="True", symbol="4", details="[1]", source="5"),),
    ),
}


@pytest.mark.parametrize(("body", "details"), BODIES.values(), ids=BODIES)
async def test_each_form_of_an_error_body_is_read(mocked, clarus, body, details):
    mocked.post(COLLECTION, status=422, payload=body)

    with pytest.raises(ValidationError) as caught:
        await clarus.integrations.create(SHOP)
    assert caught.value.errors == details


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (b"", ()),
        (b" \r\n", ()),
        (b"<html><head><title>413 Too \n Large</title></head></html>", "an HTML page: 413 Too Large"),
        (b"<html><body>nginx</body></html>", "<html><body>nginx</body></html>"),
        (b"not json", "not json"),
        (b"\x1b[31mr\xe9d", "[31mréd"),
        (b"[1, 2]", "[1,2]"),
        (b'"text"', '"text"'),
        (b"null", "null"),
    ],
)
async def test_anything_else_is_shown_as_text(mocked, clarus, body, details):
    mocked.post(COLLECTION, status=413, body=body, content_type="text/html")

    with pytest.raises(ApiError) as caught:
        await clarus.integrations.create(SHOP)
    assert caught.value.errors == ((ErrorDetail(details=details),) if details else ())


async def test_a_long_text_is_cut_and_stays_one_line(mocked, clarus):
    mocked.post(COLLECTION, status=422, payload={"errors": [{"details": "a\nb\r\n" + "x" * 10_000}]})

    with pytest.raises(ValidationError) as caught:
        await clarus.integrations.create(SHOP)
    assert len(str(caught.value)) < 800
    assert "\n" not in str(caught.value)


async def test_a_long_list_of_errors_is_cut(mocked, clarus):
    mocked.post(COLLECTION, status=422, payload={"errors": [{"symbol": f"e{i}"} for i in range(1000)]})

    with pytest.raises(ValidationError) as caught:
        await clarus.integrations.create(SHOP)
    assert len(caught.value.errors) == 20


@pytest.mark.parametrize("operation", ["list", "find", "ping", "query"])
@pytest.mark.parametrize(
    ("status", "cls"), [(408, ApiError), (500, ServerError), (502, ServerError), (504, ServerError), (599, ServerError)]
)
async def test_a_read_that_fails_to_the_end_is_the_servers_error(mocked, clarus, operation, status, cls):
    method, url, call = OPERATIONS[operation]
    mocked.add(url, method, status=status, payload={"error": "down"}, headers={"X-Request-Id": "req-1"}, repeat=True)

    with pytest.raises(cls, match="out of attempts") as caught:
        await call(clarus)
    error = caught.value
    assert (type(error), error.status, error.errors) == (cls, status, (ErrorDetail(details="down"),))
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, True, 4)
    assert error.request_id == "req-1"
    assert times(mocked) == 4


@pytest.mark.parametrize(
    ("operation", "attempts", "retryable"),
    [("create", 1, False), ("update", 4, True), ("delete", 4, True), ("synchronize", 1, False), ("mutation", 1, False)],
)
@pytest.mark.parametrize("status", [408, 500, 502, 504])
async def test_a_write_that_fails_to_the_end_has_the_last_answer_as_its_cause(
    mocked, clarus, operation, attempts, retryable, status
):
    method, url, call = OPERATIONS[operation]
    mocked.add(url, method, status=status, payload=VENDOR_ERRORS, headers={"X-Request-Id": "req-1"}, repeat=True)

    with pytest.raises(OutcomeUnknownError) as caught:
        await call(clarus)
    error, cause = caught.value, caught.value.__cause__
    assert (error.applied, error.retryable, error.attempts) == (Applied.MAYBE, retryable, attempts)
    assert (error.method, error.path) == (method, url.removeprefix("https://clarus-api.com"))
    assert (error.request_id, error.sent_at.tzinfo) == ("req-1", UTC)
    assert (cause.status, cause.errors, cause.applied) == (status, VENDOR_DETAILS, Applied.MAYBE)
    assert times(mocked) == attempts


@pytest.mark.parametrize("operation", ["create", "synchronize", "mutation", "update", "delete"])
@pytest.mark.parametrize(
    "exception", [aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError(104, "reset"), TimeoutError()]
)
async def test_a_write_without_an_answer_has_no_cause(mocked, clarus, operation, exception):
    method, url, call = OPERATIONS[operation]
    mocked.add(url, method, exception=exception, repeat=True)

    with pytest.raises(OutcomeUnknownError) as caught:
        await call(clarus)
    error = caught.value
    assert (error.applied, error.request_id, error.__cause__, error.__context__) == (Applied.MAYBE, None, None, None)


@every_operation
async def test_no_connection_means_that_nothing_was_sent(mocked, clarus, operation):
    method, url, call = OPERATIONS[operation]
    key = aiohttp.client_reqrep.ConnectionKey("h", 1, False, True, None, None, None)
    refused = aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "refused"))
    mocked.add(url, method, exception=refused, repeat=True)

    with pytest.raises(ConnectionFailedError, match="no connection to .*; out of attempts") as caught:
        await call(clarus)
    error = caught.value
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, True, 4)
    assert error.__cause__ is error.__context__ is None


async def test_an_exception_that_nobody_foresaw_is_told_as_what_it_is_and_shows_nothing(mocked, clarus, caplog):
    mocked.post(COLLECTION, exception=RuntimeError("Bearer token-1"))

    with pytest.raises(ConfigurationError, match=r"RuntimeError at .*core.py:\d+ in match") as caught:
        await clarus.integrations.create(SHOP)
    assert (caught.value.applied, caught.value.retryable, caught.value.attempts) == (Applied.NO, False, 1)
    assert "token-1" not in f"{caught.value}{caplog.text}"


@pytest.mark.parametrize(
    ("text", "date", "seconds"),
    [
        ("300", None, 300.0),
        ("300.5", None, 300.5),
        (" 300 ", None, 300.0),
        ("Sat, 10 Jan 2026 12:05:00 GMT", "Sat, 10 Jan 2026 12:00:00 GMT", 300.0),
        ("Saturday, 10-Jan-26 12:05:00 GMT", "Sat, 10 Jan 2026 12:00:00 GMT", 300.0),
    ],
)
async def test_a_429_that_can_not_be_waited_for_says_when_to_come_back(mocked, text, date, seconds):
    headers = {"Retry-After": text} | ({"Date": date} if date else {})
    mocked.post(COLLECTION, status=429, payload=VENDOR_ERRORS, headers=headers)

    async with make_client(pacing=PacingPolicy(max_wait=1000.0)) as clarus:
        with pytest.raises(RateLimitedError, match="the tenant's pause ends after the deadline") as caught:
            await clarus.integrations.create(SHOP)
    error = caught.value
    assert (error.status, error.errors) == (429, VENDOR_DETAILS)
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, True, 1)
    assert error.retry_after == pytest.approx(seconds, abs=1)


async def test_a_retry_after_date_without_a_date_is_measured_against_our_clock(mocked):
    text = format_datetime(datetime.fromtimestamp(datetime.now(UTC).timestamp() + 300, UTC), usegmt=True)
    mocked.post(COLLECTION, status=429, headers={"Retry-After": text})

    async with make_client() as clarus:
        with pytest.raises(RateLimitedError) as caught:
            await clarus.integrations.create(SHOP)
    assert caught.value.retry_after == pytest.approx(300, abs=2)


@pytest.mark.parametrize("operation", ["update", "delete", "synchronize", "ping", "mutation"])
async def test_a_503_that_can_not_be_waited_for_says_when_to_come_back(mocked, clarus, operation):
    method, url, call = OPERATIONS[operation]
    mocked.add(url, method, status=503, headers={"Retry-After": "300"})

    with pytest.raises(ClarusError) as caught:
        await call(clarus)
    error = caught.value
    assert type(error) is (ServerError if operation == "ping" else OutcomeUnknownError)
    assert (error.__cause__ or error).status == 503
    assert error.retry_after == 300.0
    assert error.applied is (Applied.NO if operation == "ping" else Applied.MAYBE)
    assert ("past the deadline" in str(error)) is (operation in {"update", "delete", "ping"})
    assert times(mocked) == 1


@pytest.mark.parametrize("text", ["soon", "", "-5", "1e3", "nan", "inf", "9" * 20])
async def test_a_retry_after_that_says_nothing_is_none(mocked, text):
    mocked.post(GRAPHQL, status=503, headers={"Retry-After": text})

    async with make_client(retry=RetryPolicy(max_attempts=1)) as clarus:
        with pytest.raises(ServerError) as caught:
            await clarus.ping()
    assert caught.value.retry_after is None


async def test_a_request_id_cannot_break_a_line(mocked, clarus):
    mocked.post(COLLECTION, status=422, headers={"X-Request-Id": "a\x1b[31mb" + "c" * 500})

    with pytest.raises(ValidationError) as caught:
        await clarus.integrations.create(SHOP)
    assert caught.value.request_id == ("a[31mb" + "c" * 500)[: len(caught.value.request_id)]
    assert len(caught.value.request_id) <= 128


async def test_retries_off_says_so(mocked):
    mocked.post(GRAPHQL, status=500, repeat=True)

    async with make_client(retry=RetryPolicy(max_attempts=1), timeouts=Timeouts()) as clarus:
        with pytest.raises(ServerError, match="retries are off"):
            await clarus.ping()
    assert times(mocked) == 1
