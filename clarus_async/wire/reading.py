"""JSON to plain data to records, and back.

A record is read by what is needed of it: its id. What else is not as it should be is kept in ``extra`` as it came.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import orjson

from clarus_async.resources.spec import AnySpec, Listing, Row

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")


class Unreadable(NamedTuple):
    """What a body should have held.

    Args:
        pointer: where (JSON Pointer, RFC 6901).
        expected: the type or form expected there.
    """

    pointer: str
    expected: str


class WrongTypeError(Exception):
    """Raised where a value is read; says what was expected, and not what was found, which may be a secret."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


@functools.cache
def _converter() -> Converter:
    from clarus_async.wire.converter import make  # noqa: PLC0415  importing and compiling it takes some 15 ms

    return make()


# The functions of a class are compiled when it is first used, and serve for the life of the process.
_record_readers: Final[dict[type[Any], Callable[[Any], Any]]] = {}
_writers: Final[dict[type[Any], Callable[[Any], Any]]] = {}


def _record_reader(cls: type[T]) -> Callable[[Any], T]:
    read = _record_readers.get(cls)
    if read is None:
        from clarus_async.wire.converter import reader  # noqa: PLC0415  as above

        read = _record_readers[cls] = reader(_converter(), cls, {}, {})
    return read


@functools.cache
def _row_reader(listing: Listing[Row, Any]) -> Callable[[Any], Row]:
    from clarus_async.wire.converter import reader  # noqa: PLC0415  as above

    return reader(_converter(), listing.row, listing.renamed, listing.nested)


def _writer(cls: type[Any]) -> Callable[[Any], Any]:
    write = _writers.get(cls)
    if write is None:
        from clarus_async.wire.converter import writer  # noqa: PLC0415  as above

        write = _writers[cls] = writer(_converter(), cls)
    return write


def prepare(spec: AnySpec) -> None:
    """Compile what reads and writes the records of a resource now, so that no call waits for it."""
    _record_reader(spec.record)
    _row_reader(spec.listing)
    _writer(spec.new)
    _writer(spec.changes)


def unstructure(record: object) -> Any:  # noqa: ANN401
    """Turn a record that is to be sent into plain data; what was left out is left out."""
    return _writer(type(record))(record)


def read_record(data: object, cls: type[T], base: str) -> T | Unreadable:
    """Read plain data as a record, or say where it can't be: an attribute that is not as expected is ``None``.

    Args:
        data: what JSON gave.
        cls: the record's class.
        base: where ``data`` stands in the body.
    """
    return _read(data, _record_reader(cls), base)


def read_row(data: object, listing: Listing[Row, Any], base: str) -> Row | Unreadable:
    """Read the node of a list as a row, or say where it can't be; see :func:`read_record`."""
    return _read(data, _row_reader(listing), base)


def _read(data: object, read: Callable[[Any], T], base: str) -> T | Unreadable:
    if not isinstance(data, dict):
        return Unreadable(base, "an object")
    try:
        return read(data)
    except WrongTypeError as error:
        return Unreadable(f"{base}/id", error.expected if "id" in data else "to be there")


def parse(body: bytes) -> Any | Unreadable:  # noqa: ANN401
    """Parse a body, decoded of any content coding, as JSON, or say that it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return Unreadable("", "JSON")


def parse_object(body: bytes) -> dict[str, Any] | Unreadable:
    """Parse a body as a JSON object, or say that it is none; see :func:`parse`."""
    document = parse(body)
    if isinstance(document, dict | Unreadable):
        return document
    return Unreadable("", "an object")


def encode(data: object) -> bytes:
    """Write plain data as JSON."""
    # Copied, as orjson's own bytes keep the 4 KiB that they were written into for as long as a call waits.
    return memoryview(orjson.dumps(data)).tobytes()
