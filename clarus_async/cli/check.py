"""``clarus check``: what is wrong with a file, without a server."""

from __future__ import annotations

from types import SimpleNamespace

from clarus_async.cli.output import Exit
from clarus_async.cli.record_input import Problems, open_input
from clarus_async.cli.streams import say
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.target import new_records


def main(args: SimpleNamespace) -> int:
    """Run ``clarus check``."""
    with open_input(args.file, new_records(args.resource), ReadOptions.of(args)) as source:
        source.spool()
        checked = source.check_and_tell(Problems())
    counts = {
        "records": checked.good,
        "empty rows": checked.found.empty,
        "duplicates": checked.duplicates,
        "bad rows": checked.bad - checked.duplicates,
    }
    for name, count in counts.items():
        if count or name == "records":
            say(f"{name:<10} {count:>9,}")
    return Exit.USAGE if checked.bad else Exit.OK
