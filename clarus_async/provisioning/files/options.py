"""How a file is read: what its reader would find out by itself, and which of its columns mean what."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Self

import attrs

from clarus_async.errors import InvalidInputError


class Format(StrEnum):
    """How records are written in a file."""

    CSV = "csv"
    JSON_LINES = "jsonl"


DELIMITERS: Final[Mapping[str, str]] = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
"""Delimiters that are found out, with what each is called."""

_BY_NAME: Final = {name: character for character, name in DELIMITERS.items()}
# Those that spreadsheets and databases write.
ENCODINGS: Final = (
    "utf-8", "utf-16", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "iso-8859-1", "iso-8859-2",
    "iso-8859-15", "mac-roman", "cp437", "cp850", "cp932", "shift_jis", "euc_jp", "gb18030", "big5", "euc_kr", "koi8-r",
)  # fmt: skip


@attrs.frozen(kw_only=True)
class ReadOptions:
    """How a file is read; what is not given is found out.

    Args:
        format: how records are written.
        delimiter: the character between the cells of CSV.
        encoding: of its text, as Python names it.
        map: the attribute that a column, or a key of JSON, stands for.
        ignore: columns, or keys of JSON, that are left out.
    """

    format: Format | None = None
    delimiter: str | None = None
    encoding: str | None = None
    map: Mapping[str, str] = attrs.field(factory=dict)
    ignore: tuple[str, ...] = ()

    @classmethod
    def of(cls, args: object) -> Self:
        """Read the options of a command.

        Raises:
            InvalidInputError: one can't be used.
        """
        given = {name: getattr(args, name, None) for name in ("format", "delimiter", "encoding", "map")}
        form, delimiter, encoding = given["format"], given["delimiter"], given["encoding"]
        if delimiter is not None:
            delimiter = {**_BY_NAME, "\\t": "\t"}.get(delimiter.lower(), delimiter)
            if len(delimiter) != 1 or not delimiter.isascii() or delimiter.isalnum() or delimiter in '"\r\n. _-':
                raise InvalidInputError(f"--delimiter: must be one character, or one of {', '.join(_BY_NAME)}")
        if encoding is not None:
            encoding = _encoding(encoding)
        renamed: dict[str, str] = {}
        for assignment in given["map"] or ():
            header, equals, attribute = assignment.rpartition("=")
            if not (equals and header.strip() and attribute.strip()):
                raise InvalidInputError('--map: must be HEADER=ATTRIBUTE, as in --map "Shop name=name"')
            if renamed.setdefault(header.strip(), attribute.strip()) != attribute.strip():
                raise InvalidInputError(f"--map: {header.strip()} is given twice")
        ignored = tuple(name for names in getattr(args, "ignore_columns", None) or () for name in names.split(","))
        return cls(
            format=None if form is None else Format(form),
            delimiter=delimiter,
            encoding=encoding,
            map=renamed,
            ignore=tuple(name.strip() for name in ignored),
        )


def _encoding(name: str) -> str:
    try:
        b"a".decode(name, "replace")
        return codecs.lookup(name).name
    except (LookupError, ValueError):  # rot13 and base64 are codecs, too, and no encodings
        pass
    near = difflib.get_close_matches(name.lower(), ENCODINGS, n=3, cutoff=0.5) or ENCODINGS[:4]
    raise InvalidInputError(f"--encoding: no encoding is called {name}; did you mean {' or '.join(near)}?")


FIND_OUT: Final = ReadOptions()
"""Nothing is given."""
