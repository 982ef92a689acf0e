"""Every target by its name."""

from __future__ import annotations

from typing import Final

from tests.fuzz import files, journal, wire
from tests.fuzz.engine import Target

TARGETS: Final = {target.name: target for target in (*wire.TARGETS, *files.TARGETS, *journal.TARGETS)}


__all__ = ["TARGETS", "Target"]
