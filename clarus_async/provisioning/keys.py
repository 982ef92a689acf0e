"""Which keys an input has had already."""

from __future__ import annotations

from hashlib import blake2b

_SIZE = 8  # bytes: among a million keys, the chance that two share a digest is one in 37 million


class SeenKeys:
    """The keys of an input so far, as digests: what is kept does not grow with their length."""

    __slots__ = ("_digests",)

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def add(self, key: str) -> bool:
        """Note a key; false where it was there already.

        Args:
            key: a record's.
        """
        digest = blake2b(key.encode(), digest_size=_SIZE).digest()
        if digest in self._digests:
            return False
        self._digests.add(digest)
        return True
