"""Bytes of a file to lines in UTF-8: what is compressed is decompressed, and other encodings are found out."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable
from typing import Any, Final

from clarus_async.errors import ConfigurationError
from clarus_async.provisioning.files.numbered import MAX_RECORD, UnreadableError

# What decompresses to more than so many times its size, once it has so many bytes, was made to: records don't.
_BOMB: Final = 200
_BOMB_FROM: Final = 2**26

_SAMPLE: Final = 2**16  # bytes of lines that are not ASCII: thousands of names


class MoreToComeError(Exception):
    """What was read ahead of a stream has ended, and the stream has not."""


class _Raw(io.RawIOBase):
    """A stream of what a function reads."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.count: int = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # noqa: ANN401  whatever takes bytes
        content = self._read(len(buffer))
        buffer[: len(content)] = content
        self.count += len(content)
        return len(content)


def buffered(read: Callable[[int], bytes]) -> io.BufferedReader:
    """Return a stream of what a function reads; closing it closes nothing else."""
    return io.BufferedReader(_Raw(read), 2**16)


def is_gzip(stream: io.BufferedReader) -> bool:
    """Whether a stream goes on with what gzip has compressed, whatever its name."""
    return stream.peek(2)[:2] == b"\x1f\x8b"


def decompressed(stream: io.BufferedReader) -> io.BufferedReader:
    """Decompress gzip as it is read; what is damaged, cut off, or too good to be true, raises ``UnreadableError``."""
    packed = _Raw(stream.read1)
    file = gzip.GzipFile(fileobj=io.BufferedReader(packed), mode="rb")

    def read(size: int) -> bytes:
        try:
            content = file.read1(size)
        except EOFError:
            raise UnreadableError("is compressed by gzip, and cut off: copy it again") from None
        except (gzip.BadGzipFile, zlib.error):
            raise UnreadableError("is compressed by gzip, and damaged, or something stands behind its end") from None
        if plain.count > _BOMB_FROM and plain.count > _BOMB * packed.count:
            raise UnreadableError(f"decompresses to more than {_BOMB} times its size, as no file of records does")
        return content

    plain = _Raw(read)
    return io.BufferedReader(plain, 2**16)


# --- encodings


_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip

# The letters of each language that are no ASCII, by the code page in which its spreadsheets write them. A line speaks
# for a code page where one language has all of its letters.
# ruff: noqa: RUF001  letters that look like others are what this is about
_MARKS: Final = "–—’‘“”„…€°«»§©®™ºª¿¡²³£¥¢×÷±µ·½¼"
# How another code page's letters look in this one: no sign of that kind stands within a word, or begins one.
_MISREAD: Final = re.compile(
    r"[^\W\d_][–—‘“”„…€°«»§©®™¿¡²³ªº†‡£¥¢½¼×÷±][^\W\d_]|[€…™†‡£¥¢½¼][^\W\d_]|[а-яё][А-ЯЁ]"
    # Nor has a word letters of two scripts.
    r"|[a-zA-Z\xc0-\u024f][\u0370-\u04ff]|[\u0370-\u04ff][a-zA-Z\xc0-\u024f]"
)
_LATIN: Final = (
    "äöüßáéèàâêôç", "àâæçéèêëîïôœùûüç", "áéíóúüñçàèìòùãâêô", "åäöæøéüè", "áðéíóúýþæö", "äéëïöüèêíóú", "éàèìòùîç"
)  # fmt: skip
_ALPHABETS: Final = (
    ("cp1252", _LATIN),
    ("cp1250", ("ąćęłńóśźż", "áčďéěíňóřšťúůýžöü", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîşţşţ", "čćđšž")),
    ("cp1254", ("çğıöşüâîûi̇",)),
    ("cp1251", ("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґў№",)),
    ("cp1253", ("αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ",)),
    ("cp1257", ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž")),
    ("mac-roman", _LATIN),
    ("cp850", _LATIN),
)
_OLD: Final = frozenset({"mac-roman", "cp850"})
_OTHERS: Final = ["cp932", "gb18030", "big5", "cp949", "cp1251", "cp1253", "koi8_r", "cp1255", "cp1256"]


def find_encoding(stream: io.BufferedReader) -> str:
    """Read a stream to its end, or as far as it has come, and say in what its text is encoded."""
    head = stream.peek(16)[:16]
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    if 0 in head and any(head[::2]) != any(head[1::2]):  # every other byte of plain text is zero
        return "utf-16-le" if any(head[::2]) else "utf-16-be"
    sample: list[bytes] = []
    size = valid = 0
    try:
        while line := stream.readline(MAX_RECORD):
            if line.isascii():
                continue
            try:
                line.decode()
                valid += 1
            except UnicodeDecodeError:
                if size < _SAMPLE:
                    sample.append(line[:_SAMPLE])
                    size += len(line)
    except MoreToComeError:
        pass
    # What is partly UTF-8 was joined from several files: its other rows are named, and not guessed at.
    return "utf-8" if valid or not sample else _guess(sample)


def _guess(lines: list[bytes]) -> str:
    def speaks_for(line: bytes, encoding: str, alphabets: tuple[str, ...]) -> bool:
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError:
            return False
        if _MISREAD.search(text):
            return False
        found = {c for c in text.lower().replace("õe", "") if not c.isascii()} - {*_MARKS, "\xa0"}
        return any(found <= {*alphabet} for alphabet in alphabets)

    lines = lines[:1000]
    votes = {name: sum(speaks_for(line, name, of) for line in lines) for name, of in _ALPHABETS}
    best = max(votes, key=votes.__getitem__)  # of equals the first
    if votes[best] * 2 > len(lines):
        text = b"".join(lines)
        # Those of Windows are what Excel writes there: what a Mac or DOS would mean by it is no rival of them.
        among = [name for name in votes if best in _OLD or name not in _OLD]
        rivals = [name for name in among if votes[name] == votes[best] and not _alike(text, name, best)]
        if not rivals:
            return best
        raise UnreadableError(f"may be in {' or '.join([best, *rivals])}: say in which with --encoding")
    try:
        from charset_normalizer import from_bytes  # noqa: PLC0415  an extra
    except ImportError:
        raise ConfigurationError(
            "finding out an encoding needs charset-normalizer: pip install 'clarus-async[cli]', or give --encoding"
        ) from None
    guess = from_bytes(b"".join(lines), cp_isolation=_OTHERS).best()
    if guess is None:
        return "utf-8"
    # A wrong guess would send other names than those that stand there.
    raise UnreadableError(f"is not UTF-8, and perhaps {guess.encoding}: say in which encoding it is with --encoding")


def _alike(content: bytes, one: str, other: str) -> bool:
    return content.decode(one, "replace") == content.decode(other, "replace")


class Transcoded:
    """Lines of a stream in UTF-8; bytes that its encoding does not have stay what they are, and are no UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._encoding = encoding
        self._text = io.TextIOWrapper(buffered(stream.read1), encoding, "surrogateescape", newline="\n")

    def readline(self, size: int, /) -> bytes:
        """Return the next line, or its beginning."""
        try:
            return self._text.readline(size).encode("utf-8", "surrogateescape")
        except UnicodeError:
            raise UnreadableError(f"is not {self._encoding}, which --encoding can tell") from None
