"""The error tree: plain data that pickles, says whether the thing happened, and holds no secret."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

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
class ErrorDetail:
    """One entry of an error answer, whichever shape it came in (clarus-api.md §3).

    Args:
        code: the vendor's integer code, or the string of a JSON:API or GraphQL error.
        symbol: the vendor's machine-readable name, such as ``product_code_exists``.
        details: the server's text, scrubbed of configuration values that were sent.
        source: what the error is about: an attribute, a JSON pointer or a GraphQL path.
        context: whatever else the server said of it.
    """

    code: int | str | None = None
    symbol: str | None = None
    details: str | None = None
    source: str | None = None
    context: Mapping[str, Any] | None = attrs.field(default=None, hash=False)

    def __str__(self) -> str:
        """One line: symbol or code, text, and what it is about."""
        name = self.symbol or (None if self.code is None else str(self.code))
        text = ": ".join(part for part in (name, self.details) if part) or "no details"
        return f"{text} ({self.source})" if self.source else text


# Each field says itself that it is keyword-only: before attrs 25.4, a class that says so says it of its bases' too.
@attrs.define(auto_exc=True, slots=False, repr=False)
class ClarusError(Exception):
    """Whatever goes wrong in this library.

    Args:
        message: what happened, in one line.
        applied: the most that any attempt of the call may have done.
        retryable: whether the same call may succeed later, unchanged.
        retry_after: seconds after which the server, or our own pace, would have it tried again.
        method: the HTTP method, where a request was meant.
        path: the request's path.
        request_id: the server's ``X-Request-Id``, where it sent one.
        attempts: how many requests of this call went out.
    """

    message: str
    applied: Applied = attrs.field(default=Applied.NO, kw_only=True)
    retryable: bool = attrs.field(default=False, kw_only=True)
    retry_after: float | None = attrs.field(default=None, kw_only=True)
    method: str | None = attrs.field(default=None, kw_only=True)
    path: str | None = attrs.field(default=None, kw_only=True)
    request_id: str | None = attrs.field(default=None, kw_only=True)
    attempts: int = attrs.field(default=0, kw_only=True)

    def __str__(self) -> str:
        """One line that a person on call can act on."""
        if self.method is None:
            return " ".join(self.message.split())
        facts = [_APPLIED_IN_WORDS[self.applied], f"attempts: {self.attempts}"]
        if self.retry_after is not None:
            facts.append(f"retry after {self.retry_after:g} s")
        if self.request_id is not None:
            facts.append(f"request id: {self.request_id}")
        line = f"{self.method} {self.path}: {self.message} [{'; '.join(facts)}]"
        return " ".join(line.split())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by field; a cause that is ours travels along, a foreign one stays behind."""
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        cause = self.__cause__ if isinstance(self.__cause__, ClarusError) else None
        return _restore, (type(self), fields, cause)


def _restore(cls: type[E], fields: dict[str, Any], cause: ClarusError | None) -> E:
    error = cls(**fields)
    error.__cause__ = cause
    return error


class ConfigurationError(ClarusError, ValueError):
    """A setting is wrong: ours, or a server that redirects or shows a certificate nobody vouches for."""


class InputProblem(NamedTuple):
    """What is wrong with one field of what the caller gave.

    Args:
        field: the field's name, dotted where it is nested.
        reason: what was expected; never the value itself.
    """

    field: str
    reason: str

    def __str__(self) -> str:
        """``field: reason``."""
        return f"{self.field}: {self.reason}"


@attrs.define(auto_exc=True, slots=False, repr=False)
class InvalidInputError(ClarusError, ValueError):
    """What the caller gave can't be sent; nothing was.

    Args:
        problems: every field that is wrong, with the reason.
    """

    problems: tuple[InputProblem, ...] = attrs.field(default=(), kw_only=True)

    @classmethod
    def of(cls, what: str, problems: list[InputProblem]) -> InvalidInputError:
        """Build one error that names every problem of a value called ``what``."""
        return cls(f"{what}: " + "; ".join(map(str, problems)), problems=tuple(problems))


class AuthenticationError(ClarusError):
    """The token endpoint refused us, or the API said 401 to a token that was just fetched."""


class ConnectionFailedError(ClarusError, ConnectionError):
    """No answer came, and nothing can have been applied."""


class DeadlineExceededError(ClarusError, TimeoutError):
    """Time ran out, and nothing can have been applied."""


@attrs.define(auto_exc=True, slots=False, repr=False)
class OutcomeUnknownError(ClarusError):
    """The call may have been applied, and nothing that came back proves it either way.

    The last answer, if there was one, is the ``__cause__``.

    Args:
        key: what the record can be looked up by.
        sent_at: when the last request that may have been applied was sent (UTC).
        settled_by: what would settle it.
        name: the name of the record, for a create.
        settles_at: from when on a look proves that it is not there (UTC), for a create.
        first_sent_at: when the first request that may have been applied was sent (UTC), for a create.
        found: ids of the records that may be it.
        idempotency_key: what the request was sent with, for a create.
        server_times: ``first_sent_at`` and ``settles_at`` on the server's clock, where its answers told what that
            shows: no step of a clock of ours moves them. For a create.
        not_ours: ids that are known to be other creates' of the same name.
    """

    key: str | None = attrs.field(default=None, kw_only=True)
    sent_at: datetime | None = attrs.field(default=None, kw_only=True)
    settled_by: str | None = attrs.field(default=None, kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)
    settles_at: datetime | None = attrs.field(default=None, kw_only=True)
    first_sent_at: datetime | None = attrs.field(default=None, kw_only=True)
    found: tuple[int, ...] = attrs.field(default=(), kw_only=True)
    idempotency_key: str | None = attrs.field(default=None, kw_only=True)
    server_times: tuple[datetime, datetime] | None = attrs.field(default=None, kw_only=True)
    not_ours: tuple[int, ...] = attrs.field(default=(), kw_only=True)


class JournalError(ClarusError, OSError):
    """The journal of a run can't be used, or can't be written to; nothing goes out that it does not hold."""


@attrs.define(auto_exc=True, slots=False, repr=False)
class ResponseError(ClarusError):
    """A read was answered with something that can't be read.

    Args:
        pointer: where in the body (JSON Pointer, RFC 6901).
        expected: the type or form that was expected there.
    """

    pointer: str = attrs.field(default="", kw_only=True)
    expected: str = attrs.field(default="", kw_only=True)


@attrs.define(auto_exc=True, slots=False, repr=False)
class GraphQLError(ClarusError):
    """A GraphQL answer with ``errors`` (clarus-api.md §3).

    Args:
        errors: the server's entries.
    """

    errors: tuple[ErrorDetail, ...] = attrs.field(default=(), kw_only=True)


@attrs.define(auto_exc=True, slots=False, repr=False)
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
    """403: the token is good, and not for this."""


class NotFoundError(ApiError):
    """404: no such record, or no such path."""


class ConflictError(ApiError):
    """409: the record's state forbids it."""


class ValidationError(ApiError):
    """422: the server refuses the content; ``errors`` says why."""


class RateLimitedError(ApiError):
    """429: too many requests; ``retry_after`` says when to come back."""


class ServerError(ApiError):
    """5xx: the server failed."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: ValidationError,
    429: RateLimitedError,
}


def api_error_class(status: int) -> type[ApiError]:
    """Return the class that stands for an HTTP error status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)
