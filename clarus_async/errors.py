"""Errors: plain data that pickles, says whether the thing happened, and holds no secret.

# Errors

Everything that goes wrong is a `ClarusError`. Each has `applied` (the most that any attempt may have done: `no`,
`maybe` or `yes`), `retryable`, `retry_after` in seconds, `method`, `path`, `request_id` and `attempts`. `str(error)`,
`error.message` and `error.args[0]` are the same whole line: what failed, where, why, and whether it was applied.

```python
from clarus_async import Applied, ClarusClient, ClarusError, ClientCredentials

async with ClarusClient("acme", ClientCredentials("id", "secret")) as clarus:
    try:
        await clarus.integrations.delete(1)
    except ClarusError as error:
        print(error, error.applied is Applied.NO, error.retryable)
```

| error | what to do |
|---|---|
| `ConfigurationError` | correct the setting that it names |
| `InvalidInputError` | correct the fields in `problems`; nothing was sent |
| `AuthenticationError` | use credentials that work; the message says what else may end tokens |
| `ConnectionFailedError`, `DeadlineExceededError` | try again; nothing was applied |
| `OutcomeUnknownError` | do what `settled_by` says before you send it again; for a create, `resolve(error)` |
| `JournalError` | do what the message says; nothing is sent that the journal does not hold |
| `RateLimitedError` | try again after `retry_after` seconds |
| `BadRequestError`, `PermissionDeniedError`, `NotFoundError` | read `errors`; the same call fails again |
| `ConflictError`, `ValidationError` | the same |
| `ServerError` | try again; nothing was applied |
| `GraphQLError` | read `errors` |
| `ResponseError` | the server's answer is not as documented at `pointer` |

Those with an HTTP status are `ApiError`s. `ConfigurationError` and `InvalidInputError` are also `ValueError`s,
`ConnectionFailedError` is a `ConnectionError`, and `DeadlineExceededError` is a `TimeoutError`.

Errors travel: they come out of Celery, `multiprocessing` and `concurrent.futures` with their class and text, and a
pickle keeps every attribute and note.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import attrs

from clarus_async.pydantic_schema import PydanticRecord

E = TypeVar("E", bound="ClarusError")


class Applied(StrEnum):
    """The most that any attempt of a call may have done on the server."""

    NO = "no"
    MAYBE = "maybe"
    YES = "yes"


_APPLIED_IN_WORDS = {
    Applied.NO: "nothing was applied",
    Applied.MAYBE: "it may have been applied",
    Applied.YES: "it was applied",
}


@attrs.frozen(kw_only=True)
class ErrorDetail(PydanticRecord):
    """One entry of an error response, in whichever format it came (CLARUS_API.md §3).

    Args:
        code: the vendor's integer code, or the string of a JSON:API or GraphQL error.
        symbol: the vendor's machine-readable name, such as ``product_code_exists``.
        details: the server's text, scrubbed of configuration values that were sent.
        source: what the error is about: an attribute, a JSON pointer or a GraphQL path.
        context: whatever else the server said about it.
    """

    code: int | str | None = None
    symbol: str | None = None
    details: str | None = None
    source: str | None = None
    context: Mapping[str, Any] | None = attrs.field(default=None, hash=False)

    def __str__(self) -> str:
        """Return one line: symbol or code, text, and source."""
        name = self.symbol or (None if self.code is None else str(self.code))
        text = ": ".join(part for part in (name, self.details) if part) or "no details"
        return f"{text} ({self.source})" if self.source else text


# Each field is made keyword-only by itself: before attrs 25.4, a class's kw_only=True held for its bases' fields, too.
# auto_exc=False: else attrs puts every field into ``args``, from which nobody could rebuild the exception.
@attrs.define(auto_exc=False, slots=False, repr=False, eq=False)
class ClarusError(Exception):
    """The base class of every exception that this library raises on purpose.

    Its ``args`` are its ``message`` alone, so that whoever rebuilds it from them gets the same class and text.

    Args:
        message: what happened, in one line.
        applied: the most that any attempt of the call may have done.
        retryable: whether the same call, unchanged, may succeed later.
        retry_after: seconds after which the server, or the rate limiter, lets it be tried again.
        method: the HTTP method, if it is about a request.
        path: the request's path.
        request_id: the server's ``X-Request-Id``, if it sent one.
        attempts: how many requests of this call were sent.

    Attributes:
        message: the whole line with all the facts; also ``str(error)``.
        reason: the ``message`` that the error was constructed with, without the other facts.
    """

    reason: str = attrs.field(alias="message")
    applied: Applied = attrs.field(default=Applied.NO, kw_only=True)
    retryable: bool = attrs.field(default=False, kw_only=True)
    retry_after: float | None = attrs.field(default=None, kw_only=True)
    method: str | None = attrs.field(default=None, kw_only=True)
    path: str | None = attrs.field(default=None, kw_only=True)
    request_id: str | None = attrs.field(default=None, kw_only=True)
    attempts: int = attrs.field(default=0, kw_only=True)
    message: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        _set_message(self)

    def __str__(self) -> str:
        """Return the message."""
        return str(self.message or super().__str__())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes, for a subclass may have an ``__init__`` of its own; notes are kept.

        A cause from this library is pickled with it, and any other is dropped: it may not pickle, or hold a secret.
        """
        state: Any = object.__getstate__(self)
        held, slots = state if isinstance(state, tuple) else (state, {})
        held = {**held, **slots}
        if isinstance(notes := held.get("__notes__"), list):
            # A copy has notes of its own.
            held["__notes__"] = [*notes]
        return _restored, (type(self), self.args, held, _own_cause(self.__cause__))


def _line(error: ClarusError) -> str:
    facts = [_APPLIED_IN_WORDS[error.applied], f"attempts: {error.attempts}"]
    if error.retry_after is not None:
        facts.append(f"retry after {error.retry_after:g} s")
    if error.request_id is not None:
        facts.append(f"request id: {error.request_id}")
    whole = f"{error.method} {error.path}: {error.reason} [{'; '.join(facts)}]"
    return " ".join((str(error.reason) if error.method is None else whole).split())


def _set_message(error: ClarusError) -> None:
    # object.__setattr__, because a subclass may be frozen.
    object.__setattr__(error, "message", _line(error))
    object.__setattr__(error, "args", (error.message,))


def _restored(cls: type[E], args: tuple[Any, ...], held: Mapping[str, Any], cause: BaseException | None) -> E:
    # Not by a subclass's __new__ or __init__, whose arguments are not known.
    builtin: Any = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    error: E = builtin.__new__(cls)
    object.__setattr__(error, "args", args)
    for name, value in held.items():
        object.__setattr__(error, name, value)
    if cause is not None:
        error.__cause__ = cause
    return error


def _own_cause(cause: BaseException | None) -> BaseException | None:
    if isinstance(cause, BaseExceptionGroup):
        return cause.subgroup(ClarusError)
    return cause if isinstance(cause, ClarusError) else None


def with_facts(error: E, **facts: Any) -> E:  # noqa: ANN401
    """Return a copy of an error, which others may hold, with other values of its attributes and without traceback."""
    own: E = _restored(*ClarusError.__reduce__(error)[1])
    # A subclass may have a message of its own, which stays.
    ours = "message" in vars(own) and own.message == _line(own)
    for name, value in facts.items():
        object.__setattr__(own, name, value)
    if ours:
        _set_message(own)
    return own


class ConfigurationError(ClarusError, ValueError):
    """A setting is wrong: the client's, or that of a server that redirects or has a certificate that is not valid."""


class InputProblem(NamedTuple):
    """What is wrong with one field of the input.

    Args:
        field: the field's name, dotted where it is nested.
        reason: what was expected; never the value itself.
    """

    field: str
    reason: str

    def __str__(self) -> str:
        """Return ``field: reason``."""
        return f"{self.field}: {self.reason}"


@attrs.define(auto_exc=False, slots=False, repr=False, eq=False)
class InvalidInputError(ClarusError, ValueError):
    """The input is not valid; nothing was sent.

    Args:
        problems: every field that is wrong, and why.
    """

    problems: tuple[InputProblem, ...] = attrs.field(default=(), kw_only=True)

    @classmethod
    def of(cls, what: str, problems: list[InputProblem]) -> InvalidInputError:
        """Return one error that names every problem of a value called ``what``."""
        return cls(f"{what}: " + "; ".join(map(str, problems)), problems=tuple(problems))


class AuthenticationError(ClarusError):
    """The token endpoint refused the credentials, or the API answered 401 to a token that was just issued."""


class ConnectionFailedError(ClarusError, ConnectionError):
    """No response came, and nothing can have been applied."""


class DeadlineExceededError(ClarusError, TimeoutError):
    """Time ran out, and nothing can have been applied."""


@attrs.define(auto_exc=False, slots=False, repr=False, eq=False)
class OutcomeUnknownError(ClarusError):
    """The request may have been applied, and no response proves it either way.

    The error of the last response, if there was one, is the ``__cause__``.

    Args:
        sent_at: when the last request that may have been applied was sent (UTC).
        settled_by: what would settle it.
        pending: for a create, what is known of it, from which ``resolve`` goes on: its ``key``, ``keys``,
            ``first_sent_at``, ``settles_at``, ``found``, ``not_ours`` and ``idempotency_key``. It holds nothing else of
            what was sent.
    """

    sent_at: datetime | None = attrs.field(default=None, kw_only=True)
    settled_by: str | None = attrs.field(default=None, kw_only=True)
    pending: Any = attrs.field(default=None, kw_only=True)

    @property
    def key(self) -> str | None:
        """What the record can be looked up by, for a create."""
        return None if self.pending is None else str(self.pending.key)

    @property
    def settles_at(self) -> datetime | None:
        """From when on a lookup proves that it is not there (UTC), for a create."""
        at: datetime | None = None if self.pending is None else self.pending.settles_at
        return at

    @property
    def found(self) -> tuple[int, ...]:
        """Ids of the records that may be it."""
        return () if self.pending is None else tuple(self.pending.found)


class JournalError(ClarusError, OSError):
    """The journal of a run can't be used or written; nothing is sent that it does not hold."""


@attrs.define(auto_exc=False, slots=False, repr=False, eq=False)
class ResponseError(ClarusError):
    """The response to a read can't be read.

    Args:
        pointer: where in the body (JSON Pointer, RFC 6901).
        expected: the type or format that was expected there.
    """

    pointer: str = attrs.field(default="", kw_only=True)
    expected: str = attrs.field(default="", kw_only=True)


@attrs.define(auto_exc=False, slots=False, repr=False, eq=False)
class GraphQLError(ClarusError):
    """A GraphQL response with ``errors`` (CLARUS_API.md §3).

    Args:
        errors: the server's entries.
    """

    errors: tuple[ErrorDetail, ...] = attrs.field(default=(), kw_only=True)


@attrs.define(auto_exc=False, slots=False, repr=False, eq=False)
class ApiError(ClarusError):
    """The server answered with an error status.

    Args:
        status: the HTTP status code.
        errors: the entries of its body, if it could be read.
    """

    status: int = attrs.field(default=0, kw_only=True)
    errors: tuple[ErrorDetail, ...] = attrs.field(default=(), kw_only=True)


class BadRequestError(ApiError):
    """400: the server can't read what was sent."""


class PermissionDeniedError(ApiError):
    """403: the token is valid, but does not permit this."""


class NotFoundError(ApiError):
    """404: no such record, or no such path."""


class ConflictError(ApiError):
    """409: the record's state does not allow it."""


class ValidationError(ApiError):
    """422: the server rejects the content; ``errors`` says why."""


class RateLimitedError(ApiError):
    """429: too many requests; ``retry_after`` says when to come back."""


class ServerError(ApiError):
    """5xx: the server failed."""


# As class attributes, so that a subclass whose __init__ does not call the base's has the defaults, too.
for _class in (ClarusError, InvalidInputError, OutcomeUnknownError, ResponseError, GraphQLError, ApiError):
    for _field in attrs.fields(_class):
        setattr(_class, _field.name, "" if _field.default is attrs.NOTHING else _field.default)

_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: ValidationError,
    429: RateLimitedError,
}


def api_error_class(status: int) -> type[ApiError]:
    """Return the exception class of an HTTP error status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
