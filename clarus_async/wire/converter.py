"""The cattrs converters: strict primitives, unknown fields kept, errors that name the path and never the value.

Imported by :mod:`clarus_async.wire.reading` when the first client is made: a program that only imports the package does
not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import NoneType
from typing import Any, Final, NoReturn, TypeVar

import attrs
from cattrs import AttributeValidationNote, ClassValidationError, Converter
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from clarus_async.checks import number_problem
from clarus_async.records import Integration, IntegrationChanges, IntegrationRow, NewIntegration

T = TypeVar("T")


class WrongTypeError(Exception):
    """Raised by the hooks; says what was expected, and not what was found, which may be a secret."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


def _wrong(expected: str) -> NoReturn:
    raise WrongTypeError(expected)


def _exactly(expected: str, *kinds: type) -> Callable[[Any, object], Any]:
    """Make a hook that lets values of these very types through: what JSON gave is of no other."""
    return lambda value, _: value if type(value) in kinds else _wrong(expected)


_KINDS: Final = ((str, "a string"), (bool, "true or false"), (int, "an integer"))


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
    if isinstance(value, str) and len(value) <= 19 and value.isascii() and value.isdigit():
        value = int(value)
    # What is more is held by no journal, and what is less names no record.
    if isinstance(value, int) and value >= 0 and number_problem(value) is None:
        return value
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
        if not data.keys() <= known:
            # The record was made a line ago and nobody else has seen it: it is frozen from here on.
            object.__setattr__(record, "extra", {name: data[name] for name in data if name not in known})
        return record

    return hook


def make(*, detailed: bool) -> Converter:
    """Make a converter; its compiled functions are made once and serve for the life of the process.

    Args:
        detailed: know where something is wrong, and be slower for it.
    """
    converter = make_converter(detailed_validation=detailed, omit_if_default=True)
    # The converter's own hooks for unions would work out at each value what the union is of.
    unions: dict[object, Callable[[Any, object], Any]] = {
        Mapping[str, Any] | None: _exactly("an object", dict, NoneType)
    }
    for kind, expected in _KINDS:
        converter.register_structure_hook(kind, _exactly(expected, kind))
        unions[kind | None] = _exactly(expected, kind, NoneType)
    converter.register_structure_hook(datetime, _time)
    converter.register_structure_hook_factory(lambda kind: kind in unions, lambda kind: unions[kind])
    converter.register_structure_hook(Integration, _reader(converter, Integration, {}))
    converter.register_structure_hook(IntegrationRow, _reader(converter, IntegrationRow, _ROW_NAMES))
    for sent in (NewIntegration, IntegrationChanges):
        # Records checked and copied their configuration when they were made; orjson takes it as it is.
        as_is: dict[str, Any] = {a.name: override(unstruct_hook=identity) for a in attrs.fields(sent)}
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
