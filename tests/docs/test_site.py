"""The documentation renders as a web site, by the README's command."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.readme import CHAPTERS, README, ROOT

COMMAND = shlex.split(re.search(r"^python -m (pdoc .*)$", README, re.MULTILINE)[1])


def test_every_chapter_is_in_it():
    named = set(COMMAND[COMMAND.index("clarus_async") :])
    assert {
        name for name in CHAPTERS if not any(name.startswith(f"{one}.") for one in named - {"clarus_async"})
    } <= named


def test_it_renders_without_warnings(tmp_path):
    pytest.importorskip("pdoc")
    command = [str(tmp_path) if word == "site" else word for word in COMMAND]
    done = subprocess.run(
        [sys.executable, "-W", "always", "-m", *command],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    pages = {".".join(path.relative_to(tmp_path).with_suffix("").parts) for path in tmp_path.rglob("*.html")}
    assert set(CHAPTERS) <= pages
    # What is private is kept out by a package's __all__.
    private = {
        "clarus_async.http",
        "clarus_async.retry.effect",
        "clarus_async.ratelimit.queue",
        "clarus_async.cli.parser",
    }
    assert not private & pages
    assert "PacingPolicy" in Path(tmp_path / "clarus_async.html").read_text()
