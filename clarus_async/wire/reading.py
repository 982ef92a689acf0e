"""JSON to plain data to records, and back: nothing is coerced, and what is unknown or odd is kept.

Only the id of a record must be readable. Any other attribute that is not as expected is kept in ``extra`` as it came.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import attrs
import orjson

from clarus_async.resources.spec import AnyListing, AnySpec, Listing
from clarus_async.wire.shapes import ShapeReader

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

_ID: Final = "an integer id, or one as a string of digits"
# The length of a date with every part spelt out; a longer text is not parsed.
_LONGEST_TIME: Final = 64
_INT64: Final = 2**63


class Unreadable(NamedTuple):
    """Why a body can't be read."""

    pointer: str  # the place in it (JSON Pointer, RFC 6901)
    expected: str  # the type or form that was expected there


class _WrongTypeError(Exception):
    """A value has another type than expected. It does not show the value, which may be a secret."""


def _exactly(*kinds: type) -> Callable[[Any, object], Any]:
    """Make a hook that accepts values of exactly these types."""

    def checked(value: Any, _: object) -> Any:  # noqa: ANN401
        if type(value) not in kinds:
            raise _WrongTypeError
        return value

    return checked


def _time(value: object, _: object = None) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        raise _WrongTypeError
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        moment = _odd_moment(value)
    # Times without a timezone can't be compared.
    if moment.tzinfo is None:
        raise _WrongTypeError
    return moment


def _odd_moment(text: str) -> datetime:
    # ISO 8601 (CLARUS_API.md §4) in lower case; or as HTTP and mail write it (RFC 5322).
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):
        raise _WrongTypeError from None


def _id(value: object, _: object = None) -> int:
    """Read an id; the same one is 123 in REST and "123" in GraphQL (CLARUS_API.md §1)."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        value = int(value)
    # SQLite, and so a journal, holds 64 bits.
    if type(value) is int and 0 <= value < _INT64:
        return value
    raise _WrongTypeError


def _optional_id(value: object, _: object = None) -> int | None:
    return None if value is None else _id(value)


def _int_id(number: int) -> int:
    if 0 <= number < _INT64:
        return number
    raise _WrongTypeError


def _text_id(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    raise _WrongTypeError


def _text_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise _WrongTypeError
    return moment


# What they read is what is usual; anything else is left to those above.
_QUICK_ID: Final[Mapping[type, Callable[[Any], int]]] = {int: _int_id, str: _text_id}
_QUICK_TIME: Final[Mapping[type, Callable[[Any], datetime]]] = {str: _text_time}


@functools.cache
def _converter() -> Converter:
    from cattrs.preconf.orjson import make_converter  # noqa: PLC0415  importing cattrs and compiling takes some 15 ms

    converter = make_converter(detailed_validation=False, omit_if_default=True)
    # The converter's own hooks for unions would inspect the union for every value.
    unions: dict[object, Callable[[Any, object], Any]] = {Mapping[str, Any] | None: _exactly(dict, NoneType)}
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _exactly(kind))
        unions[kind | None] = _exactly(kind, NoneType)
    converter.register_structure_hook_factory(lambda kind: kind in unions, lambda kind: unions[kind])
    return converter


def _compile_reader(of: type[Any] | AnyListing) -> Callable[[Any], Any]:
    """Make a function that reads a class, and keeps unknown and unreadable attributes in ``extra``."""
    cls: type[Any] = of.row if isinstance(of, Listing) else of
    renamed, nested = (of.renamed, of.nested) if isinstance(of, Listing) else ({}, {})
    attributes: tuple[attrs.Attribute[Any], ...] = attrs.fields(attrs.resolve_types(cls))
    theirs = {a.name: renamed.get(a.name, a.name) for a in attributes if a.name != "extra"}
    special: dict[str, Callable[..., Any]] = {"id": _id}
    special |= {a.name: _optional_id for a in attributes if "id" in a.metadata}
    times = {a.name: _time for a in attributes if a.type == datetime | None}
    quick = dict.fromkeys(special, _QUICK_ID) | dict.fromkeys(times, _QUICK_TIME)
    special |= times
    hooks = {a.name: special.get(a.name) or _converter().get_structure_hook(a.type) for a in attributes}

    def read_strictly(data: Mapping[str, Any]) -> Any:  # noqa: ANN401
        known = frozenset(theirs.values())
        values: dict[str, Any] = {}
        extra = {name: data[name] for name in data if name not in known}
        for ours, name in theirs.items():
            try:
                values[ours] = hooks[ours](data.get(name), None)
            except Exception:
                if ours == "id":
                    raise
                extra[name] = data[name]
        return cls(**values, extra=extra)

    read = ShapeReader(cls, read_strictly, theirs, quick).read
    nodes: dict[str, dict[str, str]] = {}
    for ours, (node, field) in nested.items():
        nodes.setdefault(node, {})[field] = ours
    return (lambda data: read(_flat(data, nodes))) if nodes else read


def _flat(data: Mapping[str, Any], nodes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Lift the fields of nested nodes; a node that has further fields, or is not an object, is kept for ``extra``."""
    flat = dict(data)
    for name, fields in nodes.items():
        node = flat.pop(name, None)
        if isinstance(node, dict):
            for field, ours in fields.items():
                if field in node:
                    flat[ours] = node[field]
        if node is not None and not (isinstance(node, dict) and node.keys() <= fields.keys()):
            flat[name] = node
    return flat


def _compile_writer(cls: type[Any]) -> Callable[[Any], Any]:
    """Make a function that turns a record into plain data, without the attributes that were left out."""
    from cattrs.fns import identity  # noqa: PLC0415  as above
    from cattrs.gen import make_dict_unstructure_fn, override  # noqa: PLC0415  as above

    # Records have checked and copied their values; orjson takes them as they are.
    attributes: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)
    as_is: dict[str, Any] = {a.name: override(unstruct_hook=identity) for a in attributes}
    return make_dict_unstructure_fn(cls, _converter(), _cattrs_omit_if_default=True, **as_is)


# Compiled when a record is first read or written; they serve for the life of the process.
reader: Final[Callable[[Any], Callable[[Any], Any]]] = functools.cache(_compile_reader)
_writer: Final[Callable[[Any], Callable[[Any], Any]]] = functools.cache(_compile_writer)


def prepare(spec: AnySpec) -> None:
    """Compile what reads and writes the records of a resource now, so that no call waits for it."""
    for read in (spec.record, spec.listing):
        reader(read)
    for written in (spec.new, spec.changes):
        _writer(written)


def unstructure(record: object) -> Any:  # noqa: ANN401
    """Turn a record that is to be sent into plain data, without the attributes that were left out."""
    return _writer(type(record))(record)


def read_record(data: object, of: type[T] | Listing[T, Any], base: str) -> T | Unreadable:
    """Read a record of a class, or a row of a listing, from plain data; ``base`` is the place of that in the body.

    An attribute that is not as expected is ``None``.
    """
    if not isinstance(data, dict):
        return Unreadable(base, "an object")
    try:
        record: T = reader(of)(data)
    except _WrongTypeError:
        return Unreadable(f"{base}/id", _ID if "id" in data else "to be there")
    return record


def parse(body: bytes) -> Any | Unreadable:  # noqa: ANN401
    """Parse a body as JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return Unreadable("", "JSON")


def parse_object(body: bytes) -> dict[str, Any] | Unreadable:
    """Parse a body as a JSON object."""
    document = parse(body)
    if isinstance(document, dict | Unreadable):
        return document
    return Unreadable("", "an object")


def encode(data: object) -> bytes:
    """Write plain data as JSON."""
    # Copied: orjson's bytes keep the 4 KiB buffer that they were written to for as long as a call waits.
    return memoryview(orjson.dumps(data)).tobytes()
