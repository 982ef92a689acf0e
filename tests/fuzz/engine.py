"""What runs a target: hypothesis for as long as it may, and atheris where it is installed, which follows coverage.

Both draw from the same strategies. What fails is shrunk by hypothesis, and printed as a Python literal.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

_FIRST: Final = 5
_BATCH: Final = 500
_QUIET = settings(
    max_examples=_BATCH,
    deadline=None,
    database=None,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
HAS_ATHERIS: Final = importlib.util.find_spec("atheris") is not None


@attrs.frozen
class Target:
    """Something that reads what it can't trust."""

    name: str  # what it is called on the command line
    inputs: st.SearchStrategy[Any]  # what it is given; values whose ``repr`` is a Python literal
    check: Callable[[Any], None]  # raises where a promise is broken
    # Seconds of processor time that any input may take: what is bounded takes milliseconds, and what is not takes for
    # ever
    most: float = 1.0


@attrs.define
class Result:
    """What came of a target."""

    cases: int = 0  # how many inputs it was given
    seconds: float = 0.0  # that it took
    slowest: float = 0.0  # processor time of the slowest input
    failed: str | None = None  # the input that broke a promise, as a Python literal; ``None`` where none did
    error: str | None = None  # what happened then


def _test(target: Target, result: Result) -> Any:
    """Make a test of a target, which counts, takes the time, and keeps the last input that failed."""

    @given(target.inputs)
    def test(value: Any) -> None:
        result.cases += 1
        began = time.process_time()
        try:
            target.check(value)
            took = time.process_time() - began
            result.slowest = max(result.slowest, took)
            assert took < target.most, f"took {took:.1f} s"
        except hypothesis.errors.UnsatisfiedAssumption:
            raise
        except BaseException as error:
            result.failed = repr(value)
            result.error = f"{type(error).__name__}: {error}"
            raise

    return test


def with_hypothesis(target: Target, seconds: float, seed: int) -> Result:
    """Give a target what hypothesis draws, in batches."""
    result = Result()
    began = time.monotonic()
    while result.failed is None and (left := seconds - (time.monotonic() - began)) > 0:
        # A batch that would take longer than there is time for is cut by the rate so far.
        rate = result.cases / max(seconds - left, 0.01)
        count = max(1, min(_BATCH, int(rate * left))) if result.cases else _FIRST
        test = hypothesis.seed(seed)(settings(_QUIET, max_examples=count)(_test(target, result)))
        try:
            test()
        except Exception:
            # What failed of the target is in the result.
            if result.failed is None:
                raise
        seed += 1
    result.seconds = time.monotonic() - began
    return result


def with_atheris(target: Target, seconds: float, seed: int) -> Result:
    """Give a target what atheris finds by coverage, in a process of its own: it takes the whole one."""
    result = Result()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz.guided", target.name, str(max(1, round(seconds))), str(seed)]
        ended = subprocess.run([*command, folder], capture_output=True, check=False)
        with contextlib.suppress(OSError):
            said = (Path(folder) / "result").read_text().split("\n", 2)
            result.cases, result.slowest = int(said[0]), float(said[1])
        with contextlib.suppress(OSError):
            result.error, _, result.failed = (Path(folder) / "failed").read_text().partition("\n")
        if ended.returncode and result.failed is None:
            result.failed, result.error = "(none was kept)", ended.stderr[-2000:].decode(errors="replace")
    result.seconds = time.monotonic() - began
    return result


def guided(target: Target, seconds: int, seed: int, folder: Path) -> None:
    """Fuzz a target by its coverage until the time is over; never returns."""
    import atheris

    result = Result()
    test = settings(_QUIET)(_test(target, result))
    until = time.monotonic() + seconds

    def keep() -> None:
        (folder / "result").write_text(f"{result.cases}\n{result.slowest}\n")

    def one(data: bytes) -> None:
        try:
            test.hypothesis.fuzz_one_input(data)
        except BaseException:
            (folder / "failed").write_text(f"{result.error}\n{result.failed}")
            keep()
            os._exit(1)
        if result.cases % 100 == 0:
            keep()
        if time.monotonic() > until:
            keep()
            os._exit(0)

    options = [f"-seed={seed % 2**31 or 1}", f"-artifact_prefix={folder}/", "-max_len=4096", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()
