"""The error tree: what each class is, what its one line says, and that it travels."""

import copy
import pickle
from datetime import UTC, datetime

import attrs
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
    with_facts,
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
    OutcomeUnknownError("m", applied=Applied.MAYBE, sent_at=datetime(2026, 1, 1, tzinfo=UTC), settled_by="looking"),
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


# What is made of an error by others.

WHOLE = {
    "method": "POST",
    "path": "/api",
    "applied": Applied.MAYBE,
    "attempts": 3,
    "request_id": "r",
    "retry_after": 2.0,
}


@pytest.mark.parametrize(
    "error", [*EVERY, ServerError("500", status=500, **WHOLE)], ids=lambda error: type(error).__name__
)
def test_what_is_made_of_its_args_is_the_same_class_and_text(error):
    there = type(error)(*error.args)

    assert type(there) is type(error)
    assert (str(there), there.message, there.args) == (str(error), error.message, error.args)
    assert error.args == (error.message,) == (str(error),)


def test_what_takes_the_message_has_the_whole_line():
    error = ServerError("500", status=500, **WHOLE)

    assert error.message == str(error)
    assert error.message == ("POST /api: 500 [it may have been applied; attempts: 3; retry after 2 s; request id: r]")


travels = pytest.mark.parametrize(
    "travel",
    [*(lambda e, p=p: pickle.loads(pickle.dumps(e, p)) for p in range(6)), copy.copy, copy.deepcopy],
    ids=[*(f"pickle{p}" for p in range(6)), "copy", "deepcopy"],
)


@travels
def test_notes_travel_along_and_are_the_copys_own(travel):
    error = ServerError("500", status=500)
    error.add_note("shop 17")

    there = travel(error)
    there.add_note("again")

    assert there.__notes__ == ["shop 17", "again"]
    assert error.__notes__ == ["shop 17"]


@travels
def test_ours_travel_in_a_group_and_as_a_cause_that_is_one(travel):
    first, second = ConnectionFailedError("refused"), ServerError("500", status=500)
    first.add_note("shop 17")
    error = OutcomeUnknownError("m")
    error.__cause__ = ExceptionGroup("several", [first, LookupError("a secret"), ExceptionGroup("more", [second])])

    cause = travel(error).__cause__
    assert [type(one) for one in leaves(cause)] == [ConnectionFailedError, ServerError]
    assert leaves(cause)[0].__notes__ == ["shop 17"]
    assert [str(one) for one in leaves(travel(ExceptionGroup("both", [first, second])))] == ["refused", "500"]


def leaves(group):
    return [leaf for one in group.exceptions for leaf in (leaves(one) if isinstance(one, ExceptionGroup) else [one])]


def test_a_copy_without_a_cause_shows_its_context():
    assert not copy.copy(ServerError("500")).__suppress_context__


# Classes of the callers' own, whose __init__ takes what it likes.


class SignatureError(ClarusError):
    def __init__(self, vault, *, code):
        super().__init__(f"vault {vault} said {code}", retryable=True, retry_after=5.0)
        self.vault = vault
        self.code = code


class MessageError(AuthenticationError):
    def __init__(self, message, code):
        super().__init__(f"{code} {message}")
        self.message = message


class OnlyItsOwnError(ClarusError):
    def __init__(self, code):
        self.code = code


class NewError(ConnectionFailedError):
    def __new__(cls, host, port):
        return super().__new__(cls, host, port)

    def __init__(self, host, port):
        super().__init__(f"{host}:{port} is down")


class SlottedError(ClarusError):
    __slots__ = ("code",)

    def __init__(self, code):
        super().__init__("no")
        self.code = code


@attrs.frozen(auto_exc=False, slots=False, repr=False, eq=False)
class FrozenError(ClarusError):
    code: int = attrs.field(kw_only=True)


@attrs.define
class AttrsError(ClarusError):
    code: int = attrs.field(kw_only=True)


class WrappedError(ClarusError):
    def __init__(self, error):
        super().__init__(error)
        self.message = error


class WordsError(ClarusError):
    def __str__(self):
        return "in words of its own"


CALLERS_OWN = {
    "a signature": lambda: SignatureError("kv", code=403),
    "a message": lambda: MessageError("no", 403),
    "no call of ours": lambda: OnlyItsOwnError(403),
    "a __new__": lambda: NewError("kv", 80),
    "slots": lambda: SlottedError(403),
    "frozen": lambda: FrozenError("no", code=403),
    "attrs": lambda: AttrsError("no", code=403),
    "an error": lambda: WrappedError(LookupError("no such key")),
    "words": lambda: WordsError("no"),
}
callers_own = pytest.mark.parametrize("make", CALLERS_OWN.values(), ids=CALLERS_OWN)


@callers_own
@travels
def test_a_class_of_the_callers_own_travels_whatever_it_takes(make, travel):
    error = make()

    there = travel(error)

    assert (type(there), str(there), there.args) == (type(error), str(error), error.args)
    assert getattr(there, "code", None) == getattr(error, "code", None)
    assert (there.applied, there.retryable, there.retry_after) == (error.applied, error.retryable, error.retry_after)


@callers_own
def test_other_facts_of_an_error_of_the_callers_own(make):
    error = make()
    text = str(error)

    there = with_facts(error, retry_after=7.0)

    assert type(there) is type(error)
    assert (there.retry_after, str(there)) == (7.0, text)
    assert str(error) == text


def test_other_facts_are_told_by_the_copy_and_not_by_the_error():
    error = ServerError("500", status=500, method="POST", path="/api")

    there = with_facts(error, reason="500; and again", attempts=2)

    assert str(there) == there.args[0] == "POST /api: 500; and again [nothing was applied; attempts: 2]"
    assert str(error) == error.args[0] == "POST /api: 500 [nothing was applied; attempts: 0]"


def test_evolving_an_error_tells_the_request_once():
    error = ServerError("500", status=500, method="POST", path="/api")

    assert str(attrs.evolve(error, attempts=2)) == "POST /api: 500 [nothing was applied; attempts: 2]"
