"""The standard streams, and all that is written to them.

It goes past the buffers of ``sys.stdout`` and ``sys.stderr``. What is left in one that can't be written, the
interpreter would try to write again at its end, and change the exit status. Nothing but the standard library is
imported, so that help comes at once.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, Final, TextIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

LEVELS: Final = {"warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
"""What ``CLARUS_LOG`` may be; ``-v`` is the second, ``-vv`` the third."""
STDOUT: Final = "standard output"
"""What an error calls it."""


def write(stream: TextIO | None, content: bytes) -> None:
    """Write, however long the reader takes; with no content, find out whether something could be written.

    A stream of ``sys`` is ``None`` where it was closed before the process began.

    Raises:
        OSError: it is closed, full, or nobody reads it any more.
    """
    if stream is None or stream.closed:
        raise OSError(errno.EBADF, "it is closed")
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:
        # Whoever called us takes it to memory.
        stream.write(content.decode(_encoding(stream)))
        return
    while True:
        try:
            content = content[os.write(descriptor, content) :]
        except BlockingIOError:
            # Another process that has the same pipe made it non-blocking.
            select.select((), (descriptor,), ())
        if not content:
            return


def printable(text: str) -> str:
    """Escape what could break the line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(text: str) -> None:
    """Write one line to standard error, where that is possible: nothing depends on it."""
    with contextlib.suppress(OSError):
        write(sys.stderr, encode(printable(text), sys.stderr) + b"\n")


class Log(logging.Handler):
    """Says what is logged, a line each; a progress view takes it over for as long as it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.say: Callable[[str], None] = say

    def emit(self, record: logging.LogRecord) -> None:
        """Say it."""
        for line in self.format(record).splitlines():
            self.say(line)


log: Final = Log()


@contextlib.contextmanager
def logging_at(level: int) -> Iterator[None]:
    """Say what is logged meanwhile: by this library at this level or above, by others where it is a warning."""
    ours, root = logging.getLogger("clarus_async"), logging.getLogger()
    before = ours.level
    ours.setLevel(level)
    root.addHandler(log)
    try:
        yield
    finally:
        root.removeHandler(log)
        ours.setLevel(before)


def encode(text: str, stream: TextIO | None) -> bytes:
    """Encode a text for a stream; what its encoding lacks is escaped."""
    return text.encode(_encoding(stream), "backslashreplace")


def _encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or "utf-8"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody may be looking at a stream."""
    return stream is not None and not stream.closed and stream.isatty()


def write_to_stdout(content: bytes) -> None:
    """Write to standard output, as ``write`` does; an error names it."""
    try:
        write(sys.stdout, content)
    except OSError as error:
        error.filename = STDOUT
        raise


def write_results(lines: bytes) -> None:
    """Write result lines to standard output: in UTF-8, as JSON is, but to a terminal as it can show them."""
    write_to_stdout(encode(readable(lines), sys.stdout) if is_terminal(sys.stdout) else lines)


def readable(lines: bytes) -> str:
    """Escape, as JSON does, what the terminal at standard output has no character for, or would obey.

    The lines are JSON, so whatever is to be escaped stands in a string.
    """
    encoding = _encoding(sys.stdout)

    def shown(character: str) -> str:
        if character == "\n" or (character.isprintable() and character.encode(encoding, "ignore")):
            return character
        units = character.encode("utf-16-be").hex()
        return "".join(f"\\u{units[n : n + 4]}" for n in range(0, len(units), 4))

    return "".join(map(shown, lines.decode()))


class _Waiting(io.FileIO):
    """A file that waits where there is nothing to read yet, though another process made it non-blocking."""

    def readinto(self, into: WriteableBuffer, /) -> int:
        while (count := super().readinto(into)) is None:
            select.select((self,), (), ())
        return count


def open_stdin() -> io.FileIO | BinaryIO:
    """Open standard input, as a stream of our own: at its end the interpreter waits for whoever reads ``sys.stdin``.

    Where whoever called us gives it from memory, it is that.

    Raises:
        OSError: it is closed.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise OSError(errno.EBADF, "standard input is closed")
    try:
        return _Waiting(sys.stdin.fileno(), closefd=False)
    except io.UnsupportedOperation:
        return sys.stdin.buffer


def read_up_to(stream: io.FileIO | BinaryIO, size: int) -> bytes:
    """Read to the end, or so many bytes, however slowly they come: a pipe gives what it has just then."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def reserve_descriptors() -> None:
    """Open the null device where a standard stream is closed: else the next file or socket gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def empty_buffers() -> None:
    """Write what others left in the buffers, such as a warning; drop what can't be written."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None or stream.closed:
            continue
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
