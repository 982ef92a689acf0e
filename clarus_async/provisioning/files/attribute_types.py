"""The types of a record's attributes, and their values as text: a cell of CSV, or an option of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import attrs

from clarus_async.errors import InputProblem

# No 64-bit integer has more digits, and int() of a long text is slow.
_MOST_DIGITS: Final = 19


class ValueType(Enum):
    """What a value is."""

    TEXT = "text"
    FLAG = "flag"
    INTEGER = "integer"
    OBJECT = "object"


class AttributeType(NamedTuple):
    """What an attribute takes."""

    value: ValueType
    is_required: bool
    takes_several: bool
    """Whether it takes a list of such values, too."""


_TYPES: Final[dict[type[Any], Mapping[str, AttributeType]]] = {}  # of the classes that were asked for


def attribute_types(record: type[Any]) -> Mapping[str, AttributeType]:
    """Read the annotations of a record's class: its attributes, in their order."""
    if record not in _TYPES:
        hints = get_type_hints(record)
        _TYPES[record] = {
            field.name: AttributeType(
                _value_type(hints[field.name]),
                field.default is attrs.NOTHING,
                any(get_origin(part) is Sequence for part in get_args(hints[field.name])),
            )
            for field in attrs.fields(record)
        }
    return _TYPES[record]


def _value_type(annotation: Any) -> ValueType:  # noqa: ANN401  an annotation may be anything
    parts = {get_origin(part) or part for part in (annotation, *get_args(annotation))}
    if Mapping in parts:
        return ValueType.OBJECT
    if bool in parts:
        return ValueType.FLAG
    return ValueType.INTEGER if int in parts else ValueType.TEXT


def from_text(record: type[Any], attribute: str, text: str) -> object | InputProblem:
    """Read an attribute's value from text: true or false, digits, or the text as it stands.

    What the class does not have, such as a dotted name, is text.
    """
    kind = attribute_types(record).get(attribute)
    match None if kind is None else kind.value:
        case ValueType.FLAG:
            flag = {"true": True, "false": False}.get(text.lower())
            return InputProblem(attribute, "must be true or false") if flag is None else flag
        case ValueType.INTEGER:
            if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
                return int(text)
            return InputProblem(attribute, "must be an integer in digits")
        case _:
            return text
