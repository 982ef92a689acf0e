"""The error that a call ends with: what happened and, above all, whether the thing was applied."""

from datetime import UTC, datetime

import aiohttp
import pytest

from clarus_async import IntegrationChanges
from clarus_async.errors import (
    ApiError,
    Applied,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorDetail,
    GraphQLError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    ServerError,
    ValidationError,
)
from clarus_async.retry.call_error import FailedCall, call_error, not_there
from clarus_async.retry.effect import NEVER_SENDABLE, NoResponse, OperationKind, ResponseSummary
from clarus_async.wire.reading import Unreadable
from tests.support.vendor import COLLECTION, GRAPHQL, SHOP, VENDOR_ERRORS, times

SENT_AT = datetime(2026, 1, 10, 12, tzinfo=UTC)
WRITES = [kind for kind in OperationKind if kind is not OperationKind.READ]
DOUBT = [Applied.MAYBE, Applied.YES]


def ended(result, kind=OperationKind.CREATE, **known):
    return call_error(
        FailedCall(**{"kind": kind, "method": "POST", "path": "/api/integrations", "result": result} | known)
    )


def unknown(result, **known):
    error = ended(result, **{"applied": Applied.MAYBE} | known)
    assert type(error) is OutcomeUnknownError
    return error


# Nothing can have been applied.


@pytest.mark.parametrize(
    ("status", "cls", "retryable"),
    [
        (400, BadRequestError, False),
        (402, ApiError, False),
        (403, PermissionDeniedError, False),
        (404, NotFoundError, False),
        (408, ApiError, True),
        (409, ConflictError, False),
        (422, ValidationError, False),
        (429, RateLimitedError, True),
        (500, ServerError, True),
        (502, ServerError, True),
        (503, ServerError, True),
        (504, ServerError, True),
    ],
)
def test_a_refusal_has_the_class_of_its_status(status, cls, retryable):
    error = ended(ResponseSummary(status))

    assert type(error) is cls
    assert (error.status, error.applied, error.retryable) == (status, Applied.NO, retryable)


def test_a_refusal_says_what_the_server_said():
    details = (ErrorDetail(symbol="taken", details="is taken"), ErrorDetail(code=7))
    error = ended(ResponseSummary(422), details=details, request_id="abc", attempts=2)

    assert error.errors == details
    assert (error.request_id, error.attempts, error.method, error.path) == ("abc", 2, "POST", "/api/integrations")
    assert str(error) == (
        "POST /api/integrations: 422 taken: is taken; 7 [nothing was applied; attempts: 2; request id: abc]"
    )


def test_a_refusal_says_when_to_come_back_as_the_limiter_knows_it_better():
    assert ended(ResponseSummary(503, retry_after=7.0)).retry_after == 7.0
    assert ended(ResponseSummary(429, retry_after=7.0), wait=9.0).retry_after == 9.0


def test_a_second_401_is_an_authentication_error():
    error = ended(ResponseSummary(401), details=(ErrorDetail(details="invalid_token"),))

    assert type(error) is AuthenticationError
    assert "401 invalid_token: the API refuses a token that was just issued" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_a_configuration_error(status):
    error = ended(ResponseSummary(status))

    assert type(error) is ConfigurationError
    assert "check base_url (redirects are never followed)" in str(error)
    assert not error.retryable


@pytest.mark.parametrize(
    ("result", "cls", "retryable"),
    [
        *((result, ConfigurationError, False) for result in sorted(NEVER_SENDABLE)),
        (NoResponse.WITHHELD, ConnectionFailedError, False),
        (NoResponse.NO_CONNECTION, ConnectionFailedError, True),
        (NoResponse.CONNECTION_LOST, ConnectionFailedError, True),
        (NoResponse.TIMED_OUT, ConnectionFailedError, True),
    ],
)
@pytest.mark.parametrize("kind", OperationKind)
def test_without_an_answer_the_error_says_whether_another_attempt_may_help(result, cls, retryable, kind):
    error = ended(result, kind, attempts=4, stop_reason="out of attempts")

    assert type(error) is cls
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, retryable, 4)
    assert f"{result}; out of attempts" in str(error)


@pytest.mark.parametrize("result", NoResponse)
@pytest.mark.parametrize("applied", Applied)
def test_where_and_why_there_was_no_answer_is_said(result, applied):
    error = ended(result, applied=applied, failure="no connection to clarus.test:443: Connection refused", attempts=4)

    assert "no connection to clarus.test:443: Connection refused" in str(error)
    assert str(result) not in str(error)


@pytest.mark.parametrize(
    ("result", "words"), [(None, "nothing was sent; the deadline has passed"), (NoResponse.TIMED_OUT, "in time")]
)
def test_a_read_that_the_deadline_ended_exceeded_it(result, words):
    error = ended(result, OperationKind.READ, stop_reason="the deadline has passed", out_of_time=True)

    assert type(error) is DeadlineExceededError
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, True, 0)
    assert words in str(error)


def test_what_stopped_a_call_is_what_it_ends_with():
    stopped = AuthenticationError("no token")

    error = ended(None, stop_error=stopped)

    assert (repr(error), error.applied) == (repr(stopped), Applied.NO)


# An answer to a read that can't be read.


@pytest.mark.parametrize(("pointer", "named"), [("/data/id", "/data/id"), ("", "the body")])
def test_a_read_that_can_not_be_read_names_the_place(pointer, named):
    unreadable = Unreadable(pointer, "an integer")
    error = ended(ResponseSummary(200, readable=False), OperationKind.READ, unreadable=unreadable)

    assert type(error) is ResponseError
    assert (error.pointer, error.expected, error.retryable) == (pointer, "an integer", False)
    assert f"200, but it can't be read: {named} should be an integer" in str(error)


@pytest.mark.parametrize("unreadable", [None, Unreadable("", "the whole body")])
def test_a_read_that_did_not_come_whole_may_do_better_next_time(unreadable):
    error = ended(ResponseSummary(200, readable=False, whole=False), OperationKind.READ, unreadable=unreadable)

    assert type(error) is ResponseError
    assert error.retryable
    assert error.expected == "the whole body"
    assert "its body was cut short" in str(error)


# GraphQL's errors.


@pytest.mark.parametrize("applied", Applied)
@pytest.mark.parametrize(
    ("details", "words"),
    [
        ((ErrorDetail(code="FORBIDDEN", details="denied"),), "FORBIDDEN: denied"),
        ((), "the response reports errors, without details"),
    ],
)
def test_an_answer_that_reports_errors_is_a_graphql_error(applied, details, words):
    error = ended(
        ResponseSummary(200, faulty=True),
        OperationKind.ACTION,
        details=details,
        applied=applied,
        request_id="abc",
        attempts=1,
    )

    assert type(error) is GraphQLError
    assert (error.errors, error.applied, error.request_id, error.attempts) == (details, applied, "abc", 1)
    assert words in str(error)


# It may have been applied.


@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("applied", DOUBT)
@pytest.mark.parametrize(
    "result", [*NoResponse, *(ResponseSummary(s) for s in (200, 302, 401, 403, 404, 408, 422, 429, 500, 503))], ids=repr
)
def test_after_a_doubt_no_answer_makes_it_a_definite_failure(kind, applied, result):
    error = ended(result, kind, applied=applied)

    assert type(error) is OutcomeUnknownError
    assert error.applied is applied


def test_an_unknown_outcome_says_how_to_settle_it():
    error = unknown(NoResponse.CONNECTION_LOST, sent_at=SENT_AT, attempts=1)

    assert (error.sent_at, error.__cause__) == (SENT_AT, None)
    assert error.settled_by in str(error)
    assert "the connection was lost before a response came" in str(error)
    assert "it may have been applied" in str(error)


@pytest.mark.parametrize(
    ("kind", "words", "retryable"),
    [
        (OperationKind.CREATE, "resolve(error), which looks the record up by its key", False),
        (OperationKind.UPDATE, "sending the same changes again", True),
        (OperationKind.DELETE, "deleting it again", True),
        (OperationKind.ACTION, "the record's own state", False),
    ],
)
@pytest.mark.parametrize("repeatable", [False, True])
def test_each_kind_is_settled_in_its_own_way_and_may_be_retried_where_that_does_no_harm(
    kind, words, retryable, repeatable
):
    error = unknown(NoResponse.TIMED_OUT, kind=kind, repeatable=repeatable)

    assert words in error.settled_by
    assert error.retryable is (retryable or repeatable)


def test_the_last_answer_is_the_cause():
    error = unknown(
        ResponseSummary(500, retry_after=3.0),
        details=(ErrorDetail(details="boom"),),
        request_id="abc",
        applied=Applied.MAYBE,
    )

    assert type(error.__cause__) is ServerError
    assert error.__cause__.applied is Applied.MAYBE
    assert (error.request_id, error.retry_after) == ("abc", 3.0)
    assert "last answer: 500 boom" in str(error)


def test_a_success_that_could_not_be_read_is_the_cause():
    error = unknown(
        ResponseSummary(200, readable=False), unreadable=Unreadable("/data/id", "an integer"), applied=Applied.YES
    )

    assert type(error.__cause__) is ResponseError
    assert error.__cause__.pointer == "/data/id"
    assert error.applied is Applied.YES


def test_what_stopped_a_call_that_may_have_been_applied_is_the_cause():
    stopped = AuthenticationError("no token could be obtained")
    error = unknown(NoResponse.TIMED_OUT, stop_error=stopped)

    assert repr(error.__cause__) == repr(stopped)
    assert error.__cause__.applied is Applied.MAYBE
    assert "no token could be obtained" in str(error)


def test_an_unknown_outcome_says_why_there_was_no_further_attempt():
    assert "; out of attempts; settled by" in str(
        unknown(NoResponse.TIMED_OUT, kind=OperationKind.UPDATE, stop_reason="out of attempts")
    )


@pytest.mark.parametrize(
    "result", [None, *NoResponse, *(ResponseSummary(s) for s in (101, 200, 302, 401, 404, 500, 999))], ids=repr
)
@pytest.mark.parametrize("kind", OperationKind)
@pytest.mark.parametrize("applied", Applied)
def test_every_ending_is_one_line_that_names_the_request(result, kind, applied):
    line = str(ended(result, kind, applied=applied, stop_reason="because\nof this"))

    assert line.startswith("POST /api/integrations: ")
    assert len(line.splitlines()) == 1


class TestNotThere:
    """What a create ends with that a look did not find."""

    def test_what_the_server_said_is_why(self):
        said = ServerError("500", status=500, retryable=True, applied=Applied.MAYBE)
        error = OutcomeUnknownError("unknown", applied=Applied.MAYBE)
        error.__cause__ = said
        absent = not_there(error)
        assert type(absent) is ServerError
        assert absent.applied is Applied.NO
        assert absent.message.endswith("; a lookup found no record once the server had time to settle")

    def test_one_that_was_never_answered_failed_to_connect(self):
        error = OutcomeUnknownError(
            "unknown", applied=Applied.MAYBE, method="POST", path="/api/integrations", attempts=3, request_id="r"
        )
        absent = not_there(error)
        assert isinstance(absent, ConnectionFailedError)
        assert (absent.applied, absent.retryable) == (Applied.NO, True)
        assert (absent.method, absent.path, absent.attempts, absent.request_id) == ("POST", "/api/integrations", 3, "r")

    def test_what_was_never_sent_stays_as_it_is(self):
        error = ConnectionFailedError("no connection", retryable=True)
        assert not_there(error) is error


# As the server's answers become errors.

OPERATIONS = {
    "create": ("POST", COLLECTION, lambda c: c.integrations.create(SHOP, on_unknown="raise")),
    "update": ("PATCH", f"{COLLECTION}/5", lambda c: c.integrations.update(5, IntegrationChanges(name="A"))),
    "delete": ("DELETE", f"{COLLECTION}/5", lambda c: c.integrations.delete(5)),
    "synchronize": ("POST", f"{COLLECTION}/5/synchronize", lambda c: c.integrations.synchronize(5)),
    "list": ("POST", GRAPHQL, lambda c: anext(c.integrations.list())),
    "find": ("POST", GRAPHQL, lambda c: c.integrations.find(name="A")),
    "ping": ("POST", GRAPHQL, lambda c: c.ping()),
    "mutation": ("POST", GRAPHQL, lambda c: c.graphql("mutation { a }")),
}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_refusal_is_raised_with_all_that_it_says(mocked, clarus, operation):
    method, url, call = OPERATIONS[operation]
    path = url.removeprefix("https://clarus-api.com")
    mocked.add(url, method, status=422, payload=VENDOR_ERRORS, headers={"X-Request-Id": "req-1"})

    with pytest.raises(ValidationError) as caught:
        await call(clarus)
    error = caught.value
    assert error.errors == (
        ErrorDetail(
            code=123, symbol="product_code_exists", details="The code is taken", source="name", context={"id": 9}
        ),
        ErrorDetail(code=7, symbol="is_blank", details="It can't be blank"),
    )
    assert (error.status, error.applied, error.retryable, error.retry_after) == (422, Applied.NO, False, None)
    assert (error.method, error.path, error.request_id, error.attempts) == (method, path, "req-1", 1)
    assert error.__cause__ is None
    assert times(mocked) == 1


@pytest.mark.parametrize(
    "exception", [aiohttp.ServerDisconnectedError(), aiohttp.ClientOSError(104, "reset"), TimeoutError()]
)
async def test_a_write_without_an_answer_has_neither_cause_nor_context(mocked, clarus, exception):
    mocked.post(COLLECTION, exception=exception)

    with pytest.raises(OutcomeUnknownError) as caught:
        await clarus.integrations.create(SHOP, on_unknown="raise")
    error = caught.value
    assert (error.applied, error.request_id, error.__cause__, error.__context__) == (Applied.MAYBE, None, None, None)


async def test_an_exception_that_nobody_foresaw_is_told_as_what_it_is_and_shows_nothing(mocked, clarus, caplog):
    mocked.post(COLLECTION, exception=RuntimeError("Bearer token-1"))

    with pytest.raises(ConfigurationError, match=r"RuntimeError at .*core.py:\d+ in match") as caught:
        await clarus.integrations.create(SHOP)
    assert (caught.value.applied, caught.value.retryable, caught.value.attempts) == (Applied.NO, False, 1)
    assert "token-1" not in f"{caught.value}{caplog.text}"
