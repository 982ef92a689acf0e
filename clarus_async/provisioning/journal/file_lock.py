"""What a journal needs beyond what SQLite does: a lock of its own, and to know that its WAL has not lost its middle."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final


class FileLock:
    """An exclusive lock beside a file, which the operating system releases with the process.

    SQLite's own is a POSIX lock, which a process loses as soon as it closes any handle of the file, such as a backup's.
    Where somebody else has the lock, ``BlockingIOError`` is raised.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                os.close(self._descriptor)
                raise
            if self._is_current():
                return
            # Whoever had it removed it meanwhile, and the next would make another one.
            os.close(self._descriptor)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def leave(self) -> None:
        """Close the descriptor of a lock that another process has: as long as one is open, nobody else gets it."""
        os.close(self._descriptor)

    def release(self) -> None:
        """Let go of it."""
        try:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)


# https://www.sqlite.org/fileformat2.html#walformat
_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_BIG_ENDIAN: Final = 1  # of the header's magic number: how the checksum reads its words


def wal_problem(path: Path) -> str | None:
    """Say what a WAL has lost that a crash can't have taken, or ``None``.

    SQLite takes the first frame that does not fit for the end, and drops what comes after it in silence. After a crash
    that is the last group at most, which nobody was told of.
    """
    content = path.read_bytes()
    if len(content) < _HEADER.size:
        return "is cut off"
    magic, _, page, _, *salts, first, second = _HEADER.unpack_from(content)
    words = ">" if magic & _BIG_ENDIAN else "<"
    sums = _checksum(words, content[:24], (0, 0))
    if sums != (first, second):
        return "has a damaged header"
    if len(content) < _HEADER.size + _FRAME.size + page:
        # What says that the file is in use came by way of its first frame, and it never shrinks.
        return "is cut off"
    lost, whole = 0, True
    for at in range(_HEADER.size, len(content) - _FRAME.size - page + 1, _FRAME.size + page):
        _, committed, *frame_salts, first, second = _FRAME.unpack_from(content, at)
        if frame_salts != salts:
            # Damaged, or of an earlier time, and then copied into the file long since.
            whole = False
            continue
        if whole:
            sums = _checksum(words, content[at : at + 8] + content[at + _FRAME.size : at + _FRAME.size + page], sums)
            whole = sums == (first, second)
        lost += bool(committed) and not whole
    return f"has lost {lost} groups of records" if lost > 1 else None


def _checksum(words: str, content: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    first, second = sums
    numbers = struct.unpack(f"{words}{len(content) // 4}I", content)
    for one, other in zip(numbers[::2], numbers[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
