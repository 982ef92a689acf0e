"""The error that a call ends with: what happened and, above all, whether the thing was applied."""

from datetime import UTC, datetime

import pytest

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


def test_a_refusal_says_when_to_come_back():
    assert ended(ResponseSummary(503, retry_after=7.0)).retry_after == 7.0


def test_our_own_pace_says_it_better_than_the_server():
    assert ended(ResponseSummary(429, retry_after=7.0), wait=9.0).retry_after == 9.0


def test_a_failure_says_why_there_was_no_further_attempt():
    assert "500; the tenant's retry budget is empty" in str(
        ended(ResponseSummary(500), stop_reason="the tenant's retry budget is empty")
    )


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


@pytest.mark.parametrize("result", sorted(NEVER_SENDABLE))
def test_what_keeps_every_connection_from_being_made_is_a_configuration_error(result):
    error = ended(result)

    assert type(error) is ConfigurationError
    assert (error.applied, error.retryable) == (Applied.NO, False)
    assert str(result) in str(error)


@pytest.mark.parametrize("result", NoResponse)
@pytest.mark.parametrize("applied", Applied)
def test_where_and_why_there_was_no_answer_is_said(result, applied):
    error = ended(result, applied=applied, failure="no connection to clarus.test:443: Connection refused", attempts=4)

    assert "no connection to clarus.test:443: Connection refused" in str(error)
    assert str(result) not in str(error)


def test_what_was_withheld_is_not_tried_again():
    error = ended(NoResponse.WITHHELD)

    assert type(error) is ConnectionFailedError
    assert (error.applied, error.retryable) == (Applied.NO, False)
    assert "the permission to send has ended" in str(error)


@pytest.mark.parametrize("result", [NoResponse.NO_CONNECTION, NoResponse.CONNECTION_LOST, NoResponse.TIMED_OUT])
def test_no_answer_to_a_read_is_a_failed_connection(result):
    error = ended(result, OperationKind.READ, attempts=4, stop_reason="out of attempts")

    assert type(error) is ConnectionFailedError
    assert (error.applied, error.retryable, error.attempts) == (Applied.NO, True, 4)
    assert str(result) in str(error)


@pytest.mark.parametrize("kind", OperationKind)
def test_no_connection_is_a_failed_connection_whatever_was_meant(kind):
    assert type(ended(NoResponse.NO_CONNECTION, kind)) is ConnectionFailedError


def test_a_read_that_the_deadline_ended_exceeded_it():
    error = ended(NoResponse.TIMED_OUT, OperationKind.READ, out_of_time=True)

    assert type(error) is DeadlineExceededError
    assert error.retryable


def test_a_call_that_was_never_sent_exceeded_its_deadline():
    error = ended(None, stop_reason="the deadline has passed", out_of_time=True)

    assert type(error) is DeadlineExceededError
    assert (error.applied, error.attempts) == (Applied.NO, 0)
    assert "nothing was sent; the deadline has passed" in str(error)


def test_what_stopped_a_call_is_what_it_ends_with():
    stopped = AuthenticationError("no token")

    error = ended(None, stop_error=stopped)

    assert (repr(error), error.applied) == (repr(stopped), Applied.NO)


# An answer to a read that can't be read.


def test_a_read_that_can_not_be_read_names_the_place():
    error = ended(
        ResponseSummary(200, readable=False), OperationKind.READ, unreadable=Unreadable("/data/id", "an integer")
    )

    assert type(error) is ResponseError
    assert (error.pointer, error.expected, error.retryable) == ("/data/id", "an integer", False)
    assert "200, but it can't be read: /data/id should be an integer" in str(error)


def test_a_read_that_can_not_be_read_at_all_names_the_body():
    error = ended(ResponseSummary(200, readable=False), OperationKind.READ, unreadable=Unreadable("", "JSON"))

    assert "the body should be JSON" in str(error)


@pytest.mark.parametrize("unreadable", [None, Unreadable("", "the whole body")])
def test_a_read_that_did_not_come_whole_may_do_better_next_time(unreadable):
    error = ended(ResponseSummary(200, readable=False, whole=False), OperationKind.READ, unreadable=unreadable)

    assert type(error) is ResponseError
    assert error.retryable
    assert error.expected == "the whole body"
    assert "its body was cut short" in str(error)


# GraphQL's errors.


@pytest.mark.parametrize("applied", Applied)
def test_an_answer_that_reports_errors_is_a_graphql_error(applied):
    details = (ErrorDetail(code="FORBIDDEN", details="denied"),)
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
    assert "FORBIDDEN: denied" in str(error)


def test_an_answer_that_reports_errors_and_no_details_says_so():
    assert "reports errors, without details" in str(ended(ResponseSummary(200, faulty=True), OperationKind.READ))


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

    assert error.sent_at == SENT_AT
    assert error.settled_by in str(error)
    assert "the connection was lost before a response came" in str(error)
    assert "it may have been applied" in str(error)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (OperationKind.CREATE, "resolve(error), which looks the record up by its key"),
        (OperationKind.UPDATE, "sending the same changes again"),
        (OperationKind.DELETE, "deleting it again"),
        (OperationKind.ACTION, "the record's own state"),
    ],
)
def test_each_kind_is_settled_in_its_own_way(kind, words):
    assert words in unknown(NoResponse.TIMED_OUT, kind=kind).settled_by


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (OperationKind.CREATE, False),
        (OperationKind.UPDATE, True),
        (OperationKind.DELETE, True),
        (OperationKind.ACTION, False),
    ],
)
def test_only_what_can_be_repeated_without_harm_is_retryable(kind, retryable):
    assert unknown(NoResponse.TIMED_OUT, kind=kind).retryable is retryable


def test_an_action_that_its_caller_calls_repeatable_is_retryable():
    assert unknown(NoResponse.TIMED_OUT, kind=OperationKind.ACTION, repeatable=True).retryable


def test_no_answer_leaves_no_cause():
    assert unknown(NoResponse.TIMED_OUT).__cause__ is None


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
