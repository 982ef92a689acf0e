"""From a file to its shards.

A file is split before anything is sent, and to its end, so that what is wrong with a row is known by then, and so is
which records belong together:

* A key that is there twice is a bad row for the second, as in a run on one machine.
* What can only be looked up by its last natural key, such as a name, goes into the same shard as the others that have
  the same value there. Whose a record is that is found by its name can be told only by whoever knows of all creates of
  that name.

The file is read once, and once more where there are such records. In memory are two hashes and two line numbers for
each record.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, MutableSequence
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs

from clarus_async.errors import InvalidInputError
from clarus_async.fleet.shards import Range, SectionReader, Shard, add_key, new_keys_digest
from clarus_async.provisioning.files.csv_records import join_lines
from clarus_async.provisioning.files.numbered import BadRow, NumberedRecord, UnreadableError
from clarus_async.provisioning.files.options import FIND_OUT, Format, ReadOptions
from clarus_async.provisioning.files.reader import begin, delimited, format_of, read_rows
from clarus_async.provisioning.files.target import new_records
from clarus_async.provisioning.text_numbers import TextNumbers
from clarus_async.reconcile.pending import folded
from clarus_async.resources.spec import AnySpec


@attrs.frozen(kw_only=True)
class SplitFile:
    """What splitting a file came to.

    Args:
        run: names the job; what is before the dot names the tenant and the file only.
        shards: those of it.
        lines: on which line each record starts, by its place in the input.
        bad: rows that can't be read; where there are any, there are no shards.
    """

    run: str
    shards: tuple[Shard, ...]
    lines: MutableSequence[int]
    bad: int


@attrs.define
class _ShardBuilder:
    """The records of a shard that is not full yet."""

    ranges: list[Range] = attrs.field(factory=list)
    keys: blake2b = attrs.field(factory=new_keys_digest)
    records: int = 0

    def add(self, start: int, end: int, index: int, key: str) -> None:
        add_key(self.keys, key)
        self.records += 1
        last = self.ranges[-1] if self.ranges else None
        if last is not None and last.end == start and last.index + last.records == index:
            self.ranges[-1] = attrs.evolve(last, end=end, records=last.records + 1)
        else:
            self.ranges.append(Range(start=start, end=end, index=index, records=1))


_SHARED_LINE: Final = "must be one JSON object a line, as jq -c '.[]' writes an array; nothing after it was read"
# By what a record is looked up: its last natural key, or a surer one.
_LAST_KEY: Final = 0
_SURER_KEY: Final = 1


class _FileSplitter:
    """Reads a file once, and puts its records into shards; those of each name in ``together`` go into the same one."""

    def __init__(self, spec: AnySpec, size: int, *, references: bool, together: Collection[str] = ()) -> None:
        self._spec = spec
        self._size = size
        *surer, last = spec.keys
        self._surer_keys = [key.field for key in surer if key.searchable or references]
        self._name = last.field if surer else None
        self._together = together
        self._names = TextNumbers()
        self._current = _ShardBuilder()
        self._by_name: dict[str, _ShardBuilder] = {}
        self._current_of_names = _ShardBuilder()
        self.shards: list[_ShardBuilder] = []
        self.shared_names: set[str] = set()
        """Names of several records, of which one is looked up by it."""
        self.lines = array("Q")
        self.bad = 0

    def read(self, stream: BinaryIO, header: int, options: ReadOptions, report: Callable[[BadRow], None]) -> None:
        """Read all of a file, whose first record begins behind its header, and report each bad row."""
        file, start = SectionReader(stream), header
        for row in read_rows(file, new_records(self._spec), options):
            if row.place is not None or file.position == start:
                # A machine that is given some of the bytes has to find a record in them.
                self.bad += 1
                report(BadRow.of(row.line, "", _SHARED_LINE))
                return
            if isinstance(row, BadRow):
                self.bad += 1
                report(row)
            elif not self.bad:
                self._add(start, file.position, row)
            start = file.position

    def _add(self, start: int, end: int, row: NumberedRecord) -> None:
        new, index = row.new, len(self.lines)
        self.lines.append(row.line)
        name = None if self._name is None else folded(getattr(new, self._name))
        if name is not None:
            self._note_name(name, new)
        shard = self._shard_of(name)
        if not shard.records:
            self.shards.append(shard)
        shard.add(start, end, index, new.key)

    def _shard_of(self, name: str | None) -> _ShardBuilder:
        if name is None or name not in self._together:
            if self._current.records >= self._size:
                self._current = _ShardBuilder()
            return self._current
        if name not in self._by_name:
            if self._current_of_names.records >= self._size:
                self._current_of_names = _ShardBuilder()
            self._by_name[name] = self._current_of_names
        return self._by_name[name]

    def _note_name(self, name: str, new: Any) -> None:  # noqa: ANN401  a record of whatever resource
        before = self._names.find(name)
        kind = _LAST_KEY if all(getattr(new, key) is None for key in self._surer_keys) else _SURER_KEY
        if before and _LAST_KEY in {kind, *before}:
            self.shared_names.add(name)
        if kind not in before:
            self._names.add(name, kind)


def split_file(
    path: str,
    spec: AnySpec,
    *,
    tenant: str,
    base_url: str,
    references: bool,
    options: ReadOptions = FIND_OUT,
    size: int = 1000,
    existing: str = "adopt",
    concurrency: int = 64,
    report: Callable[[BadRow], None] = lambda _: None,
) -> SplitFile:
    """Split a file into shards, in bounded memory.

    Args:
        path: the file, as every machine sees it.
        spec: what its records are, such as ``clarus_async.resources.integrations.INTEGRATIONS``.
        tenant: whose records they are.
        base_url: where the tenant's API is.
        references: whether the tenant's list can be searched by reference.
        options: how it is read. Machines read it by parts, so it is neither compressed nor a workbook, and in UTF-8.
        size: records that a shard has; those that belong together are never parted.
        existing: what is done with what is there.
        concurrency: how many a shard sends at once.
        report: is given each row that can't be read.

    Raises:
        InvalidInputError: the file can't be read.
    """
    if options.encoding not in {None, "utf-8"}:
        raise InvalidInputError(f"{path}: machines read a file by its parts only in UTF-8: save it as UTF-8")
    target = new_records(spec)
    try:
        with Path(path).open("rb") as stream:
            before = SectionReader(stream)
            lines, form = begin(before, attrs.evolve(options, format=options.format or format_of(path)))
            options = attrs.evolve(options, format=form)
            header = 0
            if form is Format.CSV:
                next(join_lines(*delimited(lines, target, options)), None)
                header = before.position
            splitter = _FileSplitter(spec, size, references=references)
            splitter.read(stream, header, options, report)
            if splitter.shared_names and not splitter.bad:
                splitter = _FileSplitter(spec, size, references=references, together=splitter.shared_names)
                splitter.read(stream, header, options, report)
            total = stream.seek(0, 2)
            stream.seek(0)
            content = file_digest(stream, lambda: blake2b(digest_size=16)).hexdigest()
    except UnreadableError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from None
    # Run again, the same job is known by its name, and a changed file makes another one of the same subject.
    subject = _digest(tenant, base_url, path)
    parts = [(shard.keys.hexdigest(), shard.ranges) for shard in splitter.shards]
    run = f"{subject}.{_digest(spec.name, total, content, references, existing, parts)}"
    shards = tuple(
        Shard(
            run=run, number=number, tenant=tenant, base_url=base_url, resource=spec.name, path=path, format=form,
            size=total, header=header, ranges=tuple(shard.ranges), keys=shard.keys.hexdigest(), references=references,
            existing=existing, concurrency=concurrency, delimiter=options.delimiter,
            renamed=tuple(options.map.items()), ignored=options.ignore,
        )
        for number, shard in enumerate(splitter.shards)
    )  # fmt: skip
    return SplitFile(
        run=run,
        shards=() if splitter.bad else shards,
        lines=splitter.lines,
        bad=splitter.bad,
    )


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()
