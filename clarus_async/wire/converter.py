"""The cattrs converter: strict primitives, unknown fields kept, errors that name the path and never the value.

Reading happens twice where it fails: first by a converter that only knows that something is wrong, which is fast,
then by one that knows where.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import attrs
import orjson
from cattrs import AttributeValidationNote, ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from clarus_async.records import Integration, IntegrationChanges, IntegrationRow, NewIntegration

T = TypeVar("T")


@attrs.frozen
class Unreadable:
    """What a body should have held.

    Args:
        pointer: where (JSON Pointer, RFC 6901).
        expected: the type or form expected there.
    """

    pointer: str
    expected: str


class _WrongTypeError(Exception):
    """Raised by the hooks; says what was expected, and not what was found, which may be a secret."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


def _wrong(expected: str) -> NoReturn:
    raise _WrongTypeError(expected)


def _text(value: object, _: object = None) -> str:
    return value if isinstance(value, str) else _wrong("a string")


def _flag(value: object, _: object = None) -> bool:
    return value if isinstance(value, bool) else _wrong("true or false")


def _number(value: object, _: object = None) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _wrong("an integer")


def _object(value: object, _: object = None) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else _wrong("an object")


def _time(value: object, _: object = None) -> datetime:
    # ISO 8601 with a timezone (clarus-api.md §4).
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        _wrong("an ISO 8601 time with a timezone")
    return moment


def _id(value: object, _: object = None) -> int:
    # The same id is 123 in REST and "123" in GraphQL (clarus-api.md §1).
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 19 and value.isascii() and value.isdigit():
        return int(value)
    return _wrong("an integer id, or one as a string of digits")


_ROW_NAMES = {"provider": "integration_provider", "is_active": "enabled"}


def _reader(converter: Converter, cls: type[T], renamed: Mapping[str, str]) -> Callable[[Any, Any], T]:
    """Make a hook that reads a class and keeps what it does not know in ``extra``."""
    overrides: dict[str, Any] = {ours: override(rename=theirs) for ours, theirs in renamed.items()}
    overrides["id"] = override(struct_hook=_id)
    overrides["extra"] = override(omit=True)
    known = frozenset(renamed.get(a.name, a.name) for a in attrs.fields(cls)) - {"extra"}  # type: ignore[arg-type]
    read = make_dict_structure_fn(cls, converter, **overrides)

    def hook(data: Any, _: Any) -> T:  # noqa: ANN401
        if not isinstance(data, dict):
            _wrong("an object")
        record = read(data, cls)
        if extra := {name: data[name] for name in data if name not in known}:
            # The record was made a line ago and nobody else has seen it: it is frozen from here on.
            object.__setattr__(record, "extra", extra)
        return record

    return hook


def _make(*, detailed: bool) -> Converter:
    converter = make_converter(detailed_validation=detailed, omit_if_default=True)
    for kind, hook in ((str, _text), (bool, _flag), (int, _number), (datetime, _time)):
        converter.register_structure_hook(kind, hook)
    converter.register_structure_hook_func(lambda kind: kind == Mapping[str, Any], _object)
    converter.register_structure_hook(Integration, _reader(converter, Integration, {}))
    converter.register_structure_hook(IntegrationRow, _reader(converter, IntegrationRow, _ROW_NAMES))
    for sent in (NewIntegration, IntegrationChanges):
        # Records checked and copied their configuration when they were made; orjson takes it as it is.
        as_is: dict[str, Any] = {a.name: override(unstruct_hook=lambda value: value) for a in attrs.fields(sent)}
        write = make_dict_unstructure_fn(sent, converter, _cattrs_omit_if_default=True, **as_is)
        converter.register_unstructure_hook(sent, write)
    return converter


_fast = _make(detailed=False)
_detailed = _make(detailed=True)

unstructure: Callable[[object], Any] = _fast.unstructure
"""Turn a record that is to be sent into plain data; what was left out is left out."""


def read_record(data: object, cls: type[T], pointers: Mapping[str, str], base: str) -> T | Unreadable:
    """Read plain data as a record, or say where it can't be.

    Args:
        data: what JSON gave.
        cls: the record's class.
        pointers: where each attribute stands in the body, for those that stand elsewhere than under ``base``.
        base: where ``data`` stands in the body.
    """
    try:
        return _fast.structure(data, cls)
    except (_WrongTypeError, KeyError):
        return _where(data, cls, pointers, base)


def _where(data: object, cls: type[T], pointers: Mapping[str, str], base: str) -> Unreadable:
    try:
        _detailed.structure(data, cls)
    except ClassValidationError as group:
        error = group.exceptions[0]
        note = next(n for n in getattr(error, "__notes__", ()) if isinstance(n, AttributeValidationNote))
        name = _ROW_NAMES.get(note.name, note.name) if cls is IntegrationRow else note.name
        expected = error.expected if isinstance(error, _WrongTypeError) else "to be there"
        return Unreadable(pointers.get(name, f"{base}/{name}"), expected)
    except _WrongTypeError as error:
        return Unreadable(base, error.expected)
    raise AssertionError("two converters with the same hooks disagree")  # pragma: no cover


def parse(body: bytes) -> Any | Unreadable:  # noqa: ANN401
    """Parse a body as JSON, or say that it is none.

    Args:
        body: as it came, decoded of any content coding.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return Unreadable("", "JSON")


encode = orjson.dumps
"""Write plain data as JSON."""
