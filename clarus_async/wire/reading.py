"""JSON to plain data to records, and back.

Only the id of a record must be readable. Any other attribute that is not as expected is kept in ``extra`` as it came.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import orjson

from clarus_async.resources.spec import AnyListing, AnySpec, Listing

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")


class Unreadable(NamedTuple):
    """Why a body can't be read.

    Args:
        pointer: the place in it (JSON Pointer, RFC 6901).
        expected: the type or form that was expected there.
    """

    pointer: str
    expected: str


class WrongTypeError(Exception):
    """A value has another type than expected; tells what was expected, not the value, which may be a secret."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


@functools.cache
def _converter() -> Converter:
    from clarus_async.wire.converter import make  # noqa: PLC0415  importing and compiling it takes some 15 ms

    return make()


# Compiled when they are first used; they serve for the life of the process.
_readers: Final[dict[object, Callable[[Any], Any]]] = {}
_writers: Final[dict[type[Any], Callable[[Any], Any]]] = {}


def _compile_reader(of: type[Any] | AnyListing) -> Callable[[Any], Any]:
    from clarus_async.wire.converter import reader  # noqa: PLC0415  as above

    if isinstance(of, Listing):
        read = reader(_converter(), of.row, of.renamed, of.nested)
    else:
        read = reader(_converter(), of, {}, {})
    _readers[of] = read
    return read


def _compile_writer(cls: type[Any]) -> Callable[[Any], Any]:
    from clarus_async.wire.converter import writer  # noqa: PLC0415  as above

    _writers[cls] = write = writer(_converter(), cls)
    return write


def prepare(spec: AnySpec) -> None:
    """Compile what reads and writes the records of a resource now, so that no call waits for it."""
    for of in (spec.record, spec.listing):
        if of not in _readers:
            _compile_reader(of)
    for cls in (spec.new, spec.changes):
        if cls not in _writers:
            _compile_writer(cls)


def unstructure(record: object) -> Any:  # noqa: ANN401
    """Turn a record that is to be sent into plain data, without the attributes that were left out."""
    write = _writers.get(type(record)) or _compile_writer(type(record))
    return write(record)


def read_record(data: object, of: type[T] | Listing[T, Any], base: str) -> T | Unreadable:
    """Read a record from plain data; an attribute that is not as expected is ``None``.

    Args:
        data: parsed JSON.
        of: the record's class; or the listing, for a row of a list.
        base: the place of ``data`` in the body.
    """
    if not isinstance(data, dict):
        return Unreadable(base, "an object")
    read: Callable[[Any], T] = _readers.get(of) or _compile_reader(of)
    try:
        return read(data)
    except WrongTypeError as error:
        return Unreadable(f"{base}/id", error.expected if "id" in data else "to be there")


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
