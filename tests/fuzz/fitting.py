"""Whether a value is what its annotations say."""

from __future__ import annotations

import functools
import typing
from collections.abc import Collection, Mapping
from types import NoneType, UnionType
from typing import Any

import attrs


def assert_fits(record: Any) -> None:
    """Fail where a field of an attrs record or a named tuple is of another type than it says."""
    for name, kind in _kinds(type(record)).items():
        value = getattr(record, name)
        assert fits(value, kind), f"{type(record).__name__}.{name}: {value!r} is no {kind}"


@functools.cache
def _kinds(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, localns={"Mapping": Mapping})
    names = [field.name for field in attrs.fields(cls)] if attrs.has(cls) else cls._fields
    return {name: hints[name] for name in names}


def fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any or isinstance(kind, typing.TypeVar):
        return True
    if origin in {UnionType, typing.Union}:
        return any(fits(value, each) for each in arguments)
    if kind in {None, NoneType}:
        return value is None
    if kind is float:
        return type(value) in {int, float}
    if kind in {int, bool, str}:
        return type(value) is kind or (kind is str and isinstance(value, str))
    if origin is not None:
        if not isinstance(value, origin) or isinstance(value, str):
            return False
        items = value if issubclass(origin, Collection) and not issubclass(origin, Mapping) else ()
        return all(fits(item, arguments[0]) for item in items)
    if attrs.has(kind) and isinstance(value, kind):
        assert_fits(value)
    return isinstance(value, kind)
