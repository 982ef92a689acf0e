"""Which texts were there already, and what number each goes with, in a few bytes for each."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_DIGEST: Final = 8  # bytes: among a million texts, the chance that two share a digest is one in 37 million
_NUMBER: Final = 8
_ROWS: Final = 2**14  # of 1 KiB each, where there are a million texts


class Digests:
    """Texts as digests, each with a number of 64 bits: what is kept does not grow with their length.

    A Python set of a million short strings takes 100 MiB, this 18. Digests lie one after the other in some thousand
    rows of bytes, which are searched faster than Python hashes a text.
    """

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: list[bytearray | None] = [None] * _ROWS

    def add(self, text: str, number: int) -> None:
        """Note a text."""
        digest = blake2b(text.encode(), digest_size=_DIGEST).digest()
        entry = digest + number.to_bytes(_NUMBER, "little", signed=True)
        place = int.from_bytes(digest[:2], "little") % _ROWS
        row = self._rows[place]
        if row is None:
            self._rows[place] = bytearray(entry)
        else:
            row += entry

    def find(self, text: str) -> list[int]:
        """Return the numbers of a text, in the order in which they were noted."""
        digest = blake2b(text.encode(), digest_size=_DIGEST).digest()
        row = self._rows[int.from_bytes(digest[:2], "little") % _ROWS]
        numbers: list[int] = []
        if row is None:
            return numbers
        at = row.find(digest)
        while at >= 0:
            if at % (_DIGEST + _NUMBER) == 0:
                numbers.append(int.from_bytes(row[at + _DIGEST : at + _DIGEST + _NUMBER], "little", signed=True))
            at = row.find(digest, at + 1)
        return numbers
