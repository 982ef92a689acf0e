"""What is said when a run is over."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import attrs

from clarus_async.cli.output import Exit
from clarus_async.cli.streams import STDOUT, say
from clarus_async.provisioning.files.attribute_types import attribute_types
from clarus_async.provisioning.report import Outcome, Report, table
from clarus_async.resources.spec import AnySpec

SHOWN: Final = 20
"""Records that are not ok, each with a line of its own."""


@attrs.define(kw_only=True)
class Summary:
    """Counts that add up to the input."""

    spec: AnySpec
    total: int | None = None
    """Records of the input, where that is known."""
    report: Report = attrs.field(factory=Report)
    taken: int = 0
    """Records that the run has begun, as far as it could: it has an outcome of each, or it may have been sent."""
    bad: int = 0
    """Rows that could not be read as a record."""
    differing: Counter[tuple[str, ...]] = attrs.field(factory=Counter)
    """How many records are there with other attributes than were given, by those attributes."""
    unwritten: bool = False
    """Whether the results of some could not be written."""
    failed: bool = False
    """Whether an error ended it."""
    _not_ok: list[str] = attrs.field(factory=list, init=False)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.report.add(outcome)
        if outcome.differs:
            self.differing[tuple(outcome.differs)] += 1
        self.note(outcome)

    def note(self, outcome: Outcome) -> None:
        """Keep a line for an outcome that is not ok, as long as there are few."""
        if not outcome.status.ok and len(self._not_ok) < SHOWN:
            where = "" if outcome.line is None else f"line {outcome.line}: "
            reason = "" if outcome.error is None else f": {outcome.error.message}"
            if outcome.others:
                reason += f" (ids {', '.join(map(str, filter(None, (outcome.id, *outcome.others))))})"
            self._not_ok.append(f"{where}{outcome.key}: {outcome.status}{reason}")

    @contextlib.contextmanager
    def told_at_the_end(self, how_to_go_on: str) -> Iterator[None]:
        """Say what a run came to, however it ends, and how to go on with it where it is unfinished."""
        started_at = time.monotonic()
        try:
            yield
        except OSError as error:
            self.unwritten = error.filename == STDOUT
            raise
        except Exception:
            self.failed = True
            raise
        finally:
            # An error before the first record, such as a journal that is another's, is all there is to say.
            if self.taken or not self.failed:
                for line in self.lines(time.monotonic() - started_at):
                    say(line)
                if self.unfinished:
                    say(how_to_go_on)

    @property
    def unfinished(self) -> bool:
        """Whether records of the input are without an outcome that was written."""
        return self.unwritten or self.taken > self.report.total or (self.total or 0) > self.taken

    @property
    def exit_status(self) -> int:
        """The exit status of a run that came to its end."""
        if self.bad and not self.taken:
            return Exit.USAGE
        return Exit.OK if self.report.ok and not self.bad and not self.unfinished else Exit.FAILED

    def lines(self, elapsed: float | None) -> Iterator[str]:
        """Yield the lines of the summary; ``elapsed`` is the seconds that a run took."""
        yield from self._not_ok
        not_ok = self.report.not_ok
        if not_ok > len(self._not_ok):
            yield f"and {not_ok - len(self._not_ok):,} more"
        yield from self._differences()
        counts = {status.value: count for status, count in self.report.counts.items()}
        counts["unfinished"] = self.taken - self.report.total
        counts["bad rows"] = self.bad
        counts["not sent"] = 0 if self.total is None else max(0, self.total - self.taken)
        *lines, total = table(counts)
        yield from lines
        yield total + (f" in {elapsed:,.1f} s, {self.report.total / elapsed:,.1f}/s" if elapsed else "")

    def _differences(self) -> Iterator[str]:
        """Say how many records are not there as they were given, and what can be done about that."""
        attributes: Counter[str] = Counter()
        for names, records in self.differing.items():
            attributes.update(dict.fromkeys(names, records))
        if not attributes:
            return
        records = self.differing.total()
        there = "record is there and differs" if records == 1 else "records are there and differ"
        named = ", ".join(f"{name} ({count:,})" for name, count in attributes.most_common())
        yield f"{records:,} {there} from the input: {named}"
        changeable = attribute_types(self.spec.changes)
        fixed = [name for name in attributes if name not in changeable]
        if len(fixed) < len(attributes):
            yield "clarus: to send what differs, provision the same file again with --existing update"
        if fixed:
            yield f"clarus: no update changes {', '.join(fixed)}"
