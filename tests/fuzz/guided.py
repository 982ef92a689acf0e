"""One target under atheris: ``python -m tests.fuzz.guided NAME SECONDS SEED FOLDER``; see ``tests.fuzz``."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["clarus_async"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.engine import guided

if __name__ == "__main__":
    _, name, seconds, seed, folder = sys.argv
    guided(TARGETS[name], int(seconds), int(seed), Path(folder))
