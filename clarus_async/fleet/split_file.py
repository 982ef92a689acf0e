"""From a file to its shards.

A file is cut before anything is sent, and to its end, so that what is wrong with a row is known by then, and so is
which records belong together:

* A key that is there twice is refused for the second, as in a run on one machine.
* What can only be looked up by a name that another record has, too, goes into the same shard as that one. Only who
  knows of all creates of a name can tell whose a record is that is found by it.

The file is read once, and once more where there are such names. In memory are two digests and a line number for each
record.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, MutableSequence
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import BinaryIO, Final

import attrs

from clarus_async.errors import InvalidInputError
from clarus_async.fleet.shards import KeysDigest, Part, Range, Shard
from clarus_async.provisioning.digests import Digests
from clarus_async.provisioning.files.csv_records import join_lines
from clarus_async.provisioning.files.reader import (
    BadRow,
    Format,
    NumberedIntegration,
    format_of,
    format_of_line,
    number_lines,
    read_records,
)
from clarus_async.provisioning.planner import refused_key
from clarus_async.provisioning.report import Outcome
from clarus_async.reconcile.pending import folded
from clarus_async.resources.integrations import INTEGRATIONS, NewIntegration


@attrs.frozen(kw_only=True)
class Cut:
    """What cutting a file came to.

    Args:
        run: names the job; what is before the dot names the tenant and the file only.
        shards: those of it.
        refused: outcomes of records whose key was there before.
        lines: on which line each record starts, by its place in the input.
        bad: rows that can't be read; where there are any, there are no shards.
    """

    run: str
    shards: tuple[Shard, ...]
    refused: tuple[Outcome, ...]
    lines: MutableSequence[int]
    bad: int


@attrs.define
class _Draft:
    """A shard in the making."""

    parts: list[Range] = attrs.field(factory=list)
    keys: KeysDigest = attrs.field(factory=KeysDigest)
    records: int = 0

    def add(self, start: int, end: int, index: int, key: str) -> None:
        self.keys.add(key)
        self.records += 1
        last = self.parts[-1] if self.parts else None
        if last is not None and last.end == start and last.index + last.records == index:
            self.parts[-1] = attrs.evolve(last, end=end, records=last.records + 1)
        else:
            self.parts.append(Range(start=start, end=end, index=index, records=1))


_SHARED_LINE: Final = "must be one JSON object a line, as jq -c '.[]' writes an array; nothing after it was read"
_NO_REFERENCE: Final = 0
_REFERENCE: Final = 1


class _Cutter:
    """Reads a file once, and puts its records into shards.

    Args:
        size: records that a shard has.
        references: records that have a reference are looked up by that.
        together: names whose records belong together.
    """

    def __init__(self, size: int, *, references: bool, together: Collection[str] = ()) -> None:
        self._size = size
        self._references = references
        self._together = together
        self._keys = Digests()
        self._names = Digests()
        self._plain = _Draft()
        self._by_name: dict[str, _Draft] = {}
        self._group = _Draft()
        self.drafts: list[_Draft] = []
        self.shared: set[str] = set()
        """Names of several records, of which one is looked up by it."""
        self.refused: list[Outcome] = []
        self.lines = array("Q")
        self.bad = 0

    def read(self, part: Part, format: Format, report: Callable[[BadRow], None]) -> None:  # noqa: A002
        """Read all of it.

        Args:
            part: the whole file.
            format: how records are written in it.
            report: is given each bad row.
        """
        start = part.at
        for row in read_records(part, format):
            if row.place is not None or part.at == start:
                # A machine that is given some of the bytes has to find a record in them.
                self.bad += 1
                report(BadRow.of(row.line, "", _SHARED_LINE))
                return
            if isinstance(row, BadRow):
                self.bad += 1
                report(row)
            elif not self.bad:
                self._add(start, part.at, row)
            start = part.at

    def _add(self, start: int, end: int, row: NumberedIntegration) -> None:
        new, index = row.new, len(self.lines)
        self.lines.append(row.line)
        if self._keys.find(new.key):
            self.refused.append(refused_key(index, new.key, INTEGRATIONS.name))
            return
        self._keys.add(new.key, 0)
        name = folded(new.name)
        self._note(name, new)
        if name in self._together:
            draft = self._by_name.get(name)
            if draft is None:
                if self._group.records >= self._size:
                    self._group = _Draft()
                draft = self._by_name[name] = self._group
        else:
            if self._plain.records >= self._size:
                self._plain = _Draft()
            draft = self._plain
        if not draft.records:
            self.drafts.append(draft)
        draft.add(start, end, index, new.key)

    def _note(self, name: str, new: NewIntegration) -> None:
        before = self._names.find(name)
        kind = _NO_REFERENCE if new.external_system_reference1 is None else _REFERENCE
        if before and (not self._references or _NO_REFERENCE in {kind, *before}):
            self.shared.add(name)
        if kind not in before:
            self._names.add(name, kind)


def cut(
    path: str,
    *,
    tenant: str,
    base_url: str,
    references: bool,
    format: Format | None = None,  # noqa: A002  the plain word
    size: int = 1000,
    existing: str = "adopt",
    concurrency: int = 64,
    report: Callable[[BadRow], None] = lambda _: None,
) -> Cut:
    """Cut a file into shards, in bounded memory.

    Args:
        path: the file, as every machine sees it.
        tenant: whose records they are.
        base_url: where the tenant's API is.
        references: whether the tenant's list can be searched by reference.
        format: ``None``: by the file's suffix, else by its first character.
        size: records that a shard has; those that belong together are never parted.
        existing: what is done with what is there.
        concurrency: how many a shard sends at once.
        report: is given each row that can't be read.

    Raises:
        InvalidInputError: the file can't be read.
    """
    try:
        with Path(path).open("rb") as stream:
            form = format or format_of(path) or _format_in(stream)
            header = 0
            if form is Format.CSV:
                before = Part(stream)
                next(join_lines(number_lines(before)), None)
                header = before.at
            cutter = _Cutter(size, references=references)
            cutter.read(_begun(stream, header), form, report)
            if cutter.shared and not cutter.bad:
                cutter = _Cutter(size, references=references, together=cutter.shared)
                cutter.read(_begun(stream, header), form, report)
            total = stream.seek(0, 2)
            stream.seek(0)
            content = file_digest(stream, lambda: blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise InvalidInputError(f"{path}: {error.strerror}") from None
    # Run again, the same job is known by its name, and a changed file makes another one of the same subject.
    subject = _digest(tenant, base_url, path)
    parts = [(draft.keys.text(), draft.parts) for draft in cutter.drafts]
    run = f"{subject}.{_digest(total, content, references, existing, parts)}"
    shards = tuple(
        Shard(
            run=run, number=number, tenant=tenant, base_url=base_url, path=path, format=form, size=total, header=header,
            ranges=tuple(draft.parts), keys=draft.keys.text(), references=references, existing=existing,
            concurrency=concurrency,
        )
        for number, draft in enumerate(cutter.drafts)
    )  # fmt: skip
    return Cut(
        run=run, shards=() if cutter.bad else shards, refused=tuple(cutter.refused), lines=cutter.lines, bad=cutter.bad
    )


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()


def _begun(stream: BinaryIO, header: int) -> Part:
    """Return a whole file; where it stands before its first record is at the end of its header."""
    part = Part(stream)
    part.at = header
    return part


def _format_in(stream: BinaryIO) -> Format:
    first = next((line for _, line in number_lines(Part(stream)) if line.strip()), b"")
    return format_of_line(first)
