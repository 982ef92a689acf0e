"""The types of a record's attributes, and their values as text: a cell, or an option of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, get_args, get_origin, get_type_hints

import attrs

from clarus_async.errors import InputProblem

# No 64-bit integer has more, with its thousands parted, and int() of a long text is slow.
_MOST_CHARACTERS: Final = 30


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
    """Read an attribute's value from text, as its type is; what the class does not have is text."""
    kind = attribute_types(record).get(attribute)
    value = text if kind is None else read_text(kind.value, text)
    return InputProblem(attribute, value.reason) if isinstance(value, Unfit) else value


class Unfit(Exception):  # noqa: N818
    """What can't be read, or would not be sent as it is written: raised, or put in the place of the value."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = reason


_FLAGS: Final = {
    word: flag
    for flag, words in (
        (True, "true yes 1 on wahr ja vrai oui verdadero sí"),
        (False, "false no 0 off falsch nein faux non falso"),
    )
    for word in words.split()
}
# Blanks and apostrophes part thousands; commas and points only where there are two of them, for one may be decimal.
_INTEGER: Final = re.compile(
    r"-?(?:[0-9]+|[0-9]{1,3}(?:[ '\u2019\xa0\u202f][0-9]{3})+|[0-9]{1,3}(?:(?:,[0-9]{3}){2,}|(?:\.[0-9]{3}){2,}))"
    r"([.,]0{1,2})?"
)
_SHORTENED: Final = re.compile(r"[1-9](?:[.,][0-9]+)?E\+[0-9]{2,3}")
# A word or a number that somebody typed, and no key or token.
_HARMLESS: Final = re.compile(r"[^\W\d_]{1,12}(?: [^\W\d_]{1,12})?|[-+]?[0-9][0-9.,' ]{0,11}(?:E\+?[0-9]{1,3})?")

SHORTENED: Final = "is a number that a spreadsheet has shortened: format the column as text, and enter it again"


def is_shortened(text: str) -> bool:
    """Whether this is how a spreadsheet shows a number of more than eleven digits: most of these are lost."""
    return "E+" in text and _SHORTENED.fullmatch(text) is not None


def read_text(kind: ValueType, text: str, *, is_secret: bool = False) -> object | Unfit:
    """Read a value by the tables of this package's chapter; what is refused is shown where it can be no secret."""
    if kind is ValueType.INTEGER:
        if text.isdigit() and text.isascii() and len(text) <= _MOST_CHARACTERS:
            return int(text)
        text = text.strip()
        if len(text) <= _MOST_CHARACTERS and (found := _INTEGER.fullmatch(text)) is not None:
            return int(re.sub(r"[^-0-9]", "", text.removesuffix(found[1] or "")))
        if is_shortened(text):
            return Unfit(SHORTENED)
        reason = "no integer in digits"
    elif kind is ValueType.FLAG:
        text = text.strip()
        if (flag := _FLAGS.get(text.casefold())) is not None:
            return flag
        reason = "neither true nor false"
    else:
        return text
    shown = repr(text) if not is_secret and _HARMLESS.fullmatch(text) else "what stands here"
    return Unfit(f"{shown} is {reason}")
