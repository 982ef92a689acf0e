"""The cattrs converter: nothing is coerced, unknown and unexpected values are kept, and ids are certain.

Imported by ``clarus_async.wire.reading`` when the first resource is used: a program that only imports the package
does not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import NoneType
from typing import Any, Final, NoReturn, TypeVar

import attrs
from cattrs import Converter
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter

from clarus_async.resources.spec import Nested
from clarus_async.validation import number_problem
from clarus_async.wire.reading import WrongTypeError

T = TypeVar("T")

ID: Final = "an integer id, or one as a string of digits"
# The length of a date with every part spelt out; a longer text is not parsed.
_LONGEST_TIME: Final = 64


def _wrong(expected: str) -> NoReturn:
    raise WrongTypeError(expected)


def _exactly(expected: str, *kinds: type) -> Callable[[Any, object], Any]:
    """Make a hook that accepts values of exactly these types."""
    return lambda value, _: value if type(value) in kinds else _wrong(expected)


_KINDS: Final = ((str, "a string"), (bool, "true or false"), (int, "an integer"))


def _time(value: object, _: object = None) -> datetime | None:
    if value is None:
        return None
    moment = _moment(value) if isinstance(value, str) and len(value) <= _LONGEST_TIME else None
    # Times without a timezone can't be compared.
    if moment is None or moment.tzinfo is None:
        _wrong("an ISO 8601 time with a timezone")
    return moment


def _moment(text: str) -> datetime | None:
    # ISO 8601 (CLARUS_API.md §4), in either case; or as HTTP and mail write it (RFC 5322).
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def read_id(value: object, _: object = None) -> int:
    """Read an id; the same one is 123 in REST and "123" in GraphQL (CLARUS_API.md §1)."""
    if isinstance(value, str) and len(value) <= 19 and value.isascii() and value.isdigit():
        value = int(value)
    # SQLite, and so a journal, holds 64 bits.
    if isinstance(value, int) and value >= 0 and number_problem(value) is None:
        return value
    return _wrong(ID)


def _read_optional_id(value: object, _: object = None) -> int | None:
    return None if value is None else read_id(value)


def reader(
    converter: Converter, cls: type[T], renamed: Mapping[str, str], nested: Mapping[str, Nested]
) -> Callable[[Any], T]:
    """Make a function that reads a class, and keeps unknown and unreadable attributes in ``extra``."""
    attributes: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)  # type: ignore[arg-type]
    special = {a.name: _read_optional_id for a in attributes if "id" in a.metadata} | {"id": read_id}
    overrides: dict[str, Any] = {
        a.name: override(rename=renamed.get(a.name), struct_hook=special.get(a.name)) for a in attributes
    }
    overrides["extra"] = override(omit=True)
    known = frozenset(renamed.get(a.name, a.name) for a in attributes) - {"extra"}
    read = make_dict_structure_fn(cls, converter, **overrides)
    # Making that function has resolved the annotations, which are strings before.
    hooks = {
        a.name: special.get(a.name) or converter.get_structure_hook(a.type)
        for a in attrs.fields(cls)  # type: ignore[arg-type]
        if a.name != "extra"
    }

    def attribute_by_attribute(data: Mapping[str, Any]) -> T:
        values: dict[str, Any] = {}
        extra = {name: data[name] for name in data if name not in known}
        for ours, hook in hooks.items():
            theirs = renamed.get(ours, ours)
            try:
                values[ours] = hook(data.get(theirs), None)
            except Exception:
                if ours == "id":
                    raise
                extra[theirs] = data[theirs]
        return cls(**values, extra=extra)  # type: ignore[call-arg]

    def read_flat(data: Any) -> T:  # noqa: ANN401
        try:
            record = read(data, cls)
        except Exception:  # noqa: BLE001  whatever it is, the slow way finds the attribute
            return attribute_by_attribute(data)
        if not data.keys() <= known:
            # Nobody else has seen the record yet; it is frozen from here on.
            object.__setattr__(record, "extra", {name: data[name] for name in data if name not in known})
        return record

    return (lambda data: read_flat(_flat(data, nested))) if nested else read_flat


def _flat(data: Mapping[str, Any], nested: Mapping[str, Nested]) -> dict[str, Any]:
    """Lift the fields of nested nodes; a node that has further fields, or is not an object, is kept for ``extra``."""
    flat = dict(data)
    lifted: dict[str, set[str]] = {}
    for ours, (name, field) in nested.items():
        lifted.setdefault(name, set()).add(field)
        node = data.get(name)
        if isinstance(node, dict) and field in node:
            flat[ours] = node[field]
    for name, fields in lifted.items():
        node = data.get(name)
        if node is None or (isinstance(node, dict) and node.keys() <= fields):
            flat.pop(name, None)
    return flat


def writer(converter: Converter, cls: type[T]) -> Callable[[T], Any]:
    """Make a function that turns a record into plain data, without the attributes that were left out."""
    # Records have checked and copied their values; orjson takes them as they are.
    attributes: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)  # type: ignore[arg-type]
    as_is: dict[str, Any] = {a.name: override(unstruct_hook=identity) for a in attributes}
    return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **as_is)


def make() -> Converter:
    """Make the converter; its compiled functions are made once and serve for the life of the process."""
    converter = make_converter(detailed_validation=False, omit_if_default=True)
    # The converter's own hooks for unions would inspect the union for every value.
    unions: dict[object, Callable[[Any, object], Any]] = {
        Mapping[str, Any] | None: _exactly("an object", dict, NoneType)
    }
    for kind, expected in _KINDS:
        converter.register_structure_hook(kind, _exactly(expected, kind))
        unions[kind | None] = _exactly(expected, kind, NoneType)
    unions[datetime | None] = _time
    converter.register_structure_hook_factory(lambda kind: kind in unions, lambda kind: unions[kind])
    return converter
