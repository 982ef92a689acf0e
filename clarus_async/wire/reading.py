"""JSON to plain data to records, and back.

Reading happens twice where it fails: first by a converter that only knows that something is wrong, which is fast,
then by one that knows where.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import orjson

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


@functools.cache
def _converter(*, detailed: bool = False) -> Converter:
    from clarus_async.wire.converter import make  # noqa: PLC0415  importing and compiling it takes some 15 ms

    return make(detailed=detailed)


def prepare() -> None:
    """Compile the converter now, so that no call waits for it."""
    _converter()


def unstructure(record: object) -> Any:  # noqa: ANN401
    """Turn a record that is to be sent into plain data; what was left out is left out.

    Args:
        record: which.
    """
    return _converter().unstructure(record)


def read_record(data: object, cls: type[T], pointers: Mapping[str, str], base: str) -> T | Unreadable:
    """Read plain data as a record, or say where it can't be.

    Args:
        data: what JSON gave.
        cls: the record's class.
        pointers: where each attribute stands in the body, for those that stand elsewhere than under ``base``.
        base: where ``data`` stands in the body.
    """
    try:
        return _converter().structure(data, cls)
    except Exception:  # noqa: BLE001  whatever it is, the detailed converter says where, or raises it again
        from clarus_async.wire.converter import locate  # noqa: PLC0415

        name, expected = locate(data, cls, _converter(detailed=True))
    return Unreadable(base if name is None else pointers.get(name, f"{base}/{name}"), expected)


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


encode = orjson.dumps
"""Write plain data as JSON."""
