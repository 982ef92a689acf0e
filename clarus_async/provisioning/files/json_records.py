"""JSON to records, its values as they are written, in bounded memory."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from decimal import Decimal
from itertools import chain
from typing import Any, Final, NamedTuple, NoReturn

import attrs

from clarus_async.errors import InputProblem
from clarus_async.provisioning.files.attribute_types import Unfit, attribute_types
from clarus_async.provisioning.files.numbered import (
    MAX_RECORD,
    TOO_LONG,
    BadRow,
    LastRow,
    NumberedLine,
    Row,
    make_row,
)
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.target import Target
from clarus_async.resources.spec import AnySpec
from clarus_async.validation import MAX_DEPTH, SURROGATE, is_text

# No 64-bit integer has more characters, and int() of a long text is slow.
_LONGEST_INTEGER: Final = 20
_TOO_BIG: Final = 2**64
# Far more than any float is written with.
_LONGEST_FLOAT: Final = 400
REASON: Final = "clarus_reason"
"""The column, or key, that says why a row was rejected; it is left out where such rows are read again."""

_INEXACT: Final = "must be a number that 64 bits hold as it is written; a string is sent as it stands"


def _decoder(unfit: Callable[[str], Any]) -> json.JSONDecoder:
    """Return a decoder that has ``unfit`` make what stands for a value that would not be sent as it is written."""

    def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        attributes = dict(pairs)
        if len(attributes) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    attributes[key] = unfit("is given twice")
                seen.add(key)
        return attributes

    def read_float(text: str) -> object:
        if len(text) > _LONGEST_FLOAT:
            return unfit(_INEXACT)
        value = float(text)
        return unfit(_INEXACT) if math.isfinite(value) and Decimal(text) != Decimal(repr(value)) else value

    # orjson lets the last of several equal keys win, and turns integers beyond 64 bits into floats.
    return json.JSONDecoder(object_pairs_hook=read_object, parse_int=_integer, parse_float=read_float)


def _integer(text: str) -> int:
    return int(text) if len(text) <= _LONGEST_INTEGER else _TOO_BIG


def _refuse(reason: str) -> NoReturn:
    raise Unfit(reason)


# Walking through a value costs more than reading it, so that is done only where something is wrong.
_SOUND: Final = _decoder(_refuse)
_MARKING: Final = _decoder(Unfit)


def _decode(text: str) -> tuple[Any, bool]:
    """Return a value, and whether it is known to be sound."""
    # A lone surrogate can only be in a key that is escaped.
    if "\\u" not in text:
        try:
            return _SOUND.decode(text), True
        except Unfit:
            pass
    return _MARKING.decode(text), False


def parse(document: bytes, line: int = 1) -> tuple[Any, tuple[InputProblem, ...]]:
    """Parse a JSON document; return its value, and what is wrong with it by the path of each field.

    Of an object, the attributes that are wrong are left out. Integers beyond 64 bits, ``NaN`` and ``Infinity`` are in
    it, as values that the check of their types refuses.

    ``line`` is the one on which it starts.
    """
    try:
        value, is_sound = _decode(document.decode())
    except UnicodeDecodeError:
        return None, (InputProblem("", encoding_problem(document) or ""),)
    except json.JSONDecodeError as error:
        of_line = f" of line {line + error.lineno - 1}" if error.lineno > 1 else ""
        return None, (InputProblem("", f"is not JSON (at column {error.colno}{of_line})"),)
    except RecursionError:
        return None, (InputProblem("", f"must not nest deeper than {MAX_DEPTH} levels"),)
    if is_sound or not isinstance(value, dict):
        return value, ()
    problems = {name: found for name, item in value.items() if (found := tuple(_problems(name, item)))}
    return (
        {name: item for name, item in value.items() if name not in problems} if problems else value,
        tuple(chain.from_iterable(problems.values())),
    )


def parse_value(text: str) -> Any:  # noqa: ANN401
    """Parse JSON that stands within something else; return its value, or ``Unfit``."""
    value, problems = parse(text.encode())
    for problem in problems or _problems("", value):
        return Unfit(f"{problem.field.lstrip('.')} {problem.reason}".lstrip())
    return value


def encoding_problem(record: bytes) -> str | None:
    """Say why bytes are no UTF-8, or ``None``."""
    if record.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is not UTF-8 (it looks like UTF-16): save the file as UTF-8"
    try:
        record.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (at byte {error.start + 1}): save the file as UTF-8"
    return None


def _problems(field: str, value: object, depth: int = 1) -> Iterable[InputProblem]:
    if not is_text(field):
        return [InputProblem(field.encode("utf-8", "backslashreplace").decode(), SURROGATE)]
    if isinstance(value, Unfit):
        return [InputProblem(field, value.reason)]
    # What nests deeper is refused by the record's own check.
    items: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict) and depth <= MAX_DEPTH:
        items = ((f"{field}.{key}", item) for key, item in value.items())
    elif isinstance(value, list) and depth <= MAX_DEPTH:
        items = ((f"{field}[{place}]", item) for place, item in enumerate(value))
    return list(chain.from_iterable(_problems(name, item, depth + 1) for name, item in items))


# --- JSON of several lines


class Element(NamedTuple):
    """A record of JSON: its first line, its place in an array from 1, and its text, truncated where it is too long."""

    line: int
    place: int | None
    content: bytes
    is_line: bool = False

    def __repr__(self) -> str:
        # It may hold secrets.
        return f"{type(self).__name__}(line={self.line})"


def begins_document(line: bytes) -> bool:
    """Whether this begins an array, or an object that goes on in the next line."""
    text = line.strip()
    if text.startswith(b"["):
        return True
    if not text.startswith(b"{") or text[-1:] not in b"{[,:":
        return False
    try:
        _MARKING.decode(text.decode())
    except json.JSONDecodeError as error:
        return error.pos >= len(error.doc)
    except (UnicodeDecodeError, RecursionError):
        return False
    return False


# What leads to the next bracket, to the next bracket or comma, and to the end of a string. Where they stop at a quote,
# its string goes on in the next part of a long line.
_TO_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\\r\n]++|\\[^\r\n])*+")*+')
_TO_COMMA: Final = re.compile(rb'(?:[^"\[\]{},]++|"(?:[^"\\\r\n]++|\\[^\r\n])*+")*+')
_STRING: Final = re.compile(rb'(?:[^"\\\r\n]++|\\[^\r\n])*+')


def _end_of(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


class _Splitter:
    """Finds where the elements of an array, or objects, begin and end, by their brackets."""

    def __init__(self) -> None:
        self.depth = 0
        self.began = 0
        self._in_array = False
        self._in_string = False
        self._escaped = False
        self._place = 0
        self._element = bytearray()

    def feed(self, line: int, piece: bytes) -> Iterator[Element | LastRow]:
        """Take the next line, or a part of a long one, and yield what ends in it."""
        start = 0
        at = self._string_end(piece, int(self._escaped)) if self._in_string else 0
        while at is not None and (
            end := _end_of(_TO_BRACKET if self.depth > self._in_array else _TO_COMMA, piece, at)
        ) < len(piece):
            token, at = piece[end : end + 1], end + 1
            if not self.depth:
                if token not in b"[{" or piece[start : at - 1].strip():
                    break
                self._in_array = token == b"["
                self._place = 0
                self.depth = 1
                self.began = line
                start = at if self._in_array else at - 1
            elif token == b'"':
                at = self._string_end(piece, at)
            elif token in b"[{":
                self.depth += 1
            else:
                self.depth -= token != b","
                if not self.depth or (token == b"," and self._in_array and self.depth == 1):
                    yield from self._end(line, piece[start : at - self._in_array], token)
                    start = at
        if at is None:
            yield LastRow.because(line, "is not JSON: a string is not closed on its line")
        elif self.depth:
            self._add(line, piece[start:])
        elif piece[start:].strip():
            yield LastRow.because(line, "is not JSON: something stands between two records")

    def _string_end(self, piece: bytes, at: int) -> int | None:
        end = _end_of(_STRING, piece, at)
        rest = piece[end : end + 2]
        self._in_string = not rest.startswith(b'"')
        self._escaped = rest == b"\\"
        if self._in_string and rest and not self._escaped:
            return None
        return end + 1

    def _add(self, line: int, content: bytes) -> None:
        if not self._element:
            content = content.lstrip()
            self.began = line if content else self.began
        self._element += content[: MAX_RECORD + 1 - len(self._element)]

    def _end(self, line: int, content: bytes, token: bytes) -> Iterator[Element | LastRow]:
        self._add(line, content)
        element, self._element = bytes(self._element), bytearray()
        if not self._in_array:
            yield Element(self.began, None, element)
        elif token == b"}":
            yield LastRow.because(line, "is not JSON: an array is closed by a brace")
        elif element:
            self._place += 1
            yield Element(self.began, self._place, element)
        elif self._place or token == b",":
            yield LastRow.because(line, "is not JSON: a comma without an element")


def split_documents(lines: Iterator[NumberedLine]) -> Iterator[Element | LastRow]:
    """Split arrays and objects into records, up to the end of the line on which the last of them is closed."""
    splitter = _Splitter()
    for number, piece in lines:
        for element in splitter.feed(number, piece):
            yield element
            if isinstance(element, LastRow):
                return
        if not splitter.depth and piece.endswith(b"\n"):
            return
    if splitter.depth:
        yield LastRow.because(splitter.began, "is not JSON: what begins here is not closed")


# --- records


def read_json(lines: Iterator[NumberedLine], target: Target, options: ReadOptions) -> Iterator[Row]:
    """Read what objects become: one a line, in arrays, or over several lines."""
    for element in split_json(lines):
        yield element if isinstance(element, LastRow) else _json_row(element, target, options)


def split_json(lines: Iterator[NumberedLine]) -> Iterator[Element | LastRow]:
    """Split an input into its records."""
    for number, line in lines:
        if not line.strip():
            continue
        if begins_document(line):
            yield from split_documents(chain([(number, line)], lines))
            continue
        yield Element(number, None, line, is_line=True)
        while not line.endswith(b"\n") and (more := next(lines, None)) is not None:
            _, line = more  # noqa: PLW2901  the rest of a line that is too long


def _json_row(element: Element, target: Target, options: ReadOptions) -> Row:
    """Read a record; only where it is a line by itself, the next one is read whatever is wrong with its syntax."""
    number, place, content, is_line = element
    if len(content) > MAX_RECORD:
        return BadRow(number, (InputProblem("", TOO_LONG),), place)
    value, problems = parse(content, number)
    if not isinstance(value, dict):
        if problems and not is_line:
            return LastRow.because(number, problems[0].reason, place)
        reason = f"must be a JSON object, not {_JSON_NAMES[type(value)]}"
        return BadRow(number, problems or (InputProblem("", reason),), place)
    if target.is_new and (output := _output_problem(value.keys(), target.spec)) is not None:
        return LastRow.because(number, output, place)
    attributes: dict[str, Any] = {}
    for name, item in value.items():
        meant = options.map.get(name, name)
        if meant in attributes or (meant != name and meant in value):
            problems += (InputProblem(meant, f"is given twice: as {name}, too"),)
        elif not (name == REASON or name in options.ignore or (target.takes_all and meant not in target.types)):
            attributes[meant] = item
    row = make_row(target, number, attributes, problems)
    return row if place is None else attrs.evolve(row, place=place)


_JSON_NAMES: Final = {
    list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean", type(None): "null",
}  # fmt: skip


def _output_problem(names: AbstractSet[str], spec: AnySpec) -> str | None:
    """Say of which command's output this is a line, or ``None``."""
    if names >= {"index", "key", "status"}:
        return "is an outcome, as clarus provision writes it: give the file of records"
    row = attribute_types(spec.listing.row).keys()
    # What both the list and an answer to a create have, whatever the tenant's schema has.
    if not names >= (attribute_types(spec.record).keys() & row) - {"extra", *spec.listing.optional}:
        return None
    lacks = " and ".join(spec.secret)
    kept = ", ".join(name for name in attribute_types(spec.new) if name in row)
    return (
        f"is {spec.noun} that is there already, as clarus list writes it{lacks and f', and lacks its {lacks}'}:"
        f" to create a copy, keep what can be sent, as with jq -c '{{{kept}}}'{lacks and f', and add the {lacks}'}"
    )
