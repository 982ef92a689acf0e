"""How records check the values that they are given, and keep secrets out of sight."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from itertools import compress
from operator import attrgetter, is_not
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import attrs

from clarus_async.errors import InputProblem, InvalidInputError
from clarus_async.redaction import describe_exception
from clarus_async.unset import UNSET

C = TypeVar("C")

# Deeper than any configuration that people write, and well within the limit of orjson.
MAX_DEPTH = 64
SURROGATE = "must be valid Unicode (it holds a lone surrogate)"
_INT64 = 2**63
_TEXT_ONLY: Final = frozenset({str})


def checked(cls: type[C]) -> type[C]:
    """Make a record's class raise ``InvalidInputError`` from a frame that holds none of its values.

    Error trackers collect the local variables of every frame, and the arguments of a record may be secrets.
    """
    original: Callable[..., None] = cls.__init__

    @functools.wraps(original)
    def __init__(self: object, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, N807
        try:
            original(self, *args, **kwargs)
        except InvalidInputError as error:
            refused = error.with_traceback(None)
        else:
            return
        del self, args, kwargs
        raise refused

    cls.__init__ = __init__  # type: ignore[method-assign]
    return cls


class _NotJSONError(Exception):
    """Raised for a nested value that JSON can't represent."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason


def is_text(value: object) -> bool:
    """Whether this is a string that UTF-8 can encode, that is, without lone surrogates."""
    return isinstance(value, str) and (value.isascii() or value == value.encode("utf-8", "ignore").decode())


def _scalar_problem(value: bool | str | float) -> str | None:
    if isinstance(value, str):
        return None if is_text(value) else SURROGATE
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be a finite number"
    return _size_problem(value)


def _size_problem(value: int) -> str | None:
    return None if -_INT64 <= value < _INT64 else "must be an integer of at most 64 bits"


def _exactly(value: bool | str | float) -> bool | str | int | float:
    """Convert an instance of a subclass, such as an enum's member: the encoder knows only the plain types."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    return float(value) if isinstance(value, float) else int(value)


def plain_or_problem(value: object, field: str) -> tuple[Any, InputProblem | None]:
    """Return a private copy of a JSON value, or what is wrong with it; ``field`` is its name in messages."""
    if type(value) is dict and _is_flat(value):
        return value.copy(), None
    try:
        return _plain(value, field), None
    except _NotJSONError as refused:
        return None, InputProblem(refused.field, refused.reason)
    except Exception as error:  # noqa: BLE001  raised by the caller's own class; its text may quote a secret
        return None, InputProblem(field, f"can't be read: it raised {describe_exception(error)}")


def _is_flat(value: dict[Any, Any]) -> bool:
    """Whether this is an object of ASCII texts, as most configurations are."""
    texts = [*value, *value.values()]
    return {*map(type, texts)} <= _TEXT_ONLY and "".join(texts).isascii()


def _plain(value: Any, field: str, depth: int = 0) -> Any:  # noqa: ANN401
    if value is None:
        return None
    if isinstance(value, bool | str | int | float):
        if (reason := _scalar_problem(value)) is not None:
            raise _NotJSONError(field, reason)
        return _exactly(value)
    if depth >= MAX_DEPTH:
        raise _NotJSONError(field, f"must not nest deeper than {MAX_DEPTH} levels")
    if attrs.has(type(value)):
        value = {a.name: item for a in attrs.fields(type(value)) if (item := getattr(value, a.name)) is not None}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _NotJSONError(field, "must have strings as keys")
        if not all(map(is_text, value)):
            raise _NotJSONError(field, "must have valid Unicode as keys (one holds a lone surrogate)")
        return {str.__str__(key): _plain(item, f"{field}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{field}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise _NotJSONError(field, f"must be a JSON value, not {type(value).__name__}")


def hidden(value: object) -> str:
    """Show the keys of a configuration, never its values."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: ***" for key in value) + "}"
    return repr(value) if value is None or value is UNSET else "***"


def shown(self: Any) -> str:  # noqa: ANN401
    """Serve as a record's ``__repr__``: show what differs from the defaults, with secrets masked."""
    parts = []
    for a in attrs.fields(type(self)):
        value = getattr(self, a.name)
        if a.repr is False or value is a.default:
            continue
        parts.append(f"{a.name}={a.repr(value) if callable(a.repr) else repr(value)}")
    return f"{type(self).__name__}({', '.join(parts)})"


def text_problem(value: object) -> str | None:
    """Return why this is not a usable text, or ``None``."""
    if type(value) is str and value.isascii() and value.strip():
        return None
    if not isinstance(value, str):
        return f"must be a string, not {type(value).__name__}"
    if not value.strip():
        # Empty strings cause validation noise on the server (CLARUS_API.md §4).
        return "must not be empty"
    return None if is_text(value) else SURROGATE


def flag_problem(value: object) -> str | None:
    """Return why this is not a boolean, or ``None``."""
    return None if isinstance(value, bool) else f"must be true or false, not {type(value).__name__}"


def number_problem(value: object) -> str | None:
    """Return why this is not an integer that can be sent, or ``None``."""
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be an integer, not {type(value).__name__}"
    return _size_problem(value)


def object_problem(value: object) -> str | None:
    """Return why this is not a mapping or an attrs instance, or ``None``; its values are checked when it is copied."""
    if isinstance(value, Mapping) or attrs.has(type(value)):
        return None
    return f"must be a mapping or an attrs instance, not {type(value).__name__}"


def texts_problem(value: object) -> str | None:
    """Return why this is neither a usable text nor a list of such, or ``None``."""
    return _each(value, str, text_problem, "a string or a list of strings")


def numbers_problem(value: object) -> str | None:
    """Return why this is neither an integer nor a list of such, or ``None``."""
    return _each(value, int, number_problem, "an integer or a list of integers")


def _each(value: object, kind: type, check: _Check, expected: str) -> str | None:
    if isinstance(value, kind):
        return check(value)
    if isinstance(value, list | tuple):
        if not value:
            return "must not be an empty list"
        return next((reason for item in value if (reason := check(item)) is not None), None)
    return f"must be {expected}, not {type(value).__name__}"


def _own_list(value: object, _field: str) -> tuple[Any, InputProblem | None]:
    return tuple(value) if isinstance(value, list) else value, None


_Check: TypeAlias = Callable[[object], str | None]
_Copy: TypeAlias = Callable[[object, str], tuple[Any, InputProblem | None]]
# A private copy of what the caller could change later, or what is wrong with it.
_COPIES: Final[Mapping[_Check, _Copy]] = {
    object_problem: plain_or_problem,
    texts_problem: _own_list,
    numbers_problem: _own_list,
}


def checked_by(check: _Check, *, nullable: bool = False) -> dict[str, Any]:
    """Return the metadata of an attribute with its check."""
    return {"check": check, "nullable": nullable}


def checked_field(check: _Check, *, default: Any, nullable: bool = False) -> Any:  # noqa: ANN401
    """Declare an attribute that may be left out: ``default`` goes unchecked, and so does ``None`` if ``nullable``.

    One that is required is an ``attrs.field``, which type checkers know, with ``checked_by`` as its metadata.
    """
    secret = check is object_problem
    metadata = checked_by(check, nullable=nullable)
    return attrs.field(default=default, metadata=metadata, repr=hidden if secret else True, hash=not secret)


def attributes_of(cls: type[Any]) -> Mapping[str, Any]:
    """Return the attributes of a record's class by name."""
    fields: Mapping[str, Any] = attrs.fields_dict(cls)
    return fields


class _Checks(NamedTuple):
    """How the attributes of a record's class are checked: each with its name, its check and its copy."""

    values_of: Callable[[object], tuple[object, ...]]
    attributes: tuple[tuple[str, _Check, bool, _Copy | None], ...]
    defaults: tuple[object, ...]


@functools.cache
def _checks_of(cls: type[Any]) -> _Checks:
    fields = attrs.fields(cls)
    names = [a.name for a in fields]
    # Of a single name, attrgetter makes no tuple.
    values_of = attrgetter(*names) if len(names) > 1 else lambda record: (getattr(record, names[0]),)
    attributes = [
        (a.name, a.metadata["check"], a.metadata["nullable"], _COPIES.get(a.metadata["check"])) for a in fields
    ]
    return _Checks(values_of, tuple(attributes), tuple(a.default for a in fields))


def problems_of(record: Any) -> list[InputProblem]:  # noqa: ANN401
    """Check every attribute of a record, and make private copies of what the caller could change."""
    problems = []
    checks = _checks_of(type(record))  # type: ignore[arg-type]  # a class is hashable
    values = checks.values_of(record)
    # Most attributes are left out: these cost no step of the loop.
    given = compress(zip(checks.attributes, values, strict=True), map(is_not, values, checks.defaults))
    for (name, check, nullable, copy), value in given:
        if value is None and nullable:
            continue
        if (reason := check(value)) is not None:
            problems.append(InputProblem(name, reason))
        elif copy is not None:
            private, problem = copy(value, name)
            if problem is not None:
                problems.append(problem)
            else:
                object.__setattr__(record, name, private)
    return problems


def refuse(what: str, problems: list[tuple[str, str | None]]) -> None:
    """Raise one error that names every field with a problem; do nothing where there is none."""
    found = [InputProblem(field, reason) for field, reason in problems if reason is not None]
    if found:
        raise InvalidInputError.of(what, found)
