"""JSON to plain data to records, and back.

A record is read by what is needed of it: its id. What else is not as it should be is kept in ``extra`` as it came.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson

from clarus_async.resources.integrations import Integration, IntegrationChanges, IntegrationRow, NewIntegration

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


def prepare() -> None:
    """Compile the converter now, so that no call waits for it."""
    _readers()
    _writers()


@functools.cache
def _readers() -> Mapping[type[Any], Callable[[Any, Any], Any]]:
    return {cls: _converter().get_structure_hook(cls) for cls in (Integration, IntegrationRow)}


@functools.cache
def _writers() -> Mapping[type[Any], Callable[[Any], Any]]:
    return {cls: _converter().get_unstructure_hook(cls) for cls in (NewIntegration, IntegrationChanges)}


def unstructure(record: NewIntegration | IntegrationChanges) -> Any:  # noqa: ANN401
    """Turn a record that is to be sent into plain data; what was left out is left out.

    Args:
        record: which.
    """
    write = _writers().get(type(record))
    return _converter().unstructure(record) if write is None else write(record)


def read_record(data: object, cls: type[T], base: str) -> T | Unreadable:
    """Read plain data as a record, or say where it can't be: an attribute that is not as expected is ``None``.

    Args:
        data: what JSON gave.
        cls: the record's class.
        base: where ``data`` stands in the body.
    """
    if not isinstance(data, dict):
        return Unreadable(base, "an object")
    try:
        record: T = _readers()[cls](data, cls)
    except WrongTypeError as error:
        return Unreadable(f"{base}/id", error.expected if "id" in data else "to be there")
    return record


def parse(body: bytes) -> Any | Unreadable:  # noqa: ANN401
    """Parse a body as JSON, or say that it is none.

    Args:
        body: as it came, decoded of any content coding.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return Unreadable("", "JSON")


def parse_object(body: bytes) -> dict[str, Any] | Unreadable:
    """Parse a body as a JSON object, or say that it is none.

    Args:
        body: as it came, decoded of any content coding.
    """
    document = parse(body)
    if isinstance(document, dict | Unreadable):
        return document
    return Unreadable("", "an object")


def encode(data: object) -> bytes:
    """Write plain data as JSON.

    Args:
        data: plain data.
    """
    # Copied, as orjson's own bytes keep the 4 KiB that they were written into for as long as a call waits.
    return memoryview(orjson.dumps(data)).tobytes()
