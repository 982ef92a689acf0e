"""Which texts were there already, and what number each goes with, in a few bytes for each."""

from __future__ import annotations

import sys
from hashlib import blake2b
from struct import Struct
from typing import Final

_ENTRY: Final = Struct("qq")  # a hash and a number
_HASH: Final = Struct("q")
_ROWS: Final = 2**14  # of 1 KiB each, where there are a million texts


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=_HASH.size).digest(), "little", signed=True)


# Python caches its own hash of a text. Of 64 bits, the chance that two of a million texts share one is one in 37
# million; of the 32 that it has on small machines, some would.
_hash: Final = hash if sys.hash_info.width >= 64 else _digest


class TextNumbers:
    """Texts as hashes, each with a number of 64 bits: what is kept does not grow with their length.

    A Python set of a million short strings takes 100 MiB, this 18. Entries lie one after the other in some thousand
    rows of bytes. They mean nothing to another process, where the same text has another hash.
    """

    __slots__ = ("_empty", "_rows")

    def __init__(self) -> None:
        self._rows: list[bytearray | None] = [None] * _ROWS
        self._empty = True

    def add(self, text: str, number: int) -> None:
        """Note a text."""
        self._empty = False
        hashed = _hash(text)
        place = hashed % _ROWS
        row = self._rows[place]
        if row is None:
            self._rows[place] = bytearray(_ENTRY.pack(hashed, number))
        else:
            row += _ENTRY.pack(hashed, number)

    def find(self, text: str) -> list[int]:
        """Return the numbers of a text, in the order in which they were noted."""
        if self._empty:
            return []
        hashed = _hash(text)
        row = self._rows[hashed % _ROWS]
        numbers: list[int] = []
        if row is None:
            return numbers
        wanted = _HASH.pack(hashed)
        at = row.find(wanted)
        while at >= 0:
            if at % _ENTRY.size == 0:
                numbers.append(_ENTRY.unpack_from(row, at)[1])
            at = row.find(wanted, at + 1)
        return numbers
