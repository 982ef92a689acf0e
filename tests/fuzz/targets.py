"""Every target by its name."""

from typing import Final

from tests.fuzz import files, journal, wire

TARGETS: Final = {target.name: target for target in (*wire.TARGETS, *files.TARGETS, *journal.TARGETS)}
