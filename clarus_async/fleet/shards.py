"""Parts of a file that machines work on by themselves.

A shard says where its records stand, and never what is in them: it travels through queues and logs that secrets must
not get into.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import attrs

from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.files.numbered import BadRow
from clarus_async.provisioning.files.options import Format, ReadOptions
from clarus_async.provisioning.files.reader import read_rows
from clarus_async.provisioning.files.target import new_records
from clarus_async.resources.spec import AnySpec
from clarus_async.resources.table import RESOURCES


@attrs.frozen
class Range:
    """Records that stand one after the other."""

    start: int
    """The byte at which the first begins, or blank lines before it."""
    end: int
    """The byte after the last."""
    index: int
    """The first one's place in the input, from 0."""
    records: int


@attrs.frozen(kw_only=True)
class Shard:
    """A part of a file, and how it is provisioned. It holds no record, and no secret.

    Args:
        run: the run that it is of.
        number: which of the run's shards it is.
        tenant: whose records they are.
        base_url: where the tenant's API is.
        resource: the name of what they are.
        path: the file, where every machine sees it.
        format: how records are written in it.
        size: of the file, in bytes.
        header: bytes that belong before every range: those of a CSV's header row.
        ranges: where its records are, in the order of the file.
        keys: a digest of its records' keys, in that order.
        references: records are looked up by reference, where they have one.
        existing: what is done with what is there.
        concurrency: how many are sent at once.
        delimiter: between the cells of CSV, where it is not to be found by the header.
        renamed: columns, or keys, with the attributes that they stand for.
        ignored: columns, or keys, that are left out.
    """

    run: str
    number: int
    tenant: str
    base_url: str
    resource: str
    path: str
    format: Format
    size: int
    header: int
    ranges: tuple[Range, ...]
    keys: str
    references: bool
    existing: str = "adopt"
    concurrency: int = 64
    delimiter: str | None = None
    renamed: tuple[tuple[str, str], ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def options(self) -> ReadOptions:
        """How its rows are read."""
        return ReadOptions(
            format=self.format, delimiter=self.delimiter, map=dict(self.renamed), ignore=tuple(self.ignored)
        )

    @property
    def records(self) -> int:
        """How many there are."""
        return sum(part.records for part in self.ranges)

    @property
    def spec(self) -> AnySpec:
        """What its records are.

        Raises:
            InvalidInputError: this version does not know the resource.
        """
        if (spec := RESOURCES.get(self.resource)) is None:
            raise InvalidInputError(
                f"the shard is of {self.resource}, and this version of clarus_async knows {', '.join(RESOURCES)} only"
            )
        return spec

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, for a message."""
        fields = attrs.asdict(self, recurse=False)
        return fields | {
            "format": self.format.value,
            "ranges": [list(attrs.astuple(part)) for part in self.ranges],
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Read what ``as_dict`` wrote.

        Raises:
            InvalidInputError: another version wrote it.
        """
        try:
            ranges = tuple(Range(*part) for part in fields["ranges"])
            renamed = tuple((name, attribute) for name, attribute in fields["renamed"])
            more = {"format": Format(fields["format"]), "renamed": renamed, "ignored": tuple(fields["ignored"])}
            return cls(**fields | more | {"ranges": ranges})
        except (KeyError, TypeError, ValueError):
            raise InvalidInputError("the shard was made by another version of clarus_async") from None

    def read(self) -> Iterator[tuple[int, Any]]:
        """Yield its records, each with its place in the input.

        Raises:
            InvalidInputError: the file can't be read, or has changed since it was split.
        """
        target, options = new_records(self.spec), self.options
        try:
            with Path(self.path).open("rb") as stream:
                for part in self.ranges:
                    rows = read_rows(SectionReader(stream, self.header, part.start, part.end), target, options)
                    for index, row in zip(range(part.index, part.index + part.records), rows, strict=True):
                        if isinstance(row, BadRow):
                            raise self._changed()
                        yield index, row.new
        except OSError as error:
            raise InvalidInputError(f"{self.path}: {error.strerror}") from None
        except ValueError as error:
            raise (error if isinstance(error, InvalidInputError) else self._changed()) from None

    def verify(self) -> None:
        """Make sure that its records are those that were split off: others might be in another shard as well.

        Raises:
            InvalidInputError: they are not.
        """
        keys = new_keys_digest()
        for _, new in self.read():
            add_key(keys, new.key)
        if keys.hexdigest() != self.keys or Path(self.path).stat().st_size != self.size:
            raise self._changed()

    def _changed(self) -> InvalidInputError:
        return InvalidInputError(f"{self.path}: has changed since it was split into shards; start the run again")


new_keys_digest: Final = partial(blake2b, digest_size=16)


def add_key(keys: blake2b, key: str) -> None:
    """Add the next key to a digest of keys, in their order."""
    encoded = key.encode()
    keys.update(len(encoded).to_bytes(8, "little") + encoded)


class SectionReader:
    """The bytes of a file up to ``header``, then those from ``start`` to ``end`` (``None``: to its end)."""

    def __init__(self, stream: BinaryIO, header: int = 0, start: int = 0, end: int | None = None) -> None:
        self._stream = stream
        self._sections = [(start, end)] if start < header else [(0, header), (start, end)]
        self._end: int | None = 0
        self.position: int = 0
        """The byte of the file that is read next."""

    def readline(self, size: int, /) -> bytes:
        """Return the next line, or its first bytes."""
        while True:
            left = size if self._end is None else min(size, self._end - self.position)
            if left > 0 and (line := self._stream.readline(left)):
                self.position += len(line)
                return line
            if not self._sections:
                return b""
            start, self._end = self._sections.pop(0)
            self.position = start
            self._stream.seek(self.position)
