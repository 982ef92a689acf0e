"""The cattrs converters: strict primitives, unknown fields kept, errors that name the path and never the value.

Imported by :mod:`clarus_async.wire.reading` when the first client is made: a program that only imports the package does
not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import attrs
from cattrs import AttributeValidationNote, ClassValidationError, Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from clarus_async.records import Integration, IntegrationChanges, IntegrationRow, NewIntegration

T = TypeVar("T")


class WrongTypeError(Exception):
    """Raised by the hooks; says what was expected, and not what was found, which may be a secret."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


def _wrong(expected: str) -> NoReturn:
    raise WrongTypeError(expected)


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


def make(*, detailed: bool) -> Converter:
    """Make a converter; its compiled functions are made once and serve for the life of the process.

    Args:
        detailed: know where something is wrong, and be slower for it.
    """
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


def locate(data: object, cls: type[T], detailed: Converter) -> tuple[str | None, str]:
    """Name the attribute of a record that can't be read, and what was expected there.

    Args:
        data: what the fast converter could not read.
        cls: the record's class.
        detailed: the converter that knows where.
    """
    try:
        detailed.structure(data, cls)
    except ClassValidationError as group:
        error = group.exceptions[0]
        note = next(n for n in getattr(error, "__notes__", ()) if isinstance(n, AttributeValidationNote))
        name = _ROW_NAMES.get(note.name, note.name) if cls is IntegrationRow else note.name
        return name, error.expected if isinstance(error, WrongTypeError) else "to be there"
    except WrongTypeError as error:
        return None, error.expected
    raise AssertionError("two converters with the same hooks disagree")  # pragma: no cover
