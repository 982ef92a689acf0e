"""The error tree: what each class is, what its one line says, and that it travels."""

import copy
import pickle
from datetime import UTC, datetime

import pytest

from clarus_async.errors import (
    ApiError,
    Applied,
    AuthenticationError,
    BadRequestError,
    ClarusError,
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorDetail,
    GraphQLError,
    InputProblem,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseError,
    ServerError,
    ValidationError,
    api_error_class,
)


def test_applied_has_the_three_words_of_the_contract():
    assert [applied.name for applied in Applied] == ["NO", "MAYBE", "YES"]


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ConfigurationError, ValueError),
        (InvalidInputError, ValueError),
        (ConnectionFailedError, ConnectionError),
        (DeadlineExceededError, TimeoutError),
    ],
)
def test_an_error_is_also_the_builtin_that_people_catch(error, builtin):
    assert issubclass(error, builtin)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError,
        InvalidInputError,
        AuthenticationError,
        ConnectionFailedError,
        DeadlineExceededError,
        OutcomeUnknownError,
        ResponseError,
        GraphQLError,
        ApiError,
    ],
)
def test_every_error_hangs_from_the_root(error):
    assert error.__bases__[0] is ClarusError


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, BadRequestError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, ValidationError),
        (429, RateLimitedError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
        (504, ServerError),
        (599, ServerError),
    ],
)
def test_a_status_has_its_own_class(status, cls):
    assert api_error_class(status) is cls
    assert cls.__bases__ == (ApiError,)


@pytest.mark.parametrize("status", [402, 405, 408, 410, 418, 451, 499])
def test_a_client_error_without_a_class_of_its_own_is_an_api_error(status):
    assert api_error_class(status) is ApiError


def test_what_an_error_carries_when_nothing_is_said():
    error = ClarusError("it went wrong")

    assert (error.message, error.applied, error.retryable, error.retry_after) == (
        "it went wrong",
        Applied.NO,
        False,
        None,
    )
    assert (error.method, error.path, error.request_id, error.attempts) == (None, None, None, 0)


def test_an_error_that_no_request_belongs_to_says_its_message():
    assert str(ConfigurationError("max_connections: must be an integer")) == "max_connections: must be an integer"


def test_the_line_names_the_request_what_was_applied_and_how_often_it_was_tried():
    error = ServerError("500", method="POST", path="/api/integrations", applied=Applied.MAYBE, attempts=3, status=500)

    assert str(error) == "POST /api/integrations: 500 [it may have been applied; attempts: 3]"


@pytest.mark.parametrize(
    ("applied", "words"),
    [
        (Applied.NO, "nothing was applied"),
        (Applied.MAYBE, "it may have been applied"),
        (Applied.YES, "it was applied"),
    ],
)
def test_the_line_says_in_words_what_was_applied(applied, words):
    assert words in str(ClarusError("x", method="POST", path="/", applied=applied))


def test_the_line_says_when_to_come_back():
    assert "retry after 2.5 s" in str(RateLimitedError("429", method="POST", path="/", retry_after=2.5))


def test_the_line_has_the_request_id_that_support_asks_for():
    assert "request id: abc-123" in str(ClarusError("500", method="POST", path="/", request_id="abc-123"))


@pytest.mark.parametrize("message", ["a\nb", "a\r\nb", "a\x0bb", "a\x0cb", "a\x85b", "a\u2028b", " a  b\n"])
@pytest.mark.parametrize("method", [None, "POST"])
def test_the_line_is_one_line_whatever_the_message_holds(message, method):
    line = str(ClarusError(message, method=method, path="/x"))

    assert len(line.splitlines()) == 1
    assert "a b" in line


def test_the_repr_names_the_class_and_the_line():
    assert repr(AuthenticationError("refused")) == "AuthenticationError('refused')"


def test_an_error_does_not_show_the_context_of_its_details():
    error = ValidationError(
        "422", method="POST", path="/", errors=(ErrorDetail(details="bad", context={"given": "canary"}),)
    )

    assert "canary" not in str(error) + repr(error)


@pytest.mark.parametrize(
    ("detail", "line"),
    [
        (ErrorDetail(), "no details"),
        (ErrorDetail(code=7), "7"),
        (ErrorDetail(code=0), "0"),
        (ErrorDetail(code="NOT_FOUND"), "NOT_FOUND"),
        (ErrorDetail(code=7, symbol="taken"), "taken"),
        (ErrorDetail(details="is taken"), "is taken"),
        (ErrorDetail(symbol="taken", details="is taken"), "taken: is taken"),
        (ErrorDetail(symbol="taken", details="is taken", source="name"), "taken: is taken (name)"),
        (ErrorDetail(source="name"), "no details (name)"),
    ],
)
def test_a_detail_in_one_line(detail, line):
    assert str(detail) == line


def test_details_that_are_equal_hash_alike_whatever_their_context():
    one, two = (ErrorDetail(code=1, context={"a": [1]}) for _ in range(2))

    assert one == two
    assert hash(one) == hash(two)


def test_invalid_input_names_every_problem():
    error = InvalidInputError.of("Record", [InputProblem("name", "is required"), InputProblem("id", "is odd")])

    assert str(error) == "Record: name: is required; id: is odd"
    assert error.problems == (("name", "is required"), ("id", "is odd"))


EVERY = [
    ConfigurationError("m"),
    InvalidInputError("m", problems=(InputProblem("name", "is required"),)),
    AuthenticationError("m", retry_after=1.0),
    ConnectionFailedError("m", retryable=True),
    DeadlineExceededError("m", attempts=2),
    OutcomeUnknownError(
        "m", applied=Applied.MAYBE, key="k", sent_at=datetime(2026, 1, 1, tzinfo=UTC), settled_by="looking"
    ),
    ResponseError("m", pointer="/data", expected="an object"),
    GraphQLError("m", errors=(ErrorDetail(details="no"),)),
    ValidationError("m", status=422, errors=(ErrorDetail(code=1, context={"a": 1}),), method="POST", path="/"),
]


def data_of(error):
    return {name: getattr(error, name) for name in vars(error) if not name.startswith("__")}


@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "travel",
    [*(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(2, 6)), copy.copy, copy.deepcopy],
    ids=["pickle2", "pickle3", "pickle4", "pickle5", "copy", "deepcopy"],
)
def test_an_error_travels_whole(error, travel):
    there = travel(error)

    assert type(there) is type(error)
    assert data_of(there) == data_of(error)
    assert str(there) == str(error)


def test_a_cause_of_ours_travels_along():
    error = OutcomeUnknownError("m")
    error.__cause__ = ServerError("500", status=500)

    cause = pickle.loads(pickle.dumps(error)).__cause__

    assert isinstance(cause, ServerError)
    assert cause.status == 500


def test_a_foreign_cause_stays_behind():
    class UnpicklableError(Exception):
        def __reduce__(self):
            raise TypeError("not this one")

    error = ConnectionFailedError("m")
    error.__cause__ = UnpicklableError()

    assert pickle.loads(pickle.dumps(error)).__cause__ is None


def test_a_copy_does_not_share_its_traceback():
    with pytest.raises(ConnectionFailedError) as caught:
        raise ConnectionFailedError("m")

    assert copy.copy(caught.value).__traceback__ is None


def test_a_class_of_the_callers_own_travels_too():
    there = pickle.loads(pickle.dumps(OwnError("m", attempts=2)))

    assert type(there) is OwnError
    assert there.attempts == 2


class OwnError(ClarusError):
    pass
